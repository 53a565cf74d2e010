#pragma once

#include <string>

namespace podfence {

// The container runtime of the tests' node: CRI-O where the guest has it (RUNTIME=crio tests/e2e/run …), else
// containerd.
struct NodeRuntime {
  std::string program;
  std::string config;         // of tests/e2e/guest
  std::string socket;         // CRI's
  std::string folder;         // all that it keeps
  std::string oci;            // runc's command for its containers
  std::string cgroup_prefix;  // of a container's cgroup, before its ID
  std::string is_ready;       // a command that succeeds once it answers
  std::string load;           // makes it know the images of the archive $archive
  std::string remove_all;     // ends its containers, without the kubelet
  std::string sandbox_runs;   // what it logs, with the pod's name, once a sandbox runs
  // The lines of its configuration that the documentation asks for: no container is created while the agent is not
  // there, but for what is told to do without.
  std::string required;
};

const NodeRuntime& RuntimeOfNode();

}  // namespace podfence
