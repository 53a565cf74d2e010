#include "agent/pods/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace podfence {
namespace {

constexpr size_t kMaxLabel = 63;
constexpr size_t kMaxSubdomain = 253;

bool IsLowerAlnum(char c) { return absl::ascii_islower(static_cast<unsigned char>(c)) || (c >= '0' && c <= '9'); }
bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }

bool IsDnsLabel(std::string_view text) {
  return !text.empty() && IsLowerAlnum(text.front()) && IsLowerAlnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsLowerAlnum(c) || c == '-'; });
}

bool IsDnsSubdomain(std::string_view text) {
  while (true) {
    const size_t dot = text.find('.');
    if (!IsDnsLabel(text.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

bool IsLabelName(std::string_view text) {
  return !text.empty() && IsAlnum(text.front()) && IsAlnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsAlnum(c) || c == '-' || c == '_' || c == '.'; });
}

}  // namespace

int DnsLabelFaults(std::string_view name) { return (name.size() > kMaxLabel ? 1 : 0) + (IsDnsLabel(name) ? 0 : 1); }

int DnsSubdomainFaults(std::string_view name) {
  return (name.size() > kMaxSubdomain ? 1 : 0) + (IsDnsSubdomain(name) ? 0 : 1);
}

int QualifiedNameFaults(std::string_view name) {
  int faults = 0;
  if (const size_t slash = name.find('/'); slash != std::string_view::npos) {
    const std::string_view prefix = name.substr(0, slash);
    name.remove_prefix(slash + 1);
    if (name.find('/') != std::string_view::npos) return 1;
    faults += prefix.empty() ? 1 : DnsSubdomainFaults(prefix);
  }
  if (name.empty() || name.size() > kMaxLabel) ++faults;
  return faults + (IsLabelName(name) ? 0 : 1);
}

int LabelValueFaults(std::string_view value) {
  return (value.size() > kMaxLabel ? 1 : 0) + (value.empty() || IsLabelName(value) ? 0 : 1);
}

}  // namespace podfence
