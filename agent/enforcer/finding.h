#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "agent/core/writer.h"

namespace podfence {

enum class FindingKind {
  kDrift,          // a control file was changed by someone else; repaired where `repaired` says so
  kStillShared,    // a shared cgroup could not be taken off exclusive CPUs: their owner may not start
  kNotEffective,   // the kernel's effective set is not the one that was written
  kEmptyNodePool,  // the node shared pool is empty: shared containers are held on the reserved CPUs
  kNoQuotaLeft,    // exclusive CPUs use up the pod's CPU limit: shared containers get the smallest quota
  kUnknownCgroup,  // a cgroup with processes below ours that no decision names; held in the node shared pool
  kQuotaAbove,     // a cpu.max above our cgroup that we may not change would throttle exclusive containers
  kHostNotFenced,  // part of the host could not be kept off exclusive CPUs
  kWriteFailed,    // the kernel refused a write
  kMemoryOutside,  // a container has memory on NUMA nodes that are not its own
  kCpuOffline,     // an exclusive CPU was switched off; nothing is to be repaired
  kNoPartition,    // the kernel does not balance an exclusive container's CPUs by themselves
};
// "drift", "still_shared", …: as metrics and the API name it.
std::string_view FindingKindName(FindingKind kind);

// Something an operator should know, with the facts. Fields that do not apply are empty.
struct Finding {
  FindingKind kind = FindingKind::kDrift;
  std::string pod = {};        // UID
  std::string container = {};  // name
  std::string path = {};       // of the cgroup, absolute
  std::string file = {};       // control file; of kDrift, empty: someone replaced the cgroup, the values are cgroup ids
  std::string expected = {};
  std::string found = {};
  bool repaired = false;
  std::optional<Writer> by = std::nullopt;  // drift: who wrote the file; none: not known
  std::string message = {};                 // one sentence for a person, all of the above in it
  // Drift: when the file was read that said so, before anything was done about it; InfinitePast: not known.
  absl::Time seen = absl::InfinitePast();
  friend bool operator==(const Finding&, const Finding&) = default;
};

// Why a drift stays, in its message.
inline constexpr std::string_view kNotRepaired = "not repaired: repairDrift is false";

// What could not be looked at, and why: whether it is as it should be is not known then.
struct Unseen {
  std::string what;
  std::string reason;
  friend bool operator==(const Unseen&, const Unseen&) = default;
};

}  // namespace podfence
