#pragma once

// kubelet_state/ reads what the kubelet's own CPU and Memory managers have decided: the two checkpoints in its root
// directory. It uses core/, cgroup/ for reading files, and of pods/ the reader of documents; it writes nothing, and
// does not know which pods there are.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/cpu_set.h"
#include "agent/core/node_state.h"

namespace podfence {

// The files' names in the kubelet's root directory.
inline constexpr std::string_view kCpuManagerState = "cpu_manager_state";
inline constexpr std::string_view kMemoryManagerState = "memory_manager_state";

// Of the CPU manager (cm/cpumanager/state/checkpoint.go), by pod UID and container name.
struct KubeletCpuState {
  std::string policy;  // none | static
  CpuSet shared;       // the default set: where every container without an entry runs; empty under none
  std::map<std::string, std::map<std::string, CpuSet>> containers;  // their own CPUs, or their pod's shared ones
  std::map<std::string, CpuSet> pods;                               // all CPUs of a pod, under the pod scope
  friend bool operator==(const KubeletCpuState&, const KubeletCpuState&) = default;
};

// Of the Memory manager (cm/memorymanager/state/checkpoint.go).
struct KubeletMemoryState {
  std::string policy;                 // None | Static
  std::vector<NumaNodeMemory> nodes;  // ascending ids; empty under None
  std::map<std::string, std::map<std::string, std::vector<MemoryBlock>>> containers;
  std::map<std::string, std::vector<MemoryBlock>> pods;
  friend bool operator==(const KubeletMemoryState&, const KubeletMemoryState&) = default;
};

struct KubeletState {
  KubeletCpuState cpu;
  KubeletMemoryState memory;
  friend bool operator==(const KubeletState&, const KubeletState&) = default;
};

// Every format that a kubelet since 1.26 writes: versions 2, 3 (with pod entries) and 4 (with the data as a string) of
// cpu_manager_state, 1, 2 and 3 of memory_manager_state. Checksums are verified as the kubelet does (checksum.h); a
// file whose checksum is 0 or absent has none, which the kubelet accepts too. InvalidArgument: every problem on a line
// of its own, "SOURCE:LINE:COLUMN: KEY: WHAT"; DataLoss: the checksum is another.
absl::StatusOr<KubeletCpuState> ParseCpuManagerState(std::string_view text, std::string_view source);
absl::StatusOr<KubeletMemoryState> ParseMemoryManagerState(std::string_view text, std::string_view source);

// Both files of the kubelet's root directory. NotFound where one is not there, ResourceExhausted where it is larger
// than a megabyte.
absl::StatusOr<KubeletState> ReadKubeletState(const std::string& directory);

}  // namespace podfence
