#include "agent/verification_state.h"

#include "agent/core/text.h"

namespace podfence {

std::string_view VerificationWord(bool findings, bool unknown) {
  if (findings) return "findings";
  return unknown ? "unknown" : "clean";
}

Losses LossesOf(const Observation& seen) {
  return {.findings = seen.lost_findings,
          .dropped = 0,
          .helpers = seen.failed_helpers,
          .runs = seen.missed_runs,
          .switches = seen.miscounted_switches,
          .mismatches = seen.bandwidth_mismatches};
}

std::vector<Unseen> LossesBetween(const Losses& before, const Losses& now) {
  std::vector<Unseen> lost;
  const auto add = [&](uint64_t Losses::*count, std::string_view what) {
    if (now.*count > before.*count)
      lost.push_back({"what the kernel does", Cat(now.*count - before.*count, " ", what)});
  };
  add(&Losses::findings, "findings were lost, since there were more than fit; look again");
  add(&Losses::dropped, "active findings had to be forgotten, since there were more than are kept");
  add(&Losses::helpers, "times a probe could not read or remember what it needs, since memory or a map was full");
  add(&Losses::runs, "runs of probes were skipped by the kernel; look again");
  add(&Losses::switches, "runs of tasks were not wholly accounted: the kernel skipped the program");
  add(&Losses::mismatches, "accounts of throttling differ between cpu.stat and the scheduler");
  return lost;
}

std::vector<Unseen> ProbesMissing(const ProbeReport& report) {
  std::vector<Unseen> missing;
  for (const Probe& probe : report.probes) {
    if (probe.wanted && !probe.attached && probe.fallback.empty())
      missing.push_back({Cat(probe.what, " (", probe.name, ")"), probe.reason});
  }
  return missing;
}

void LossWatch::Count(const Losses& losses, absl::Time now) {
  if (!LossesBetween(counted_, losses).empty()) {
    if (Held(now).empty()) since_ = counted_;
    lost_ = now;
    held_ = true;
  }
  counted_ = losses;
}

void LossWatch::Swept(absl::Time began) {
  if (began > lost_) held_ = false;
}

std::vector<Unseen> LossWatch::Held(absl::Time now) const {
  if (!held_ && now - lost_ >= kHold) return {};
  return LossesBetween(since_, counted_);
}

}  // namespace podfence
