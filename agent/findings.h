#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "agent/server/snapshot.h"

namespace podfence {

// The findings of the agent's lifetime, from every source (enforcer, verifier, state), each kept once and counted.
// Bounded: beyond kMaxKept the oldest inactive ones are forgotten; totals by kind stay.
class FindingLog {
 public:
  static constexpr size_t kMaxKept = 256;

  // Notes that something was seen, at `now` (Unix seconds). Returns true where it is new or was not active before: the
  // caller logs it then.
  bool Note(FindingView finding, double now);
  // What was not noted since `since` is over.
  void Expire(double since);

  std::vector<FindingView> List() const;  // active first, newest first
  // How often findings of a kind came up: one that stands counts once.
  const std::map<std::string, uint64_t>& totals() const { return totals_; }

 private:
  using Key = std::tuple<std::string, std::string, std::string, std::string>;  // kind, pod, container, message
  std::map<Key, FindingView> findings_;
  std::map<std::string, uint64_t> totals_;
};

}  // namespace podfence
