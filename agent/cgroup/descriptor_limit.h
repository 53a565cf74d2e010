#pragma once

#include <sys/resource.h>

namespace podfence {

// Cgroups are held by open directories while they are looked at, so that a node of some hundred containers needs more
// descriptors than the usual soft limit of 1,024, which is there for programs that use select(2). Raises it to the hard
// limit, for the whole process.
void RaiseDescriptorLimit();
// What it was before that: for the programs that this one starts.
rlimit DescriptorLimitBefore();

}  // namespace podfence
