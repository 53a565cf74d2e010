#include "agent/verifier/libbpf.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr size_t kReasonLines = 3;        // of the verifier's words
constexpr size_t kMaxLogBytes = 1 << 20;  // of what is kept of one attempt

thread_local std::string* current_log = nullptr;

int Collect(libbpf_print_level level, const char* format, va_list arguments) {
  if (current_log == nullptr || level == LIBBPF_DEBUG || current_log->size() > kMaxLogBytes) return 0;
  va_list again;
  va_copy(again, arguments);
  const int length = vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (length <= 0) return 0;
  const size_t before = current_log->size();
  current_log->resize(before + length + 1);
  vsnprintf(current_log->data() + before, length + 1, format, arguments);
  current_log->resize(before + length);
  return length;
}

}  // namespace

LibbpfLog::LibbpfLog() : outer_(current_log) {
  libbpf_set_print(Collect);
  current_log = &text_;
}

LibbpfLog::~LibbpfLog() { current_log = outer_; }

std::string ReasonInLog(std::string_view log) {
  std::vector<std::string> verifier;
  std::string last;
  bool inside = false;
  for (absl::string_view raw : absl::StrSplit(ToAbsl(log), '\n')) {
    absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty()) continue;
    if (absl::StrContains(line, "-- BEGIN PROG LOAD LOG --")) {
      inside = true;
      verifier.clear();
    } else if (absl::StrContains(line, "-- END PROG LOAD LOG --")) {
      inside = false;
    } else if (inside) {
      if (!absl::StartsWith(line, "processed ")) verifier.emplace_back(line);
    } else if (!absl::StrContains(line, "failed to load object") && !absl::StrContains(line, "failed to load BPF")) {
      last = std::string(absl::StripPrefix(line, "libbpf: "));
    }
  }
  if (verifier.empty()) return last;
  const size_t first = verifier.size() > kReasonLines ? verifier.size() - kReasonLines : 0;
  return absl::StrJoin(verifier.begin() + static_cast<std::ptrdiff_t>(first), verifier.end(), "; ");
}

absl::Status LibbpfLog::Error(std::string_view operation, int error) const {
  const int number = error < 0 ? -error : error;
  const std::string reason = ReasonInLog(text_);
  return absl::ErrnoToStatus(number, ToAbsl(Cat(operation, reason.empty() ? "" : ": ", reason)));
}

void ReadProgramStatistics(const bpf_program* program, Probe& probe) {
  bpf_prog_info info = {};
  __u32 length = sizeof(info);
  const int fd = bpf_program__fd(program);
  if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) != 0) return;
  probe.run_count += info.run_cnt;
  probe.run_time_ns += info.run_time_ns;
  probe.missed_runs += info.recursion_misses;
}

}  // namespace podfence
