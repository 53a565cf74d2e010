#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace podfence {

// Who ran on an exclusive CPU without owning it (label `class`). Idle is nobody. Bound kernel threads belong to their
// CPU: nobody can act on those.
enum class ForeignClass { kContainer, kHost, kPause, kMovableKthread, kBoundKthread };
inline constexpr std::array<std::string_view, 5> kForeignClassNames = {"container", "host", "pause", "kthread_movable",
                                                                       "kthread_bound"};
inline constexpr size_t kForeignClasses = kForeignClassNames.size();

inline std::string_view ForeignClassName(ForeignClass foreign) {
  return kForeignClassNames[static_cast<size_t>(foreign)];
}

}  // namespace podfence
