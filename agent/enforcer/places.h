#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace podfence {

// Where a container runtime has put the cgroups of one pod; paths are relative to the cgroup that holds all pods.
struct PodPlace {
  std::string path;                               // the pod's own cgroup
  std::string pause;                              // of its sandbox; empty: it has none, or not yet
  std::map<std::string, std::string> containers;  // by name; those that the runtime has made
  std::map<std::string, std::string> guests;      // ephemeral containers, which no decision names
  friend bool operator==(const PodPlace&, const PodPlace&) = default;
};

// Where the kubelet and a container runtime keep the pods of a node. Pods of the QoS classes burstable and besteffort
// never hold exclusive CPUs and are fenced as a class, so only the others have a place of their own.
struct Places {
  std::string top;                                    // the name of the cgroup that holds all pods; empty: as it was
  std::vector<std::string> classes;                   // the cgroups of the QoS classes
  std::map<std::string, PodPlace, std::less<>> pods;  // by UID
  friend bool operator==(const Places&, const Places&) = default;
};

}  // namespace podfence
