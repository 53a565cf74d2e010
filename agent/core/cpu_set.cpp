#include "agent/core/cpu_set.h"

#include <algorithm>
#include <charconv>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

absl::Status BadList(std::string_view list, std::string_view part, std::string_view why) {
  return absl::InvalidArgumentError(
      Cat("cpulist \"", list, "\": \"", part, "\" at character ", part.data() - list.data() + 1, " ", why));
}

bool ReadCpu(std::string_view text, int& cpu) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cpu);
  return error == std::errc() && end == text.data() + text.size() && cpu >= 0;
}

}  // namespace

CpuSet CpuSet::Range(int first, int last) {
  CpuSet set;
  for (int cpu = first; cpu <= last; ++cpu) set.Add(cpu);
  return set;
}

absl::StatusOr<CpuSet> CpuSet::Parse(std::string_view list) {
  CpuSet set;
  const std::string_view whole = list;
  while (!list.empty() && absl::ascii_isspace(static_cast<unsigned char>(list.front()))) list.remove_prefix(1);
  while (!list.empty() && absl::ascii_isspace(static_cast<unsigned char>(list.back()))) list.remove_suffix(1);
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view part = list.substr(0, comma);
    const size_t dash = part.find('-');
    int first = 0;
    int last = 0;
    if (!ReadCpu(part.substr(0, dash), first)) return BadList(whole, part, "is not a CPU number or range");
    last = first;
    if (dash != std::string_view::npos && !ReadCpu(part.substr(dash + 1), last)) {
      return BadList(whole, part, "is not a CPU range");
    }
    if (last < first) return BadList(whole, part, "runs backwards");
    if (last > kMaxCpu) return BadList(whole, part, Cat("exceeds the highest CPU number ", kMaxCpu));
    set |= Range(first, last);
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
    if (list.empty()) return BadList(whole, list, "ends with a comma");
  }
  return set;
}

std::string CpuSet::ToString() const {
  std::string list;
  int first = -1;
  int last = -1;
  const auto flush = [&] {
    if (first < 0) return;
    absl::StrAppend(&list, list.empty() ? "" : ",", first);
    if (last > first) absl::StrAppend(&list, "-", last);
  };
  for (int cpu : *this) {
    if (first < 0 || cpu != last + 1) {
      flush();
      first = cpu;
    }
    last = cpu;
  }
  flush();
  return list;
}

void CpuSet::Remove(int cpu) {
  if (!Contains(cpu)) return;
  words_[static_cast<size_t>(cpu) / 64] &= ~(uint64_t{1} << (cpu % 64));
  Trim();
}

int CpuSet::First() const { return empty() ? -1 : *begin(); }

bool CpuSet::Intersects(const CpuSet& other) const {
  const size_t common = std::min(words_.size(), other.words_.size());
  for (size_t i = 0; i < common; ++i) {
    if ((words_[i] & other.words_[i]) != 0) return true;
  }
  return false;
}

bool CpuSet::IsSubsetOf(const CpuSet& other) const {
  if (words_.size() > other.words_.size()) return false;
  for (size_t i = 0; i < words_.size(); ++i) {
    if ((words_[i] & ~other.words_[i]) != 0) return false;
  }
  return true;
}

int CpuSet::IntersectionSize(const CpuSet& other) const {
  const size_t common = std::min(words_.size(), other.words_.size());
  int count = 0;
  for (size_t i = 0; i < common; ++i) count += std::popcount(words_[i] & other.words_[i]);
  return count;
}

CpuSet& CpuSet::operator|=(const CpuSet& other) {
  if (words_.size() < other.words_.size()) words_.resize(other.words_.size(), 0);
  for (size_t i = 0; i < other.words_.size(); ++i) words_[i] |= other.words_[i];
  return *this;
}

CpuSet& CpuSet::operator&=(const CpuSet& other) {
  if (words_.size() > other.words_.size()) words_.resize(other.words_.size());
  for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
  Trim();
  return *this;
}

CpuSet& CpuSet::operator-=(const CpuSet& other) {
  const size_t common = std::min(words_.size(), other.words_.size());
  for (size_t i = 0; i < common; ++i) words_[i] &= ~other.words_[i];
  Trim();
  return *this;
}

}  // namespace podfence
