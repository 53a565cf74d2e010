#include "agent/enforcer/order.h"

namespace podfence {

CpusetOrder OrderCpusets(const std::vector<CpusetChange>& changes, const CpuSet& all) {
  CpusetOrder order;
  for (const bool owners : {false, true}) {
    for (size_t i = 0; i < changes.size(); ++i) {
      const CpusetChange& change = changes[i];
      if (change.owner != owners || change.present == change.wanted) continue;
      const CpuSet present = change.present.empty() ? all : change.present;
      const CpuSet wanted = change.wanted.empty() ? all : change.wanted;
      const CpuSet kept = present & wanted;
      std::vector<CpusetWrite>& last = owners ? order.hand_over : order.grow;
      if (kept.empty()) {
        (owners ? order.hand_over : order.vacate).push_back({i, change.wanted});
      } else if (kept == wanted && kept != present) {
        order.vacate.push_back({i, change.wanted});
      } else {
        if (kept != present) order.vacate.push_back({i, kept});
        last.push_back({i, change.wanted});
      }
    }
  }
  return order;
}

}  // namespace podfence
