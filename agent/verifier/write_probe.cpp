#include "agent/verifier/write_probe.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include "agent/core/text.h"
#include "agent/verifier/maps.h"
#include "bpf/writes.skel.h"

void DestroyWrites(podfence_writes* object) { podfence_writes__destroy(object); }

namespace podfence {
namespace {

constexpr uint32_t kMaxWatched = 1 << 14;  // fences nest: with their ancestors they are more than there are slots

// None for a name that is too long to be the one of a file that fences.
std::optional<podfence_file> KeyOf(uint64_t cgroup_id, std::string_view file) {
  podfence_file key = {.cgroup_id = cgroup_id, .name = {}};
  if (file.size() >= sizeof(key.name)) return std::nullopt;
  std::copy(file.begin(), file.end(), key.name);
  return key;
}

}  // namespace

absl::StatusOr<std::unique_ptr<WriteProbe>> WriteProbe::Start(const SchedProbe& tables) {
  const LibbpfLog log;
  std::unique_ptr<WriteProbe> probe(new WriteProbe);
  probe->object_.reset(podfence_writes__open());
  if (probe->object_ == nullptr) return log.Error("open BPF object writes", errno);
  podfence_writes& object = *probe->object_;
  bpf_map__set_max_entries(object.maps.watched, kMaxWatched);
  if (absl::Status status = tables.Share(object); !status.ok()) return status;
  const char* hook = bpf_program__section_name(object.progs.cgroup_write);
  if (const int error = podfence_writes__load(&object); error != 0) {
    return log.Error(Cat("load BPF program ", hook), error);
  }
  probe->link_.reset(bpf_program__attach(object.progs.cgroup_write));
  if (probe->link_ == nullptr) return log.Error(Cat("attach BPF program ", hook), errno);
  return probe;
}

absl::Status WriteProbe::Watch(const std::set<uint64_t>& cgroup_ids) {
  const bpf_map* map = object_->maps.watched;
  for (uint64_t id : watched_) {
    if (!cgroup_ids.contains(id)) bpf_map_delete_elem(bpf_map__fd(map), &id);
  }
  const std::set<uint64_t> before = std::exchange(watched_, {});
  for (uint64_t id : cgroup_ids) {
    const uint8_t yes = 1;
    const int error = before.contains(id) ? 0 : bpf_map_update_elem(bpf_map__fd(map), &id, &yes, BPF_ANY);
    if (error != 0) return MapError("write", map, error);
    watched_.insert(id);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Writer>> WriteProbe::Who(uint64_t cgroup_id, std::string_view file) const {
  const std::optional<podfence_file> key = KeyOf(cgroup_id, file);
  if (!key) return std::nullopt;
  podfence_writer found = {};
  const bpf_map* map = object_->maps.writers;
  const int error = bpf_map_lookup_elem(bpf_map__fd(map), &*key, &found);
  if (error == -ENOENT) return std::nullopt;
  if (error != 0) return MapError("read", map, error);
  return Writer{.pid = static_cast<int>(found.tgid),
                .comm = {found.comm, std::find(found.comm, found.comm + sizeof(found.comm), '\0')},
                .cgroup_id = found.cgroup_id,
                .at_ns = found.at_ns};
}

void WriteProbe::Forget(uint64_t cgroup_id, std::string_view file) {
  const std::optional<podfence_file> key = KeyOf(cgroup_id, file);
  if (key) bpf_map_delete_elem(bpf_map__fd(object_->maps.writers), &*key);  // what is not there is forgotten
}

void WriteProbe::ReadStatistics(Probe& probe) const { ReadProgramStatistics(object_->progs.cgroup_write, probe); }

}  // namespace podfence
