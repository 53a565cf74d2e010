#include "agent/cgroup/descriptor_limit.h"

namespace podfence {

rlimit DescriptorLimitBefore() {
  static const rlimit before = [] {
    rlimit present = {};
    getrlimit(RLIMIT_NOFILE, &present);
    return present;
  }();
  return before;
}

void RaiseDescriptorLimit() {
  rlimit raised = DescriptorLimitBefore();
  raised.rlim_cur = raised.rlim_max;
  setrlimit(RLIMIT_NOFILE, &raised);  // up to the hard limit it cannot fail
}

}  // namespace podfence
