#include "agent/manage_mode.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/control.h"
#include "agent/core/text.h"
#include "agent/enforcer/kube_values.h"
#include "agent/node_pods.h"
#include "agent/nri_answers.h"
#include "agent/places_file.h"
#include "agent/state/state_json.h"
#include "agent/translation.h"

namespace podfence {
namespace {

std::string NameOf(const NriPod& pod) { return Cat(pod.ns, "/", pod.name); }

// After a boot the kubelet tells of its pods as they come in: static ones, and those of the API server when it has
// reached that. This is how long their CPUs wait for them.
constexpr absl::Duration kPodsComeBack = absl::Minutes(2);

// What cannot be read may live.
bool IsPopulatedAt(const std::string& hierarchy, const std::string& path) {
  const absl::StatusOr<Cgroup> cgroup = Cgroup::Open(Cat(hierarchy, "/", path));
  if (!cgroup.ok()) return !absl::IsNotFound(cgroup.status());
  const absl::StatusOr<bool> populated = IsPopulated(*cgroup);
  return populated.ok() ? *populated : !absl::IsNotFound(populated.status());
}

// From 64 us up to the runtime's own limit of 2 s, and the rest.
Histogram HistogramOf(const NriCallStatistics& statistics) {
  constexpr size_t kFirst = 6;
  constexpr size_t kLast = 21;
  std::vector<double> bounds;
  for (size_t i = kFirst; i <= kLast; ++i) bounds.push_back(static_cast<double>(uint64_t{1} << i) / 1e6);
  Histogram histogram(std::move(bounds));
  for (size_t i = 0; i < NriCallStatistics::kBuckets; ++i) {
    histogram.counts[std::clamp(i, kFirst, kLast + 1) - kFirst] += statistics.log2_us[i];
  }
  histogram.sum = absl::ToDoubleSeconds(statistics.sum);
  return histogram;
}

}  // namespace

absl::Status ManageMode::Start() {
  const absl::StatusOr<std::string> node = NodeName(agent_.config());
  if (!node.ok()) return node.status();
  if (absl::Status status = StartReporter(*node); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<PodSource>> source = StartPodSource(
      agent_.loop(), agent_.config(),
      {.on_changed = [this](const std::vector<PodChange>&) { Converge(); }, .on_synced = [this] { Converge(); }});
  if (!source.ok()) return source.status();
  source_ = *std::move(source);
  if (agent_.rebooted()) {
    for (const auto& [uid, allocation] : agent_.state().pods) awaited_.insert(uid);
    await_until_ = absl::Now() + kPodsComeBack;
  }
  spdlog::info("node {}: pods from {}", *node, source_->status().description);
  if (absl::Status status = StartNri(); !status.ok()) return status;
  return ListenForSuccessor();
}

absl::Status ManageMode::StartNri() {
  const NriOptions options{.socket = agent_.config().nri_socket_path, .index = agent_.config().nri_plugin_index};
  if (former_ && former_->nri) {
    absl::StatusOr<std::unique_ptr<NriPlugin>> nri =
        NriPlugin::Resume(agent_.loop(), options, Handlers(), *std::move(former_->nri));
    if (nri.ok()) {
      nri_ = *std::move(nri);
      book_ = std::move(former_->book);
      synchronized_ = true;
      ExpectLiving();
      agent_.Complain("fence", Enforce());
      former_.reset();
      return absl::OkStatus();
    }
    spdlog::warn("the former agent's connection is not used, the runtime registers this one: {}",
                 nri.status().ToString());
  }
  former_.reset();
  absl::StatusOr<std::unique_ptr<NriPlugin>> nri = NriPlugin::Create(agent_.loop(), options, Handlers());
  if (!nri.ok()) return nri.status();
  nri_ = *std::move(nri);
  return absl::OkStatus();
}

absl::Status ManageMode::ListenForSuccessor() {
  HandoverServer::Handlers handlers;
  handlers.give = [this]() -> absl::StatusOr<Handover> {
    Handover handover{.lock = UniqueFd(dup(agent_.ledger().lock_fd())), .nri = std::nullopt, .book = book_};
    if (!handover.lock) return absl::ErrnoToStatus(errno, "copy the lock");
    absl::StatusOr<NriSession> session = nri_->Detach();
    if (absl::IsUnavailable(session.status())) return session.status();
    if (session.ok()) handover.nri = *std::move(session);
    agent_.StopServing();
    return handover;
  };
  handlers.given = [this](pid_t successor) {
    spdlog::info("the node is handed over to process {}", successor);
    agent_.Leave();
  };
  handlers.take_back = [this](Handover handover) {
    spdlog::warn("a successor asked for the node and was gone when it was to get it");
    former_ = std::move(handover);
    agent_.Complain("NRI", StartNri());
    agent_.Complain("listen", agent_.StartServer());
  };
  absl::StatusOr<std::unique_ptr<HandoverServer>> server =
      HandoverServer::Listen(agent_.loop(), agent_.config().state_directory, std::move(handlers));
  if (!server.ok()) return server.status();
  handover_ = *std::move(server);
  return absl::OkStatus();
}

// Without an API server (static pods, no cluster) refusals are told by the failed sandbox alone.
absl::Status ManageMode::StartReporter(const std::string& node_name) {
  const Config& config = agent_.config();
  absl::StatusOr<ApiAccess> api =
      FindApiServer(config.api_server, config.api_server_token_file, config.api_server_ca_file);
  if (absl::IsNotFound(api.status())) {
    spdlog::info("no API server: refused pods are told by their failed sandboxes alone");
    return absl::OkStatus();
  }
  if (!api.ok()) return api.status();
  absl::StatusOr<std::unique_ptr<NodeReporter>> reporter =
      NodeReporter::Create({.api = *std::move(api), .node_name = node_name, .retry = {}});
  if (!reporter.ok()) return reporter.status();
  reporter_ = *std::move(reporter);
  return absl::OkStatus();
}

NriHandlers ManageMode::Handlers() {
  NriHandlers handlers;
  handlers.on_configure = [](const std::string& name, const std::string& version) {
    spdlog::info("runtime {} {}", name, version);
  };
  handlers.on_synchronize = [this](const auto& pods, const auto& containers) { return Synchronize(pods, containers); };
  handlers.on_disconnected = [](const absl::Status& reason) {
    spdlog::error("the runtime's NRI connection ended: {}. Until it is back, what it starts is not decided on",
                  reason.ToString());
  };
  handlers.run_pod_sandbox = [this](const NriPod& pod) { return RunSandbox(pod); };
  handlers.stop_pod_sandbox = [this](const NriPod& pod) {
    book_.StopSandbox(pod);
    Converge();
    return absl::OkStatus();
  };
  handlers.remove_pod_sandbox = [this](const NriPod& pod) {
    book_.RemoveSandbox(pod);
    Converge();
    return absl::OkStatus();
  };
  handlers.update_pod_sandbox = [this](const NriPod& pod, const auto&, const std::optional<NriResources>& wanted) {
    return ResizeSandbox(pod, wanted);
  };
  handlers.create_container = [this](const NriPod& pod, const NriContainer& container) {
    return CreateContainer(pod, container);
  };
  handlers.validate_adjustment = [this](const NriValidation& validation) { return ValidateAdjustment(validation); };
  handlers.start_container = [this](const NriPod& pod, const NriContainer& container) {
    return StartContainer(pod, container);
  };
  handlers.post_start_container = [this](const NriPod& pod, const NriContainer& container) {
    book_.Started(pod, container);
    return absl::OkStatus();
  };
  handlers.update_container = [this](const NriPod& pod, const NriContainer& container, const NriResources& wanted) {
    return UpdateContainer(pod, container, wanted);
  };
  handlers.stop_container = [this](const NriPod& pod,
                                   const NriContainer& container) -> absl::StatusOr<std::vector<NriContainerUpdate>> {
    Stopped(pod, container);
    return std::vector<NriContainerUpdate>();
  };
  handlers.remove_container = [this](const NriPod& pod, const NriContainer& container) {
    Stopped(pod, container);
    book_.RemoveContainer(pod, container);
    TellPlaces();
    return absl::OkStatus();
  };
  return handlers;
}

absl::StatusOr<std::vector<NriContainerUpdate>> ManageMode::Synchronize(const std::vector<NriPod>& pods,
                                                                        const std::vector<NriContainer>& containers) {
  spdlog::info("the runtime has {} pods and {} containers", pods.size(), containers.size());
  book_.Replace(
      pods, containers,
      [this](const std::string& path) { return IsPopulatedAt(agent_.config().cgroup_hierarchy, path); },
      [this](const NriPod& pod, const std::string& what, const absl::Status& status) {
        agent_.Complain(Cat(what, " of pod ", NameOf(pod)), status, pod.uid);
      });
  ExpectLiving();
  synchronized_ = true;
  Settle();
  agent_.Complain("fence", Enforce());
  // The cgroups are as decided now; the runtime's own notes of them follow, so that no later update of its undoes it.
  std::vector<NriContainerUpdate> updates;
  for (const auto& [uid, pod] : book_.pods()) {
    for (const auto& [name, container] : pod.containers) {
      const absl::StatusOr<Fence> fence = agent_.fencer().DecidedFence(agent_.state(), uid, name);
      if (!fence.ok() || !pod.guaranteed() || container.phase == ContainerPhase::kTerminated) continue;
      std::optional<NriResources> change = DifferingResources(ResourcesOf(*fence), container.nri.resources);
      if (change) updates.push_back({.id = container.nri.id, .resources = *std::move(change), .ignore_failure = true});
    }
  }
  return updates;
}

void ManageMode::ExpectLiving() {
  for (const auto& [uid, pod] : book_.pods()) {
    for (const auto& [name, container] : pod.containers) {
      const bool alive = container.phase != ContainerPhase::kTerminated;
      agent_.Complain("expect", agent_.fencer().SetAlive(uid, name, alive));
    }
  }
}

absl::Status ManageMode::RunSandbox(const NriPod& pod) {
  if (pod.uid.empty()) return absl::OkStatus();  // not Kubernetes'
  if (absl::Status status = book_.PutSandbox(pod); !status.ok()) {
    spdlog::error("pod {}: {}", NameOf(pod), status.ToString());
    return status;
  }
  absl::Status status = AdmitSandbox(pod);
  if (!status.ok()) {
    book_.RemoveSandbox(pod);  // the runtime does not run it
    return status;
  }
  // The sandbox runs already; what it shares it leaves now.
  agent_.Complain("fence", Enforce());
  return absl::OkStatus();
}

absl::Status ManageMode::AdmitSandbox(const NriPod& pod) {
  if (agent_.state().pods.contains(pod.uid)) return absl::OkStatus();
  const bool guaranteed = book_.Find(pod.uid)->guaranteed();
  const PodRecordPtr record = source_->cache().Find(pod.uid);
  if (record == nullptr || record->pod == nullptr) {
    // Pods of the other classes hold nothing of their own: they are fenced with their class.
    return guaranteed ? NotKnown(pod) : absl::OkStatus();
  }
  if (record->is_terminal() && !record->is_static()) {
    return absl::FailedPreconditionError(Cat("pod ", NameOf(pod), " has ended: nothing of it is started again"));
  }
  if (!agent_.refused().contains(pod.uid)) {
    const absl::StatusOr<AdmitResult> result = agent_.Admit(record->pod);
    if (!result.ok()) return result.status();
    if (result->admitted()) return absl::OkStatus();
  }
  // One that ran before podfence may have been refused long ago, and run on: only now it does not start.
  return Reject(pod.uid, agent_.refused().at(pod.uid));
}

absl::Status ManageMode::Reject(const std::string& uid, RefusedPod& refused) {
  const PodRecordPtr record = source_->cache().Find(uid);
  if (reporter_ != nullptr && record != nullptr && !std::exchange(refused.told, true)) {
    reporter_->Reject(*record, refused.view.reason, refused.reference_message, refused.view.message);
  }
  return absl::FailedPreconditionError(Cat(refused.view.reason, ": ", refused.view.message));
}

bool ManageMode::HasRun(const std::string& uid) const {
  const RuntimeBook::Pod* pod = book_.Find(uid);
  if (pod != nullptr && !pod->containers.empty()) return true;
  const PodRecordPtr record = source_->cache().Find(uid);
  return record == nullptr ||
         std::ranges::any_of(record->statuses, [](const ContainerStatus& status) { return !status.id.empty(); });
}

absl::Status ManageMode::NotKnown(const NriPod& pod) {
  const PodRecordPtr record = source_->cache().Find(pod.uid);
  if (record != nullptr && record->pod == nullptr) {
    return absl::InvalidArgumentError(Cat("podfence refuses pod ", NameOf(pod), ": ", ToStd(record->error.message())));
  }
  if (record != nullptr) {
    return absl::UnavailableError(Cat("podfence has not decided on pod ", NameOf(pod), " (", pod.uid,
                                      ") yet. The kubelet tries again; where it stays so, the agent's log says why"));
  }
  source_->Refresh();
  return absl::UnavailableError(Cat("podfence does not know pod ", NameOf(pod), " (", pod.uid, ") yet: ",
                                    source_->status().description, " has not told of it. The kubelet tries again"));
}

bool ManageMode::IsDecided(const std::string& uid) const {
  const RuntimeBook::Pod* pod = book_.Find(uid);
  return pod != nullptr && pod->guaranteed() && agent_.state().pods.contains(uid);
}

bool ManageMode::HasOwnCpus(const std::string& uid) const {
  const auto pod = agent_.state().pods.find(uid);
  if (pod == agent_.state().pods.end()) return false;
  return pod->second.cpus || std::ranges::any_of(pod->second.containers, [](const ContainerAllocation& container) {
           return container.cpu_isolation == Isolation::kContainer;
         });
}

bool ManageMode::IsGuest(const std::string& uid, const std::string& container) const {
  const auto pod = agent_.state().pods.find(uid);
  return pod != agent_.state().pods.end() && pod->second.Find(container) == nullptr;
}

absl::StatusOr<NriCreateReply> ManageMode::CreateContainer(const NriPod& pod, const NriContainer& container) {
  const RuntimeBook::Pod* known = book_.Find(pod.uid);
  if (known == nullptr) {
    if (pod.uid.empty()) return NriCreateReply();
    return absl::FailedPreconditionError(
        Cat("podfence knows no sandbox of pod ", NameOf(pod), "; the kubelet makes it anew"));
  }
  if (!known->sandbox) {
    // A sandbox in which nothing lived when the runtime told of it: CRI-O runs them without a process.
    if (absl::Status status = book_.PutSandbox(pod); !status.ok()) return status;
  }
  // Its sandbox runs since before Podfence, and the pod source was behind: it is decided on now, or not made.
  const auto undecided = [&] {
    return known->guaranteed() && !agent_.state().pods.contains(pod.uid) && !agent_.refused().contains(pod.uid);
  };
  if (undecided()) Converge();
  if (undecided()) return NotKnown(pod);
  // One that was refused while it ran is shared as a whole; what has not begun yet does not begin.
  const auto refused = agent_.refused().find(pod.uid);
  if (refused != agent_.refused().end() && !HasRun(pod.uid)) return Reject(pod.uid, refused->second);
  // Where its last run was does not bind this one.
  if (const RuntimeBook::Container* last = book_.Find(pod.uid, container.name); last != nullptr) {
    Stopped(pod, last->nri);
    agent_.fencer().SetPlaces(PlacesNow());
  }
  NriCreateReply reply;
  std::string cgroups_path;
  if (IsDecided(pod.uid) && !IsGuest(pod.uid, container.name)) {
    const absl::StatusOr<Fence> fence = agent_.fencer().DecidedFence(agent_.state(), pod.uid, container.name);
    if (!fence.ok()) return fence.status();
    agent_.Complain("free what ended containers had", agent_.fencer().FreeEnded(pod.uid), pod.uid);
    reply.adjustment.resources = ResourcesOf(*fence);
    if (!fence->group.empty()) cgroups_path = CgroupsPathInGroup(container.cgroups_path, known->cgroup, fence->group);
    reply.adjustment.cgroups_path = cgroups_path;
    reply.adjustment.annotations[kDecisionAnnotation] =
        AllocationToJson(agent_.state().pods.find(pod.uid)->second).dump();
  }
  if (absl::Status status = book_.PutContainer(pod, container, cgroups_path); !status.ok()) return status;
  TellPlaces();
  return reply;
}

absl::Status ManageMode::ValidateAdjustment(const NriValidation& validation) {
  const std::string& uid = validation.pod.uid;
  const std::string& name = validation.container.name;
  if (!IsDecided(uid) || IsGuest(uid, name)) return absl::OkStatus();
  const absl::StatusOr<Fence> fence = agent_.fencer().DecidedFence(agent_.state(), uid, name);
  if (!fence.ok()) return fence.status();
  return CheckAdjusted(*fence, validation);
}

absl::Status ManageMode::StartContainer(const NriPod& pod, const NriContainer& container) {
  if (!IsDecided(pod.uid)) return absl::OkStatus();
  absl::Status status = MayStart(pod, container);
  if (status.ok()) return status;
  spdlog::error("pod {}: container {} must not start: {}", NameOf(pod), container.name, status.ToString());
  // CRI-O notes the refusal and starts it nonetheless (server/container_start.go): it finds it ended, before its first
  // instruction.
  const absl::StatusOr<Cgroup> cgroup = agent_.fencer().FindContainer(agent_.state(), pod.uid, container.name);
  const absl::Status killed = cgroup.ok() ? cgroup->Kill() : cgroup.status();
  agent_.Complain("end a container that must not start", killed, pod.uid);
  return status;
}

absl::Status ManageMode::MayStart(const NriPod& pod, const NriContainer& container) {
  // Expected from here on: until now the runtime's own process came into the cgroup from elsewhere.
  if (absl::Status status = agent_.fencer().SetAlive(pod.uid, container.name, true); !status.ok()) return status;
  if (absl::Status status = Enforce(); !status.ok()) return status;
  if (IsGuest(pod.uid, container.name)) return absl::OkStatus();
  absl::Status status = agent_.fencer().CheckContainer(agent_.state(), pod.uid, container.name);
  if (!status.ok()) return status;
  agent_.Complain("commit", agent_.ledger().Start(pod.uid, container.name));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NriContainerUpdate>> ManageMode::UpdateContainer(const NriPod& pod,
                                                                            const NriContainer& container,
                                                                            const NriResources& wanted) {
  std::vector<NriContainerUpdate> updates;
  if (!IsDecided(pod.uid) || IsGuest(pod.uid, container.name)) return updates;
  const absl::StatusOr<Fence> fence = agent_.fencer().DecidedFence(agent_.state(), pod.uid, container.name);
  if (!fence.ok()) return fence.status();
  const Pod& decided = *agent_.state().pods.find(pod.uid)->second.pod;
  std::optional<CpuMax> asked;
  if (const Container* spec = decided.FindContainer(container.name); spec != nullptr) {
    asked = CpuMaxOf(ContainerLimits(decided, *spec).cpu_milli, QuotaPeriodUs(agent_.config()));
  }
  if (absl::Status status = CheckResize(*fence, asked, container.resources, wanted); !status.ok()) return status;
  std::optional<NriResources> change = DifferingResources(ResourcesOf(*fence), wanted);
  if (change) updates.push_back({.id = container.id, .resources = *std::move(change), .ignore_failure = false});
  return updates;
}

absl::Status ManageMode::ResizeSandbox(const NriPod& pod, const std::optional<NriResources>& wanted) {
  if (!IsDecided(pod.uid) || !HasOwnCpus(pod.uid)) return absl::OkStatus();
  if (absl::Status status = CheckPodResize(pod, wanted); !status.ok()) return status;
  // The kubelet asks for what is there, once after the start of a pod with pod-level resources, and then writes it.
  if (wanted && wanted->cpu_quota.value_or(0) > 0) {
    const PodCgroup& cgroup = book_.Find(pod.uid)->cgroup;
    agent_.fencer().Announce(Cat(cgroup.top, "/", cgroup.path), "cpu.max",
                             Cat(*wanted->cpu_quota, " ", wanted->cpu_period.value_or(kQuotaPeriodUs)));
  }
  return absl::OkStatus();
}

void ManageMode::Stopped(const NriPod& pod, const NriContainer& container) {
  if (!book_.Stopped(pod, container)) return;
  agent_.Complain("container end", agent_.fencer().SetAlive(pod.uid, container.name, false));
}

absl::Status ManageMode::Enforce() {
  TellPlaces();
  return agent_.fencer().Enforce(agent_.state());
}

Places ManageMode::PlacesNow() const {
  return book_.GetPlaces([this](const std::string& uid, const std::string& name) { return IsGuest(uid, name); });
}

// The fencer, and whoever checks this node without asking us.
void ManageMode::TellPlaces() {
  Places places = PlacesNow();
  if (!places_kept_ || places != *places_kept_) {
    const absl::Status kept = KeepPlaces(agent_.config().state_directory, places);
    agent_.Complain("keep where the pods are, for `podfence verify`", kept);
    if (kept.ok()) places_kept_ = places;
  }
  agent_.fencer().SetPlaces(std::move(places));
}

void ManageMode::Complete(Snapshot& snapshot) const {
  const NriConnection& connection = nri_->connection();
  snapshot.nri = NriView{.connected = connection.state == NriState::kRegistered,
                         .runtime = Cat(connection.runtime_name, " ", connection.runtime_version),
                         .fails_closed = connection.validates,
                         .registrations = connection.registrations,
                         .handlers = {}};
  for (const auto& [method, statistics] : nri_->statistics()) {
    snapshot.nri->handlers.push_back({.method = method,
                                      .calls = statistics.calls,
                                      .failures = statistics.failures,
                                      .longest_seconds = absl::ToDoubleSeconds(statistics.max),
                                      .seconds = HistogramOf(statistics)});
  }
  snapshot.pod_source = ViewOf(source_->status());
}

}  // namespace podfence
