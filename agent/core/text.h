#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace podfence {

// Debian's abseil has a string_view of its own; these carry std::string_view across to it.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

namespace text_internal {
inline absl::string_view Part(std::string_view text) { return ToAbsl(text); }
inline absl::string_view Part(const std::string& text) { return text; }
inline absl::string_view Part(const char* text) { return text; }
template <typename T>
const T& Part(const T& value) {
  return value;
}
}  // namespace text_internal

// absl::StrCat that also takes std::string_view.
template <typename... Parts>
std::string Cat(const Parts&... parts) {
  return absl::StrCat(text_internal::Part(parts)...);
}

template <size_t n>
bool OneOf(std::string_view word, const std::array<std::string_view, n>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace podfence
