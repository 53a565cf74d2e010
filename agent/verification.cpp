#include "agent/verification.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/finding_views.h"
#include "agent/translation.h"
#include "agent/verification_looks.h"
#include "agent/verification_state.h"
#include "agent/verifier/verifier.h"

namespace podfence {
namespace {

// Windows that are tried until one passes in which no container came or went.
constexpr int kWindows = 3;

class Check {
 public:
  Check(const Config& config, const Allocator& allocator, absl::Duration window, const AfterAttaching& after_attaching)
      : config_(config), window_(window), after_attaching_(after_attaching), looks_(MakeLooks(config, allocator)) {}

  Verification Run() {
    for (int i = 0; i < kWindows; ++i) {
      answer_ = {};
      const std::optional<Look> look = LookSettled();
      if (!look) return std::move(answer_);
      TakeState(*look);
      if (answer_.containers == 0) return std::move(answer_);  // there is nobody whom the kernel could treat amiss
      Verification undisturbed = answer_;
      Watch(*look);
      const std::optional<Look> after = looks_->Take(answer_.unknown);
      if (!after || after->expectations == look->expectations) return std::move(answer_);
      // A container that starts meanwhile is foreign to what was expected before it: nothing of that counts.
      answer_ = std::move(undisturbed);
    }
    answer_.unknown.push_back({"what the kernel does", Cat("containers came or went in each of ", kWindows,
                                                           " windows; try again, or with a shorter --window")});
    return std::move(answer_);
  }

 private:
  std::optional<Look> LookSettled() {
    std::optional<Look> look = looks_->Take(answer_.unknown);
    if (!look || look->inspection.findings.empty()) return look;
    absl::SleepFor(looks_->Settles());
    return looks_->Take(answer_.unknown);
  }

  void TakeState(const Look& look) {
    const KernelContext context{look.state, look.inspection.live, config_.cgroup_hierarchy, paths_, absl::Now()};
    for (const Finding& finding : look.inspection.findings) Add(ViewOf(finding, context));
    for (const std::string& misfit : look.misfits) Add({.kind = "misfit", .message = misfit});
    answer_.unknown = look.inspection.unseen;
    for (const Fence& fence : look.inspection.idle) {
      answer_.not_running.push_back({Name(look, fence.uid), fence.container});
    }
    for (const LiveFence& live : look.inspection.live) {
      if (live.fence.role == CgroupRole::kContainer) ++answer_.containers;
    }
  }

  // Attaches the probes, once: what attaching needs may be gone after it.
  absl::Status Attach() {
    if (verifier_ != nullptr) return absl::OkStatus();
    absl::StatusOr<std::unique_ptr<Verifier>> verifier =
        Verifier::Start({.cgroup_root = config_.cgroup_hierarchy, .measure_wait = false});
    if (!verifier.ok()) return verifier.status();
    verifier_ = *std::move(verifier);
    return after_attaching_ ? after_attaching_() : absl::OkStatus();
  }

  // Lets the probes look for one window. What another window counted is not this one's.
  void Watch(const Look& look) {
    const auto unknown = [&](std::string what, const absl::Status& status) {
      answer_.unknown.push_back({std::move(what), std::string(status.message())});
    };
    if (absl::Status status = Attach(); !status.ok()) return unknown("the kernel's probes", status);
    absl::Status begun = verifier_->Expect({});
    verifier_->Poll();
    const absl::StatusOr<Observation> before = verifier_->Read();
    begun.Update(before.status());
    if (!begun.ok()) return unknown("what the kernel does", begun);
    std::ranges::move(ProbesMissing(verifier_->Probes()), std::back_inserter(answer_.unknown));
    if (absl::Status status = verifier_->Expect(look.expectations); !status.ok()) {
      return unknown("what the kernel does", status);
    }
    if (window_ > absl::ZeroDuration()) absl::SleepFor(window_);
    // Unavailable is the probe's reason once more.
    if (absl::Status status = verifier_->Sweep(); !status.ok() && !absl::IsUnavailable(status)) {
      unknown("affinities of tasks", status);
    }
    const absl::StatusOr<Observation> seen = verifier_->Read();
    if (!seen.ok()) return unknown("throttling and run time", seen.status());
    std::ranges::move(LossesBetween(LossesOf(*before), LossesOf(*seen)), std::back_inserter(answer_.unknown));
    for (const KernelFinding& finding : verifier_->Poll()) TakeFinding(look, finding);
  }

  void TakeFinding(const Look& look, const KernelFinding& finding) {
    const KernelContext context{look.state, look.inspection.live, config_.cgroup_hierarchy, paths_, absl::Now()};
    FindingView view = ViewOf(finding, context);
    // The control files were held against the decision already.
    const auto told = [&](const FindingView& other) { return other.cgroup == view.cgroup && other.file == view.file; };
    if (!view.file.empty() && std::ranges::any_of(answer_.findings, told)) return;
    Add(std::move(view));
  }

  void Add(FindingView finding) {
    finding.since = finding.last_seen = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
    finding.active = true;
    answer_.findings.push_back(std::move(finding));
  }

  static std::string Name(const Look& look, const std::string& uid) {
    return uid.empty() ? "" : PodName(look.state, uid);
  }

  const Config& config_;
  absl::Duration window_;
  const AfterAttaching& after_attaching_;
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<Looks> looks_;
  CgroupPaths paths_{config_.cgroup_hierarchy};
  Verification answer_;
};

}  // namespace

std::string_view Verification::Result() const { return VerificationWord(!findings.empty(), !unknown.empty()); }

int Verification::ExitCode() const {
  if (!findings.empty()) return 1;
  return unknown.empty() ? 0 : 3;
}

Verification VerifyNode(const Config& config, const Allocator& allocator, absl::Duration window,
                        const AfterAttaching& after_attaching) {
  return Check(config, allocator, window, after_attaching).Run();
}

}  // namespace podfence
