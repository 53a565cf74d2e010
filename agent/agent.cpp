#include "agent/agent.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "agent/audit_mode.h"
#include "agent/auditor.h"
#include "agent/commands/policy_flags.h"
#include "agent/core/text.h"
#include "agent/finding_line.h"
#include "agent/local_mode.h"
#include "agent/manage_mode.h"
#include "agent/privileges.h"
#include "agent/server/decision_json.h"
#include "agent/state/adopt.h"
#include "agent/translation.h"
#include "metrics/exporter.h"

namespace podfence {
namespace {

// How late a sweep may come, so that an idle agent wakes with others.
absl::Duration TimerAccuracy(absl::Duration interval) { return std::min(absl::Seconds(1), interval / 10); }

// The former agent may be in the middle of one long pass over the cgroups.
constexpr absl::Duration kHandoverPatience = absl::Seconds(10);

double UnixNow() { return absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()); }

absl::Status LoopError(int result, std::string_view what) {
  if (result >= 0) return absl::OkStatus();
  return absl::ErrnoToStatus(-result, Cat("event loop: ", what));
}

uint64_t Micros(absl::Duration duration) { return static_cast<uint64_t>(absl::ToInt64Microseconds(duration)); }

}  // namespace

Agent::Agent(Config config) : config_(std::move(config)), pace_(config_.drift_sweep_interval), started_(UnixNow()) {}

Agent::~Agent() {
  // The server's threads ask the mailbox and the loop; they go first.
  server_.reset();
  mode_.reset();
  if (loop_ != nullptr) sd_event_unref(loop_);
}

absl::StatusOr<std::unique_ptr<Agent>> Agent::Create(Config config) {
  std::unique_ptr<Agent> agent(new Agent(std::move(config)));
  if (absl::Status status = agent->Start(); !status.ok()) return status;
  return agent;
}

absl::Status Agent::Start() {
  // Signals are the loop's from here on; threads inherit the mask, so it comes before the first of them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return absl::ErrnoToStatus(errno, "block signals");

  std::string notes;
  absl::StatusOr<Allocator> allocator = AllocatorFor(config_, {.root = "/", .notes = &notes});
  if (!notes.empty()) spdlog::warn("machine {}: {}", config_.machine, notes);
  if (!allocator.ok()) return allocator.status();
  if (absl::Status status = LoopError(sd_event_new(&loop_), "create it"); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<SnapshotMailbox>> mailbox = SnapshotMailbox::Create();
  if (!mailbox.ok()) return mailbox.status();
  mailbox_ = *std::move(mailbox);
  absl::Status started =
      config_.mode == "audit" ? StartAuditing(*std::move(allocator)) : StartDeciding(*std::move(allocator));
  if (!started.ok()) return started;
  if (absl::Status status = mode_->Start(); !status.ok()) return status;
  if (absl::Status status = StartServer(); !status.ok()) return status;
  return AddEventSources();
}

absl::Status Agent::StartDeciding(Allocator allocator) {
  if (absl::Status status = OpenLedger(std::move(allocator)); !status.ok()) return status;
  if (absl::Status status = StartFencer(); !status.ok()) return status;
  if (config_.mode == "manage") {
    mode_ = std::make_unique<ManageMode>(*this, std::exchange(former_, std::nullopt));
  } else {
    mode_ = std::make_unique<LocalMode>(*this);
  }
  return absl::OkStatus();
}

absl::Status Agent::OpenLedger(Allocator allocator) {
  absl::StatusOr<StateStore> store = StateStore::Open(config_.state_directory);
  if (absl::IsFailedPrecondition(store.status()) && config_.mode == "manage") {
    // Another agent has the node. It is asked for it when only little is left to be done until this one can answer the
    // runtime.
    if (absl::Status status = StartVerifier(); !status.ok()) return status;
    absl::StatusOr<Handover> former = AskForHandover(config_.state_directory, kHandoverPatience);
    if (former.ok()) {
      spdlog::info("the former agent has handed over the node{}", former->nri ? " and the runtime's connection" : "");
      const int lock = former->lock.Release();
      former_ = *std::move(former);
      store = StateStore::Open(config_.state_directory, lock);
    } else {
      // Where nobody listens it may have ended since.
      if (!absl::IsNotFound(former.status())) {
        spdlog::warn("the former agent did not hand over the node: {}", former.status().ToString());
      }
      store = StateStore::Open(config_.state_directory);
    }
  }
  if (!store.ok()) return store.status();
  absl::StatusOr<Ledger::Opened> opened = Ledger::Open(std::move(allocator), *std::move(store));
  if (!opened.ok()) return opened.status();
  ledger_ = std::make_unique<Ledger>(std::move(opened->ledger));
  misfits_ = std::move(opened->misfits);
  rebooted_ = opened->rebooted;
  if (!opened->damage.empty()) {
    NoteFinding({.kind = "checkpoint", .pod = "", .container = "", .message = opened->damage});
  }
  if (opened->restored) spdlog::info("checkpoint: {} pods restored", ledger_->state().pods.size());
  return absl::OkStatus();
}

absl::Status Agent::StartVerifier() {
  absl::StatusOr<std::unique_ptr<Verifier>> verifier =
      Verifier::Start({.cgroup_root = config_.cgroup_hierarchy, .measure_interrupts = config_.measure_interrupts});
  if (!verifier.ok()) return verifier.status();
  verifier_ = *std::move(verifier);
  for (const Probe& probe : verifier_->Probes().probes) {
    if (probe.attached) {
      spdlog::info("probe {}: attached to {}", probe.name, probe.hook);
    } else if (probe.wanted) {
      spdlog::warn("probe {}: not running: {}; instead: {}", probe.name, probe.reason,
                   probe.fallback.empty() ? "nothing" : probe.fallback);
    }
  }
  return absl::OkStatus();
}

absl::Status Agent::StartFencer() {
  const Allocator& allocator = ledger_->allocator();
  const EnforcerOptions options = EnforcerOptionsOf(config_, allocator);
  absl::StatusOr<Enforcer> enforcer = Enforcer::Create(config_.cgroup_hierarchy, allocator.machine(), options);
  if (!enforcer.ok()) return enforcer.status();
  if (absl::Status status = enforcer->Prepare(); !status.ok()) return status;
  if (verifier_ == nullptr) {
    if (absl::Status status = StartVerifier(); !status.ok()) return status;
  }
  auto fencer = std::make_unique<Fencer>(*std::move(enforcer), std::move(verifier_), WriteWatch::Create(),
                                         config_.cgroup_hierarchy, options.name,
                                         [this](FindingView finding) { NoteFinding(std::move(finding)); });
  if (options.runtime_cgroups) {
    absl::StatusOr<std::unique_ptr<SystemdUnits>> units = SystemdUnits::Create(
        loop_, {}, [this](const absl::Status& status) { Complain("systemd's notes of the cgroups", status); });
    if (!units.ok()) return units.status();
    fencer->TellSystemd(*std::move(units));
  }
  fencer_ = fencer.get();
  witness_ = std::move(fencer);
  // Before the first fence is written, so that what enforcement lacks then is seen at once.
  if (absl::Status status = KeepEnforcing(); !status.ok()) return status;
  fencer_->AdoptLiving(ledger_->state());
  return fencer_->Enforce(ledger_->state());
}

absl::Status Agent::StartAuditing(Allocator allocator) {
  ledger_ = std::make_unique<Ledger>(Ledger::Following(std::move(allocator)));
  if (absl::Status status = StartVerifier(); !status.ok()) return status;
  auto auditor = std::make_unique<Auditor>(std::move(verifier_), WriteWatch::Create(), AuditOptionsOf(config_),
                                           [this](FindingView finding) { NoteFinding(std::move(finding)); });
  mode_ = std::make_unique<AuditMode>(*this, *auditor);
  witness_ = std::move(auditor);
  return KeepNothing();
}

absl::Status Agent::StartServer() {
  absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Start(
      config_.listen_address.host, config_.listen_address.port,
      {.snapshot = [this] { return mailbox_->Request(); },
       .render_metrics = [](const Snapshot& snapshot) { return RenderMetrics(snapshot, ReadProcessUsage()); },
       .explain = [this](std::string_view pod) { return traces_.Find(pod); }});
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status Agent::AddEventSources() {
  absl::Status status;
  status.Update(LoopError(sd_event_add_signal(loop_, nullptr, SIGTERM, nullptr, nullptr), "SIGTERM"));
  status.Update(LoopError(sd_event_add_signal(loop_, nullptr, SIGINT, nullptr, nullptr), "SIGINT"));
  static constexpr auto kOnTimer = [](sd_event_source*, uint64_t, void* data) {
    static_cast<Agent*>(data)->OnTimer();
    return 0;
  };
  static constexpr auto kOnRequest = [](sd_event_source*, int, uint32_t, void* data) {
    Agent* agent = static_cast<Agent*>(data);
    agent->mailbox_->Answer([agent] { return agent->ready_ ? agent->TakeSnapshot() : nullptr; });
    return 0;
  };
  static constexpr auto kOnProbe = [](sd_event_source*, int, uint32_t, void* data) {
    Agent* agent = static_cast<Agent*>(data);
    agent->witness_->DrainFindings(agent->ledger_->state());
    return 0;
  };
  status.Update(
      LoopError(sd_event_add_time_relative(loop_, &timer_, CLOCK_MONOTONIC, Micros(config_.drift_sweep_interval),
                                           Micros(TimerAccuracy(config_.drift_sweep_interval)), kOnTimer, this),
                "the sweep's timer"));
  static constexpr auto kOnWrite = [](sd_event_source*, int, uint32_t, void* data) {
    Agent* agent = static_cast<Agent*>(data);
    if (agent->witness_->WritesSeen()) agent->HurryTimer();
    return 0;
  };
  if (witness_->writes_fd() >= 0) {
    status.Update(LoopError(sd_event_add_io(loop_, nullptr, witness_->writes_fd(), EPOLLIN, kOnWrite, this),
                            "the watch over cgroups"));
  }
  status.Update(LoopError(sd_event_add_io(loop_, nullptr, mailbox_->fd(), EPOLLIN, kOnRequest, this), "the mailbox"));
  if (witness_->fd() >= 0) {
    status.Update(LoopError(sd_event_add_io(loop_, nullptr, witness_->fd(), EPOLLIN, kOnProbe, this), "the probes"));
  }
  return status;
}

absl::Status Agent::Run() {
  spdlog::info("podfence {}, mode {}: {} CPUs on {} NUMA nodes; http://{}:{}", PODFENCE_VERSION, mode_->name(),
               ledger_->allocator().machine().Cpus().size(), ledger_->allocator().machine().nodes.size(),
               config_.listen_address.host, port());
  if (absl::Status status = LoopError(sd_event_loop(loop_), "run it"); !status.ok()) return status;
  if (left_) return absl::OkStatus();
  spdlog::info("ending: containers go on, the host is released");
  absl::Status status;
  if (config_.release_on_exit && config_.mode == "manage") {
    spdlog::info("releaseOnExit: every cgroup is given back to Kubernetes");
    status = fencer_->GiveBack(ledger_->state());
  }
  status.Update(witness_->Release());
  return status;
}

absl::StatusOr<AdmitResult> Agent::Decide(const std::shared_ptr<const Pod>& pod) {
  Trace trace;
  absl::StatusOr<AdmitResult> result = ledger_->Admit(pod, trace);
  Complain("commit", result.status());
  if (!result.ok()) return result;
  traces_.Put(pod->uid, pod->FullName(), DecisionToJson(*pod, *result, trace));
  if (!result->admitted()) {
    const Rejection& rejection = std::get<Rejection>(result->outcome);
    Refuse(*pod, rejection.reason, rejection.message, rejection.reference_message);
    return result;
  }
  refused_.erase(pod->uid);
  spdlog::info("pod {} ({}): admitted", pod->FullName(), pod->uid);
  return result;
}

absl::StatusOr<AdmitResult> Agent::Admit(const std::shared_ptr<const Pod>& pod) {
  absl::StatusOr<AdmitResult> result = Decide(pod);
  // An error here does not undo the decision: the gate before each start fences again, and says why it cannot.
  if (result.ok() && result->admitted()) Complain("fence", fencer_->Enforce(ledger_->state()));
  return result;
}

void Agent::Refuse(const Pod& pod, std::string reason, std::string message, std::string reference_message) {
  spdlog::warn("pod {}: refused: {}: {}", pod.FullName(), reason, message);
  RefusedPod& refused = refused_[pod.uid];
  refused.view = {.pod = pod.FullName(), .source = "", .reason = std::move(reason), .message = std::move(message)};
  refused.reference_message = std::move(reference_message);
}

bool Agent::Release(const std::string& uid, bool ended) {
  absl::Status status = fencer_->RemovePod(uid);
  Complain("remove pod " + uid, status, uid);
  if (!status.ok()) return false;
  status = ledger_->Remove(uid, ended);
  Complain("commit", status);
  if (!status.ok()) return false;
  Complain("fence", fencer_->Enforce(ledger_->state()));
  refused_.clear();
  ForgetComplaints([&](const std::string& of) { return of == uid; });
  return true;
}

void Agent::Leave() {
  left_ = true;
  sd_event_exit(loop_, 0);
}

void Agent::Follow(NodeState state) {
  ledger_->Follow(std::move(state));
  if (timer_ != nullptr) HurryTimer();
}

void Agent::SetReady() {
  // Readers ask for snapshots themselves; the first one says that the agent decides now.
  if (!std::exchange(ready_, true)) mailbox_->Answer([this] { return TakeSnapshot(); });
}

// The next look comes as soon as the loop is free and the pace allows; one that is due earlier stays. Not at once: the
// runtime, whose writes may be many, waits for answers meanwhile.
void Agent::HurryTimer() {
  uint64_t due = 0;
  uint64_t now = 0;
  sd_event_source_get_time(timer_, &due);
  sd_event_now(loop_, CLOCK_MONOTONIC, &now);
  const uint64_t wanted = now + Micros(pace_.Wait());
  if (wanted >= due) return;
  sd_event_source_set_time_accuracy(timer_, 1);
  sd_event_source_set_time(timer_, wanted);
}

void Agent::OnTimer() {
  const double now = UnixNow();
  const absl::Status reconciled = witness_->Reconcile(ledger_->state());
  Complain("reconcile", reconciled);
  Complain("watch cgroups; drift is found at the sweeps alone", witness_->watching());
  if (reconciled.ok()) pace_.Looked(witness_->writes(), witness_->repairs());
  if (pace_.Fought()) {
    NoteFinding({.kind = "drift",
                 .pod = "",
                 .container = "",
                 .message = "someone undoes repairs again and again; they are made more and more seldom, down to once "
                            "every driftSweepInterval, until it ends. The other findings of drift say which files"});
  }
  if (!misfits_.empty()) {
    const Allocator& allocator = ledger_->allocator();
    misfits_ =
        AdoptState(ledger_->state(), allocator.InitialState(), allocator.machine(), allocator.reserved_cpus()).misfits;
    for (const std::string& misfit : misfits_)
      NoteFinding({.kind = "misfit", .pod = "", .container = "", .message = misfit});
  }
  for (FindingView& finding : mode_->Standing()) NoteFinding(std::move(finding));
  findings_.Expire(now);
  if (!complaints_.empty()) mode_->Retry();  // something failed: a commit, a removal
  sd_event_source_set_time_accuracy(timer_, Micros(TimerAccuracy(config_.drift_sweep_interval)));
  sd_event_source_set_time_relative(timer_, Micros(config_.drift_sweep_interval));
  sd_event_source_set_enabled(timer_, SD_EVENT_ONESHOT);
}

std::shared_ptr<const Snapshot> Agent::TakeSnapshot() {
  auto snapshot = std::make_shared<Snapshot>(observer_.Look({.mode = mode_->name(),
                                                             .ledger = *ledger_,
                                                             .runtime = mode_->runtime(),
                                                             .witness = *witness_,
                                                             .per_pod_metrics = config_.per_pod_metrics,
                                                             .started = started_}));
  witness_->DrainFindings(ledger_->state());
  for (const auto& [uid, refused] : refused_) snapshot->rejected.push_back(refused.view);
  mode_->Complete(*snapshot);
  snapshot->findings = findings_.List();
  snapshot->finding_totals = findings_.totals();
  snapshot->verification = witness_->Verify(findings_);
  return snapshot;
}

void Agent::NoteFinding(FindingView finding) {
  const FindingView* noted = findings_.Note(std::move(finding), UnixNow());
  if (noted != nullptr) spdlog::warn("{}", FindingLine(*noted));
}

void Agent::Complain(const std::string& what, const absl::Status& status, const std::string& uid) {
  if (complaints_.Note(what, status, uid)) spdlog::error("{}: {}", what, status.ToString());
}

}  // namespace podfence
