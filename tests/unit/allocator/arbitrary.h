#pragma once

// Random machines, configurations and pods for the property tests. To be called within a RapidCheck property only.

#include <memory>

#include "agent/core/machine.h"
#include "agent/core/pod.h"
#include "agent/core/policy.h"

namespace podfence::arbitrary {

// One to six NUMA nodes, sparse ids among them, uneven in cores, threads and memory, some without CPUs, with sockets,
// caches and huge pages.
Machine AnyMachine();

// A configuration for the machine; most are valid, some the allocator refuses.
Policy AnyPolicy(const Machine& machine);

// A pod as a user might write it, defaulted and with its QoS class: mostly Guaranteed, with and without a pod-level
// budget, with init containers and sidecars. Not every one is valid.
std::shared_ptr<const Pod> AnyPod(int number);

}  // namespace podfence::arbitrary
