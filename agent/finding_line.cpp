#include "agent/finding_line.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

bool IsPlain(std::string_view value) {
  return std::ranges::all_of(value, [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '"' && c != '=' && c != '\\';
  });
}

void Add(std::string& line, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  if (IsPlain(value)) {
    absl::StrAppend(&line, " ", ToAbsl(key), "=", ToAbsl(value));
  } else {
    absl::StrAppend(&line, " ", ToAbsl(key), "=\"", absl::CHexEscape(ToAbsl(value)), "\"");
  }
}

}  // namespace

std::string FindingLine(const FindingView& finding) {
  std::string line = "finding";
  Add(line, "kind", finding.kind);
  Add(line, "pod", finding.pod);
  Add(line, "container", finding.container);
  Add(line, "cgroup", finding.cgroup);
  Add(line, "file", finding.file);
  if (finding.cpu) Add(line, "cpu", Cat(*finding.cpu));
  Add(line, "expected", finding.expected);
  Add(line, "seen", finding.seen);
  Add(line, "class", finding.foreign_class);
  if (finding.by) {
    Add(line, "by_pid", Cat(finding.by->pid));
    Add(line, "by_comm", finding.by->comm);
    Add(line, "by_cgroup", finding.by->cgroup);
  }
  if (finding.duration_seconds) Add(line, "duration_seconds", Cat(*finding.duration_seconds));
  if (finding.repaired) Add(line, "repaired", "true");
  Add(line, "msg", finding.message);
  return line;
}

}  // namespace podfence
