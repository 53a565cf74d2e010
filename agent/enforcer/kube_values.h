#pragma once

// How Kubernetes turns a pod's requests and limits into the values of control files. Pure.

#include <cstdint>
#include <optional>

#include "agent/cgroup/control.h"
#include "agent/core/pod.h"

namespace podfence {

inline constexpr uint64_t kQuotaPeriodUs = 100000;  // cm/helpers_linux.go QuotaPeriod: cpuCFSQuotaPeriod's default
inline constexpr uint64_t kMinQuotaUs = 1000;       // cm/helpers_linux.go MinQuotaPeriod

// cpu.max of a limit in thousandths of a CPU (helpers_linux.go MilliCPUToQuota): its quota in microseconds a period,
// never below kMinQuotaUs. Without a limit there is none.
CpuMax CpuMaxOf(std::optional<int64_t> milli_cpu, uint64_t period_us);

// cpu.weight of a request in thousandths of a CPU: first shares (helpers_linux.go MilliCPUToShares: 1024 a CPU, 2 to
// 262144), then the quadratic curve in log2(shares) of opencontainers/cgroups utils.go ConvertCPUSharesToCgroupV2Value
// that maps 2, 1024 and 262144 to 1, 100 and 10000.
uint64_t CpuWeight(int64_t milli_cpu);

// CPU in thousandths, memory in bytes; none: not declared.
struct Amounts {
  std::optional<int64_t> cpu_milli;
  std::optional<int64_t> memory_bytes;
};

// The pod's cgroup (helpers_linux.go ResourceConfigForPod): the sum of its containers, sidecars included, or what its
// largest one-shot init container needs; overridden by pod-level resources; overhead added
// (component-helpers/resource PodRequests, PodLimits).
Amounts PodRequests(const Pod& pod);
// Without cpu or memory where some container declares no limit of it and the pod itself does neither.
Amounts PodLimits(const Pod& pod);

// A container's cgroup (kuberuntime_container_linux.go): its own limit, else the pod-level one.
Amounts ContainerLimits(const Pod& pod, const Container& container);
// The container's own limit of CPU alone.
std::optional<int64_t> OwnCpuLimit(const Container& container);
// The container's request of CPU in thousandths, for its weight; without one its limit stands for it.
int64_t ContainerCpuRequest(const Pod& pod, const Container& container);

}  // namespace podfence
