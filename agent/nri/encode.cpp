#include <utility>

#include "agent/nri/messages.h"
#include "nri.pb.h"

namespace podfence {
namespace {

void Fill(const NriStrings& from, google::protobuf::Map<std::string, std::string>& to) {
  for (const auto& [key, value] : from) to[key] = value;
}

void Fill(const NriResources& from, nri::LinuxResources& to) {
  nri::LinuxCpu& cpu = *to.mutable_cpu();
  cpu.set_cpus(from.cpus);
  cpu.set_mems(from.mems);
  if (from.cpu_quota) cpu.mutable_quota()->set_value(*from.cpu_quota);
  if (from.cpu_period) cpu.mutable_period()->set_value(*from.cpu_period);
  if (from.cpu_shares) cpu.mutable_shares()->set_value(*from.cpu_shares);
  nri::LinuxMemory& memory = *to.mutable_memory();
  if (from.memory_limit) memory.mutable_limit()->set_value(*from.memory_limit);
  if (from.memory_reservation) memory.mutable_reservation()->set_value(*from.memory_reservation);
  if (from.memory_swap) memory.mutable_swap()->set_value(*from.memory_swap);
  if (from.pids_limit) to.mutable_pids()->set_limit(*from.pids_limit);
  for (const auto& [page_size, limit] : from.hugepage_limits) {
    nri::HugepageLimit& entry = *to.add_hugepage_limits();
    entry.set_page_size(page_size);
    entry.set_limit(limit);
  }
  Fill(from.unified, *to.mutable_unified());
}

void Fill(const std::vector<NriContainerUpdate>& from, google::protobuf::RepeatedPtrField<nri::ContainerUpdate>& to) {
  for (const NriContainerUpdate& update : from) {
    nri::ContainerUpdate& entry = *to.Add();
    entry.set_container_id(update.id);
    Fill(update.resources, *entry.mutable_linux()->mutable_resources());
    entry.set_ignore_failure(update.ignore_failure);
  }
}

}  // namespace

std::string EncodeNriRegister(const std::string& name, const std::string& index) {
  nri::RegisterPluginRequest message;
  message.set_plugin_name(name);
  message.set_plugin_idx(index);
  return message.SerializeAsString();
}

std::string EncodeNriConfigureReply(int32_t events) {
  nri::ConfigureResponse message;
  message.set_events(events);
  return message.SerializeAsString();
}

std::string EncodeNriSynchronizeReply(const std::vector<NriContainerUpdate>& updates, bool more) {
  nri::SynchronizeResponse message;
  Fill(updates, *message.mutable_update());
  message.set_more(more);
  return message.SerializeAsString();
}

std::string EncodeNriCreateReply(const NriCreateReply& reply) {
  nri::CreateContainerResponse message;
  const NriAdjustment& adjustment = reply.adjustment;
  if (adjustment != NriAdjustment{}) {
    nri::ContainerAdjustment& adjust = *message.mutable_adjust();
    Fill(adjustment.annotations, *adjust.mutable_annotations());
    Fill(adjustment.resources, *adjust.mutable_linux()->mutable_resources());
    adjust.mutable_linux()->set_cgroups_path(adjustment.cgroups_path);
  }
  Fill(reply.updates, *message.mutable_update());
  return message.SerializeAsString();
}

std::string EncodeNriUpdates(const std::vector<NriContainerUpdate>& updates) {
  nri::Updates message;
  Fill(updates, *message.mutable_update());
  return message.SerializeAsString();
}

std::string EncodeNriValidationReply(const absl::Status& verdict) {
  nri::ValidateContainerAdjustmentResponse message;
  if (!verdict.ok()) {
    message.set_reject(true);
    message.set_reason(std::string(verdict.message()));
  }
  return message.SerializeAsString();
}

}  // namespace podfence
