#pragma once

// topology/ reads what hardware a node has: hwloc from the live machine, from an hwloc XML file, or from a synthetic
// string, into the allocator's Machine; and a Machine from and to JSON (machine_json.h). It may use core/ and hwloc; it
// decides nothing. XML is untrusted input: it is bounded, checked, and parsed in a child process (isolation.h).

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "agent/core/machine.h"

namespace podfence {

struct LoadOptions {
  // Where the live machine's /sys and /proc are; another root than "/" is a copy of those of another machine.
  std::string root = "/";
  // What hwloc complained of although it could read the machine, one complaint a line; not kept where null.
  std::string* notes = nullptr;
};

// Reads a machine. source is
//   "live" or ""                 the machine this runs on, whole: CPUs that a cgroup denies to this process included
//   a path: has a "/" or ends    an hwloc XML file of at most 16 MiB (lstopo FILE.xml writes one)
//   in ".xml"
//   anything else                an hwloc synthetic string, as "numa:2 l3:1 core:6 pu:2", of at most 8192 CPUs; NUMA
//                                nodes have hwloc's 1 GiB unless memory= says more: "numa:2(memory=64GiB) core:8 pu:2"
// Errors name the source, how it was read, and the line of the file where that is known: NotFound and
// PermissionDenied for a file that cannot be opened, InvalidArgument for what it holds, Internal where hwloc fails on
// the live machine. hwloc's own environment variables have no say. Call it before the process has threads: it forks.
absl::StatusOr<Machine> LoadMachine(std::string_view source, const LoadOptions& options = {});

}  // namespace podfence
