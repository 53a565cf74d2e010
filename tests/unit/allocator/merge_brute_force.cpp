#include "tests/unit/allocator/merge_brute_force.h"

#include <algorithm>
#include <functional>

namespace podfence {
namespace {

bool Qualifies(const HintFamily& family, NumaSet set) {
  if (std::ranges::find(family.listed, set) != family.listed.end()) return true;
  if (!set.IsSubsetOf(family.universe) || !family.required.IsSubsetOf(set) || set.size() < family.min_size)
    return false;
  for (const HintThreshold& threshold : family.thresholds) {
    uint64_t sum = 0;
    size_t position = 0;
    for (int node : family.universe) {
      if (set.Contains(node)) sum += threshold.amount[position];
      ++position;
    }
    if (sum < threshold.request) return false;
  }
  return true;
}

bool IsPreferred(const HintFamily& family, NumaSet set) {
  if (set.size() == family.preferred_size) return true;
  return !family.sockets.empty() && std::ranges::count_if(family.sockets, [set](NumaSet socket) {
                                      return !(socket & set).empty();
                                    }) == family.preferred_sockets;
}

// numa_info.go CalculateAverageFor, with distances found by the node's place.
double AverageDistance(const std::vector<int>& nodes, const std::vector<std::vector<uint64_t>>& distances,
                       NumaSet set) {
  double sum = 0;
  double count = 0;
  for (size_t from = 0; from < nodes.size(); ++from) {
    for (size_t to = 0; to < nodes.size(); ++to) {
      if (!set.Contains(nodes[from]) || !set.Contains(nodes[to])) continue;
      sum += static_cast<double>(distances[from][to]);
      ++count;
    }
  }
  return sum / count;
}

}  // namespace

std::vector<Hint> ListHints(const ResourceHints& hints) {
  if (hints.kind == ResourceHints::Kind::kNoPreference) return {{{}, true}};
  if (hints.kind == ResourceHints::Kind::kList) {
    return hints.list.empty() ? std::vector<Hint>{{{}, false}} : hints.list;
  }
  NumaSet anywhere = hints.family.universe;
  for (NumaSet set : hints.family.listed) anywhere |= set;
  std::vector<Hint> list;
  for (uint64_t set = anywhere.bits(); set != 0; set = (set - 1) & anywhere.bits()) {
    if (Qualifies(hints.family, NumaSet(set))) list.push_back({NumaSet(set), IsPreferred(hints.family, NumaSet(set))});
  }
  return list;
}

Merged MergeByWalk(const std::vector<int>& nodes, const std::vector<std::vector<uint64_t>>& distances,
                   const TopologyOptions& options, const std::vector<ProviderHints>& providers) {
  const bool single = options.policy == TopologyPolicy::kSingleNumaNode;
  std::vector<std::vector<Hint>> offered;
  for (const ProviderHints& provider : providers) {
    if (provider.empty()) offered.push_back({{{}, true}});
    for (const ResourceHints& hints : provider) offered.push_back(ListHints(hints));
  }
  int best_size = 0;
  for (std::vector<Hint>& hints : offered) {
    if (single) {
      std::erase_if(hints, [](const Hint& hint) { return !hint.preferred || hint.numa.size() > 1; });
    }
    int narrowest = 0;
    for (const Hint& hint : hints) {
      if (!hint.numa.empty() && (narrowest == 0 || hint.numa.size() < narrowest)) narrowest = hint.numa.size();
    }
    best_size = std::max(best_size, narrowest);
  }
  const auto fitter = [&](NumaSet candidate, NumaSet current) {
    if (candidate.size() != current.size()) return candidate.size() < current.size();
    if (options.prefer_closest_numa && !single) {
      const double a = AverageDistance(nodes, distances, candidate);
      const double b = AverageDistance(nodes, distances, current);
      if (a != b) return a < b;
    }
    return candidate.bits() < current.bits();
  };
  std::optional<Hint> best;
  const auto consider = [&](const Hint& candidate) {
    if (candidate.numa.empty()) return;
    if (!best) {
      best = candidate;
    } else if (best->preferred != candidate.preferred) {
      if (candidate.preferred) best = candidate;
    } else if (best->preferred) {
      if (fitter(candidate.numa, best->numa)) best = candidate;
    } else {
      const int current = best->numa.size();
      const int size = candidate.numa.size();
      bool better = false;
      if (current > best_size || (current == best_size && size == best_size)) {
        better = fitter(candidate.numa, best->numa);
      } else if (current < best_size && size <= best_size) {
        better = size > current || (size == current && fitter(candidate.numa, best->numa));
      }
      if (better) best = candidate;
    }
  };
  NumaSet all;
  for (int node : nodes) all.Add(node);
  const std::function<void(size_t, NumaSet, NumaSet, bool)> walk = [&](size_t resource, NumaSet merged, NumaSet first,
                                                                       bool preferred) {
    if (resource == offered.size()) {
      consider({merged, preferred});
      return;
    }
    for (const Hint& hint : offered[resource]) {
      if (hint.numa.empty()) {
        walk(resource + 1, merged, first, preferred && hint.preferred);
      } else {
        walk(resource + 1, merged & hint.numa, first.empty() ? hint.numa : first,
             preferred && hint.preferred && (first.empty() || first == hint.numa));
      }
    }
  };
  walk(0, all, {}, true);
  Hint result = best.value_or(Hint{all, false});
  if (single && result.numa == all) result.numa = {};
  return {.best = result, .admit = result.preferred || options.policy == TopologyPolicy::kBestEffort};
}

std::vector<int> RandomMerges::NodeIds(int count) {
  const bool sparse = OneIn(4);
  std::vector<int> ids;
  int next = 0;
  for (int i = 0; i < count; ++i) {
    if (sparse) next += Below(3);
    ids.push_back(next++);
  }
  return ids;
}

std::vector<std::vector<uint64_t>> RandomMerges::Distances(int count) {
  const auto n = static_cast<size_t>(count);
  std::vector<std::vector<uint64_t>> distances(n, std::vector<uint64_t>(n, 10));
  const int kinds = 1 + Below(4);
  for (size_t a = 0; a < n; ++a) {
    for (size_t b = a + 1; b < n; ++b) {
      distances[a][b] = 11 + 5 * static_cast<uint64_t>(Below(kinds));
      distances[b][a] = OneIn(10) ? distances[a][b] + 1 : distances[a][b];
    }
  }
  return distances;
}

TopologyOptions RandomMerges::Options() {
  TopologyOptions options;
  options.policy = OneIn(6) ? TopologyPolicy::kSingleNumaNode
                            : (OneIn(2) ? TopologyPolicy::kBestEffort : TopologyPolicy::kRestricted);
  options.prefer_closest_numa = OneIn(2);
  return options;
}

NumaSet RandomMerges::SomeNodes(const std::vector<int>& nodes) {
  NumaSet set;
  while (set.empty()) {
    for (int node : nodes) {
      if (OneIn(2)) set.Add(node);
    }
  }
  return set;
}

HintFamily RandomMerges::Family(const std::vector<int>& nodes) {
  HintFamily family;
  for (int node : nodes) {
    if (!OneIn(5)) family.universe.Add(node);
  }
  for (int node : family.universe) {
    if (OneIn(12)) family.required.Add(node);
  }
  family.min_size = OneIn(4) ? 2 : 1;
  const int most = OneIn(2) ? 2 : 6;
  for (int t = OneIn(3) ? 2 : 1; t > 0; --t) {
    HintThreshold threshold;
    uint64_t total = 0;
    for (int i = 0; i < family.universe.size(); ++i) {
      threshold.amount.push_back(static_cast<uint64_t>(Below(most + 1)));
      total += threshold.amount.back();
    }
    threshold.request = static_cast<uint64_t>(Below(static_cast<int>(total) + 2));
    family.thresholds.push_back(std::move(threshold));
  }
  family.preferred_size = 1 + Below(3);
  if (OneIn(4)) {
    family.preferred_sockets = 1 + Below(2);
    const int sockets = 1 + Below(3);
    for (int s = 0; s < sockets; ++s) {
      NumaSet socket;
      for (size_t i = 0; i < nodes.size(); ++i) {
        if (static_cast<int>(i) % sockets == s) socket.Add(nodes[i]);
      }
      family.sockets.push_back(socket);
    }
  }
  for (int extra = OneIn(3) ? 1 + Below(3) : 0; extra > 0; --extra) {
    const NumaSet set = SomeNodes(nodes);
    if (!Qualifies(family, set)) family.listed.push_back(set);
  }
  return family;
}

ResourceHints RandomMerges::Hints(const std::vector<int>& nodes) {
  ResourceHints hints;
  hints.resource = "resource";
  if (OneIn(10)) return hints;
  if (!OneIn(3)) {
    hints.kind = ResourceHints::Kind::kFamily;
    hints.family = Family(nodes);
    return hints;
  }
  hints.kind = ResourceHints::Kind::kList;
  for (int i = Below(7); i > 0; --i) {
    hints.list.push_back({OneIn(10) ? NumaSet() : SomeNodes(nodes), OneIn(2)});
  }
  return hints;
}

std::vector<ProviderHints> RandomMerges::Providers(const std::vector<int>& nodes, int most_resources) {
  std::vector<ProviderHints> providers(static_cast<size_t>(1 + Below(3)));
  for (int i = Below(most_resources + 1); i > 0; --i) {
    providers[static_cast<size_t>(Below(static_cast<int>(providers.size())))].push_back(Hints(nodes));
  }
  return providers;
}

}  // namespace podfence
