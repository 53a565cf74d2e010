#include <utility>

#include "agent/core/text.h"
#include "agent/nri/messages.h"
#include "nri.pb.h"

namespace podfence {
namespace {

template <typename Message>
absl::StatusOr<Message> Parse(std::string_view name, std::string_view payload) {
  Message message;
  if (!message.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return absl::InvalidArgumentError(Cat("NRI ", name, ": ", payload.size(), " bytes that are no such message"));
  }
  return message;
}

NriStrings Strings(const google::protobuf::Map<std::string, std::string>& from) { return {from.begin(), from.end()}; }

NriResources Resources(const nri::LinuxResources& from) {
  NriResources to;
  const nri::LinuxCpu& cpu = from.cpu();
  to.cpus = cpu.cpus();
  to.mems = cpu.mems();
  if (cpu.has_quota()) to.cpu_quota = cpu.quota().value();
  if (cpu.has_period()) to.cpu_period = cpu.period().value();
  if (cpu.has_shares()) to.cpu_shares = cpu.shares().value();
  const nri::LinuxMemory& memory = from.memory();
  if (memory.has_limit()) to.memory_limit = memory.limit().value();
  if (memory.has_reservation()) to.memory_reservation = memory.reservation().value();
  if (memory.has_swap()) to.memory_swap = memory.swap().value();
  if (from.has_pids()) to.pids_limit = from.pids().limit();
  for (const nri::HugepageLimit& limit : from.hugepage_limits()) to.hugepage_limits[limit.page_size()] = limit.limit();
  to.unified = Strings(from.unified());
  return to;
}

std::optional<NriResources> Optional(bool said, const nri::LinuxResources& from) {
  return said ? std::optional<NriResources>(Resources(from)) : std::nullopt;
}

NriPod Pod(const nri::PodSandbox& from) {
  const nri::LinuxPodSandbox& os = from.linux();
  return {.id = from.id(),
          .name = from.name(),
          .uid = from.uid(),
          .ns = from.namespace_(),
          .labels = Strings(from.labels()),
          .annotations = Strings(from.annotations()),
          .runtime_handler = from.runtime_handler(),
          .cgroup_parent = os.cgroup_parent(),
          .cgroups_path = os.cgroups_path(),
          .pid = from.pid(),
          .pod_resources = Optional(os.has_pod_resources(), os.pod_resources()),
          .pod_overhead = Optional(os.has_pod_overhead(), os.pod_overhead()),
          .resources = Optional(os.has_resources(), os.resources())};
}

NriContainerState State(int from) {
  switch (from) {
    case 1: return NriContainerState::kCreated;
    case 2: return NriContainerState::kPaused;
    case 3: return NriContainerState::kRunning;
    case 4: return NriContainerState::kStopped;
    default: return NriContainerState::kUnknown;
  }
}

NriContainer Container(const nri::Container& from) {
  return {.id = from.id(),
          .pod_id = from.pod_sandbox_id(),
          .name = from.name(),
          .state = State(from.state()),
          .labels = Strings(from.labels()),
          .annotations = Strings(from.annotations()),
          .pid = from.pid(),
          .cgroups_path = from.linux().cgroups_path(),
          .resources = Resources(from.linux().resources()),
          .created_at = from.created_at(),
          .started_at = from.started_at()};
}

std::vector<NriContainerUpdate> Updates(const google::protobuf::RepeatedPtrField<nri::ContainerUpdate>& from) {
  std::vector<NriContainerUpdate> to;
  to.reserve(from.size());
  for (const nri::ContainerUpdate& update : from) {
    to.push_back({.id = update.container_id(),
                  .resources = Resources(update.linux().resources()),
                  .ignore_failure = update.ignore_failure()});
  }
  return to;
}

bool Matters(int field) {
  switch (static_cast<NriField>(field)) {
    case NriField::kCpuShares:
    case NriField::kCpuQuota:
    case NriField::kCpuPeriod:
    case NriField::kCpusetCpus:
    case NriField::kCpusetMems:
    case NriField::kCgroupsPath:
    case NriField::kMemoryPolicy: return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<NriConfigureRequest> ParseNriConfigure(std::string_view payload) {
  const auto message = Parse<nri::ConfigureRequest>("Configure", payload);
  if (!message.ok()) return message.status();
  return NriConfigureRequest{.runtime_name = message->runtime_name(),
                             .runtime_version = message->runtime_version(),
                             .nri_version = message->nri_version(),
                             .request_timeout = absl::Milliseconds(message->request_timeout())};
}

absl::StatusOr<NriSynchronizeRequest> ParseNriSynchronize(std::string_view payload) {
  const auto message = Parse<nri::SynchronizeRequest>("Synchronize", payload);
  if (!message.ok()) return message.status();
  NriSynchronizeRequest request;
  for (const nri::PodSandbox& pod : message->pods()) request.pods.push_back(Pod(pod));
  for (const nri::Container& container : message->containers()) request.containers.push_back(Container(container));
  request.more = message->more();
  return request;
}

absl::StatusOr<NriEventRequest> ParseNriEvent(NriEvent event, std::string_view payload) {
  NriEventRequest request;
  if (event == NriEvent::kUpdatePodSandbox) {
    const auto message = Parse<nri::UpdatePodSandboxRequest>("UpdatePodSandbox", payload);
    if (!message.ok()) return message.status();
    request.pod = Pod(message->pod());
    request.overhead = Optional(message->has_overhead_linux_resources(), message->overhead_linux_resources());
    request.resources = Optional(message->has_linux_resources(), message->linux_resources());
    return request;
  }
  const auto message = Parse<nri::EventRequest>("event", payload);
  if (!message.ok()) return message.status();
  request.pod = Pod(message->pod());
  request.container = Container(message->container());
  request.resources = Optional(message->has_linux_resources(), message->linux_resources());
  return request;
}

absl::StatusOr<NriStateChange> ParseNriStateChange(std::string_view payload) {
  const auto message = Parse<nri::StateChangeEvent>("StateChange", payload);
  if (!message.ok()) return message.status();
  NriStateChange change;
  change.event = message->event();
  change.request.pod = Pod(message->pod());
  change.request.container = Container(message->container());
  return change;
}

absl::StatusOr<NriValidation> ParseNriValidation(std::string_view payload) {
  const auto message = Parse<nri::ValidateContainerAdjustmentRequest>("ValidateContainerAdjustment", payload);
  if (!message.ok()) return message.status();
  NriValidation validation{.pod = Pod(message->pod()),
                           .container = Container(message->container()),
                           .adjustment = {.annotations = Strings(message->adjust().annotations()),
                                          .resources = Resources(message->adjust().linux().resources()),
                                          .cgroups_path = message->adjust().linux().cgroups_path()},
                           .updates = Updates(message->update()),
                           .owners = {},
                           .plugins = {}};
  for (const auto& [id, fields] : message->owners().owners()) {
    for (const auto& [field, plugin] : fields.simple()) {
      if (Matters(field)) validation.owners[id][static_cast<NriField>(field)] = plugin;
    }
  }
  for (const nri::PluginInstance& plugin : message->plugins()) {
    validation.plugins.push_back({.name = plugin.name(), .index = plugin.index()});
  }
  return validation;
}

absl::StatusOr<std::vector<NriContainerUpdate>> ParseNriUpdates(std::string_view payload) {
  const auto message = Parse<nri::Updates>("UpdateContainers", payload);
  if (!message.ok()) return message.status();
  return Updates(message->update());
}

}  // namespace podfence
