#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "agent/allocator/explain.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

// What the NUMA nodes have of one resource, the most first.
struct Amounts {
  std::vector<uint64_t> free;
  std::vector<uint64_t> capacity;
};

Amounts AmountsOf(const Shortage& shortage, std::string_view resource) {
  Amounts amounts;
  for (const NodeShortage& node : shortage.nodes) {
    if (node.resource != resource) continue;
    amounts.free.push_back(node.free);
    amounts.capacity.push_back(node.capacity);
  }
  std::ranges::sort(amounts.free, std::greater<>());
  std::ranges::sort(amounts.capacity, std::greater<>());
  return amounts;
}

// The most below asked that as few nodes could serve now as would do on an empty machine, at most most_nodes; 0: none.
uint64_t LargestPreferred(const Amounts& amounts, uint64_t asked, size_t most_nodes) {
  uint64_t best = 0;
  uint64_t free = 0;
  uint64_t capacity = 0;
  for (size_t nodes = 0; nodes < std::min(most_nodes, amounts.free.size()); ++nodes) {
    const uint64_t fewer_nodes_do = capacity;
    free += amounts.free[nodes];
    capacity += amounts.capacity[nodes];
    const uint64_t amount = std::min(free, asked - 1);
    if (amount > fewer_nodes_do || nodes == 0) best = std::max(best, amount);
  }
  return best;
}

class RemedySearch {
 public:
  RemedySearch(const Admittance& admittance, const Draft& draft, const AdmissionFailure& failure,
               const Shortage& shortage)
      : admittance_(admittance), draft_(draft), failure_(failure), shortage_(shortage) {}

  std::string Find() const {
    if (std::string remedy = OtherAmount(); !remedy.empty()) return remedy;
    if (!failure_.provider) return OtherPolicy();
    return failure_.refusal.reason == "SMTAlignmentError" ? WholeCores() : "";
  }

 private:
  // Only where one container asks is it clear whose request to change.
  const Container* OnlyAsker() const {
    const Pod& pod = *draft_.pod;
    if (pod.HasPodLevelResources()) return nullptr;
    if (!failure_.container.empty()) return pod.FindContainer(failure_.container);
    return pod.init_containers.empty() && pod.containers.size() == 1 ? pod.containers.data() : nullptr;
  }

  std::string OtherAmount() const {
    const Container* asker = OnlyAsker();
    if (asker == nullptr) return "";
    for (const auto& [resource, amount] : shortage_.asked) {
      if (amount == 0 || !MayBeShort(resource)) continue;
      for (uint64_t other : OtherAmounts(resource, amount)) {
        if (other == 0 || !FitsWith(*asker, resource, other)) continue;
        return Cat("It would fit if container ", asker->name, " asked for ", ShowAmount(resource, other),
                   " instead of ", resource == kCpu ? Cat(amount) : ShowAmount(resource, amount));
      }
    }
    return "";
  }

  std::string WholeCores() const {
    const uint64_t threads = ThreadsPerCore();
    const auto asked = std::ranges::find(shortage_.asked, kCpu, &std::pair<std::string, uint64_t>::first);
    if (asked == shortage_.asked.end() || asked->second % threads == 0) return "";
    const uint64_t less = asked->second - asked->second % threads;
    return Cat("full-pcpus-only gives whole cores of ", threads, " CPUs: ask for ", less > 0 ? Cat(less, " or ") : "",
               less + threads);
  }

  bool MayBeShort(std::string_view resource) const {
    if (failure_.provider) return (*failure_.provider == Resource::kCpu) == (resource == kCpu);
    for (const ProviderHints& provider : failure_.provided) {
      for (const ResourceHints& hints : provider) {
        if (hints.resource == resource && !admittance_.managers.merger.Merge({{hints}}).admit) return true;
      }
    }
    return false;
  }

  // Amounts worth trying, the nearest first.
  std::vector<uint64_t> OtherAmounts(std::string_view resource, uint64_t asked) const {
    const Amounts amounts = AmountsOf(shortage_, resource);
    uint64_t less = 0;
    if (failure_.provider) {
      for (uint64_t free : amounts.free) less += free;
      less = std::min(less, asked - 1);
    } else {
      const bool single = admittance_.managers.topology.policy == TopologyPolicy::kSingleNumaNode;
      less = LargestPreferred(amounts, asked, single ? 1 : amounts.free.size());
    }
    if (resource != kCpu) return {less};
    // Where only whole cores are given, amounts are multiples of their threads.
    const uint64_t threads = ThreadsPerCore();
    const uint64_t whole = less - less % threads;
    const uint64_t more = asked + (threads - asked % threads) % threads;
    return {less, whole, more != asked ? more : 0};
  }

  uint64_t ThreadsPerCore() const {
    uint64_t cores = 0;
    uint64_t threads = 0;
    for (const NumaNode& node : admittance_.machine.nodes) {
      cores += node.cores.size();
      for (const Core& core : node.cores) threads += core.threads.size();
    }
    return cores == 0 ? 1 : std::max<uint64_t>(1, threads / cores);
  }

  bool FitsWith(const Container& asker, const std::string& resource, uint64_t amount) const {
    auto pod = std::make_shared<Pod>(*draft_.pod);
    const auto change = [&](std::vector<Container>& containers) {
      for (Container& container : containers) {
        if (container.name != asker.name) continue;
        const Quantity quantity = Quantity::FromInt(static_cast<int64_t>(amount));
        container.resources.requests[resource] = quantity;
        container.resources.limits[resource] = quantity;
      }
    };
    change(pod->init_containers);
    change(pod->containers);
    return Fits(std::move(pod), admittance_.managers.merger);
  }

  bool Fits(std::shared_ptr<const Pod> pod, const HintMerger& merger) const {
    Draft draft = NewDraft(*draft_.before, std::move(pod));
    return !AdmitIntoDraft(admittance_.managers, merger, admittance_.devices, draft, nullptr).has_value();
  }

  std::string OtherPolicy() const {
    constexpr std::pair<TopologyPolicy, const char*> kLaxer[] = {{TopologyPolicy::kRestricted, "restricted"},
                                                                 {TopologyPolicy::kBestEffort, "best-effort"}};
    for (const auto& [policy, name] : kLaxer) {
      if (policy == admittance_.managers.topology.policy) continue;
      if (Fits(draft_.pod, admittance_.managers.merger.WithPolicy(policy))) {
        return Cat("It would fit under topologyManagerPolicy ", name);
      }
    }
    return "";
  }

  const Admittance& admittance_;
  const Draft& draft_;
  const AdmissionFailure& failure_;
  const Shortage& shortage_;
};

}  // namespace

std::string FindRemedy(const Admittance& admittance, const Draft& draft, const AdmissionFailure& failure,
                       const Shortage& shortage) {
  if (failure.refusal.reason == "EmptyPodSharedPoolError") {
    return "Raise the pod's budget, or lower what its exclusive containers ask for: the others need something to share";
  }
  return RemedySearch(admittance, draft, failure, shortage).Find();
}

}  // namespace podfence
