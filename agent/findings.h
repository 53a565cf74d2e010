#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "agent/server/snapshot.h"

namespace podfence {

// The findings of the agent's lifetime, from every source (enforcer, verifier, state), each kept once and counted.
// Two are the same where kind and place are: pod, container, cgroup, control file, class of an intruder and the CPU it
// ran on. What changes from one time to the next (values, pids, durations, the message) is that of the last time. What
// has no place is told apart by its message.
// Bounded: beyond kMaxKept the oldest inactive ones are forgotten; totals by kind stay.
class FindingLog {
 public:
  static constexpr size_t kMaxKept = 1024;

  // Notes that something was seen, at `now` (Unix seconds), and since then where the finding says no earlier. Returns
  // the finding as it stands where it is new or was not active before, for the caller to log it; else null. Valid until
  // the next call.
  const FindingView* Note(FindingView finding, double now);
  // What was not noted since `since` is over.
  void Expire(double since);

  std::vector<FindingView> List() const;  // active first, newest first
  bool AnyActive() const;
  // How often findings of a kind came up: one that stands counts once.
  const std::map<std::string, uint64_t>& totals() const { return totals_; }
  // How many were still active when they had to be forgotten.
  uint64_t dropped() const { return dropped_; }

 private:
  // kind, pod, container, cgroup, file, class, CPU, message
  using Key =
      std::tuple<std::string, std::string, std::string, std::string, std::string, std::string, int, std::string>;
  static Key KeyOf(const FindingView& finding);
  void MakeRoom();

  std::map<Key, FindingView> findings_;
  std::map<std::string, uint64_t> totals_;
  uint64_t dropped_ = 0;
};

}  // namespace podfence
