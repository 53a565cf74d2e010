#include "agent/runtime/record.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "agent/cgroup/files.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr std::string_view kFirstLine = "podfence-container 1";

// The rest of a line after its key, in fields; the last takes all that is left.
std::vector<absl::string_view> Fields(absl::string_view line, size_t count) {
  return absl::StrSplit(line, absl::MaxSplits(' ', static_cast<int>(count) - 1));
}

bool ParseLine(absl::string_view line, ContainerRecord& record) {
  const std::vector<absl::string_view> fields = Fields(line, 4);
  const absl::string_view key = fields[0];
  if (key == "restarts" && fields.size() == 2) return absl::SimpleAtoi(fields[1], &record.restarts);
  if (key == "started" && fields.size() == 2) {
    int64_t nanos = 0;
    if (!absl::SimpleAtoi(fields[1], &nanos)) return false;
    record.started = absl::FromUnixNanos(nanos);
    return true;
  }
  if (key == "process" && fields.size() == 3) {
    ContainerRecord::Process process;
    if (!absl::SimpleAtoi(fields[1], &process.pid) || !absl::SimpleAtoi(fields[2], &process.start_time)) return false;
    record.process = process;
    return process.pid > 0;
  }
  if (key == "exit" && fields.size() == 2 && fields[1] == "unknown") {
    record.exit = ExitStatus{false, 0, 0, ""};
    return true;
  }
  if (key == "exit" && fields.size() >= 3) {
    ExitStatus exit;
    if (fields.size() == 4) exit.detail = std::string(fields[3]);
    const bool ok = absl::SimpleAtoi(fields[1], &exit.code) && absl::SimpleAtoi(fields[2], &exit.signal);
    record.exit = std::move(exit);
    return ok;
  }
  return false;
}

}  // namespace

std::string ContainerRecord::ToText(std::string_view boot_id) const {
  std::string text = Cat(kFirstLine, "\nboot ", boot_id, "\nrestarts ", restarts, "\n");
  text += Cat("started ", absl::ToUnixNanos(started), "\n");
  if (process) text += Cat("process ", process->pid, " ", process->start_time, "\n");
  if (exit && !exit->known) text += "exit unknown\n";
  if (exit && exit->known) {
    std::string detail = exit->detail;
    std::replace(detail.begin(), detail.end(), '\n', ' ');
    text += Cat("exit ", exit->code, " ", exit->signal, detail.empty() ? "" : " ", detail, "\n");
  }
  return text;
}

absl::StatusOr<std::optional<ContainerRecord>> ContainerRecord::Parse(std::string_view text, std::string_view boot_id) {
  const std::vector<absl::string_view> lines = absl::StrSplit(ToAbsl(text), '\n', absl::SkipEmpty());
  const auto damaged = [](size_t line, absl::string_view what) {
    return absl::DataLossError(Cat("line ", line, ": \"", ToStd(what), "\" is damaged"));
  };
  if (lines.size() < 2 || lines[0] != ToAbsl(kFirstLine)) return damaged(1, lines.empty() ? "" : lines[0]);
  const std::vector<absl::string_view> boot = Fields(lines[1], 2);
  if (boot[0] != "boot" || boot.size() != 2) return damaged(2, lines[1]);
  if (boot[1] != ToAbsl(boot_id)) return std::optional<ContainerRecord>();
  ContainerRecord record;
  for (size_t i = 2; i < lines.size(); ++i) {
    if (!ParseLine(lines[i], record)) return damaged(i + 1, lines[i]);
  }
  return std::optional<ContainerRecord>(std::move(record));
}

absl::StatusOr<std::optional<ContainerRecord>> RecordStore::Load(std::string_view uid,
                                                                 std::string_view container) const {
  const std::string path = Cat(directory_, "/", uid, "/", container);
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (absl::IsNotFound(text.status())) return std::optional<ContainerRecord>();
  if (!text.ok()) return text.status();
  absl::StatusOr<std::optional<ContainerRecord>> record = ContainerRecord::Parse(*text, boot_id_);
  if (!record.ok()) return absl::DataLossError(Cat(path, ", ", ToStd(record.status().message())));
  return record;
}

absl::Status RecordStore::Save(std::string_view uid, std::string_view container, const ContainerRecord& record) const {
  const std::string directory = Cat(directory_, "/", uid);
  if (absl::Status status = MakeDirectories(directory); !status.ok()) return status;
  return ReplaceFile(Cat(directory, "/", container), record.ToText(boot_id_));
}

absl::Status RecordStore::Drop(std::string_view uid) const {
  std::error_code error;
  std::filesystem::remove_all(Cat(directory_, "/", uid), error);
  if (error) return absl::ErrnoToStatus(error.value(), Cat("remove ", directory_, "/", uid));
  return absl::OkStatus();
}

absl::Status RecordStore::KeepOnly(const std::vector<std::string>& uids) const {
  std::error_code error;
  std::vector<std::string> old;
  for (std::filesystem::directory_iterator entry(directory_, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string uid = entry->path().filename().string();
    if (std::find(uids.begin(), uids.end(), uid) == uids.end()) old.push_back(std::move(uid));
  }
  if (error) return absl::ErrnoToStatus(error.value(), Cat("list ", directory_));
  for (const std::string& uid : old) {
    if (absl::Status status = Drop(uid); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace podfence
