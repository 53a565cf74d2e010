#include "agent/core/numa_set.h"

#include "agent/core/cpu_set.h"

namespace podfence {

std::string NumaSet::ToString() const {
  CpuSet list;
  for (int node : *this) list.Add(node);
  return list.ToString();
}

}  // namespace podfence
