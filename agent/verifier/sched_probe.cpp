#include "agent/verifier/sched_probe.h"

#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>

#include "agent/core/text.h"
#include "agent/verifier/layout.h"
#include "agent/verifier/maps.h"
#include "bpf/sched.skel.h"

void DestroySched(podfence_sched* object) { podfence_sched__destroy(object); }

namespace podfence {
namespace {

constexpr char kProgram[] = "tp_btf/sched_switch";

template <typename Value>
bool IsSame(const Value& a, const Value& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// Brings consecutive elements of an array map, from `first` on, from what they hold to `values`: the kernel takes
// its time for each, and most stay. After an error it is not known what they hold.
template <typename Value>
absl::Status WriteArray(const bpf_map* map, uint32_t first, std::vector<Value>& held,
                        const std::vector<Value>& values) {
  const std::vector<Value> before = std::exchange(held, {});
  const auto stays = [&](size_t i) { return i < before.size() && IsSame(before[i], values[i]); };
  for (size_t begin = 0; begin < values.size();) {
    if (stays(begin)) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < values.size() && !stays(end)) ++end;
    std::vector<uint32_t> keys(end - begin);
    std::iota(keys.begin(), keys.end(), first + static_cast<uint32_t>(begin));
    auto count = static_cast<__u32>(keys.size());
    const int error = bpf_map_update_batch(bpf_map__fd(map), keys.data(), &values[begin], &count, nullptr);
    if (error != 0) return MapError("write", map, error);
    begin = end;
  }
  held = values;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SchedProbe>> SchedProbe::Start(const TableSizes& sizes, bool measure_wait,
                                                              uint32_t ring_bytes) {
  std::unique_ptr<SchedProbe> probe(new SchedProbe(sizes));
  if (absl::Status status = probe->Load(measure_wait, ring_bytes); !status.ok()) return status;
  return probe;
}

absl::Status SchedProbe::Load(bool measure_wait, uint32_t ring_bytes) {
  const LibbpfLog log;
  object_.reset(podfence_sched__open());
  if (object_ == nullptr) return log.Error("open BPF object sched", errno);
  if (absl::StatusOr<int> layout = CheckLayout(bpf_object__btf(object_->obj)); !layout.ok()) return layout.status();

  SetSizes(*object_->rodata);
  object_->rodata->measure_wait = measure_wait ? 1 : 0;
  const auto& maps = object_->maps;
  bpf_map__set_max_entries(maps.owners, 2 * sizes_.cpus);
  bpf_map__set_max_entries(maps.fences, 2 * sizes_.slots());
  bpf_map__set_max_entries(maps.masks, 2 * sizes_.slots() * sizes_.mask_words());
  bpf_map__set_max_entries(maps.cgroups, 2 * sizes_.slots());
  bpf_map__set_max_entries(maps.cpus, sizes_.cpus);
  bpf_map__set_max_entries(maps.verdicts, sizes_.cpus * PODFENCE_CACHE_WAYS);
  bpf_map__set_max_entries(maps.counters, sizes_.slots());
  bpf_map__set_max_entries(maps.events, ring_bytes);

  if (const int error = podfence_sched__load(object_.get()); error != 0) {
    return log.Error(Cat("load BPF program ", kProgram), error);
  }
  link_.reset(bpf_program__attach(object_->progs.sched_switch));
  if (link_ == nullptr) return log.Error(Cat("attach BPF program ", kProgram), errno);
  ring_.reset(ring_buffer__new(bpf_map__fd(maps.events), OnEvent, this, nullptr));
  if (ring_ == nullptr) return log.Error("open the ring buffer of findings", errno);
  return absl::OkStatus();
}

absl::Status SchedProbe::FillHalf(uint64_t half, const TableImage& image) {
  const auto& maps = object_->maps;
  TableImage& held = halves_[half];
  std::erase_if(held.cgroups, [&](const auto& entry) {
    if (image.cgroups.contains(entry.first)) return false;
    const podfence_cgroup_key key = {.cgroup_id = entry.first, .half = half};
    bpf_map_delete_elem(bpf_map__fd(maps.cgroups), &key);
    return true;
  });
  for (const auto& [cgroup_id, slot] : image.cgroups) {
    if (const auto it = held.cgroups.find(cgroup_id); it != held.cgroups.end() && it->second == slot) continue;
    const podfence_cgroup_key key = {.cgroup_id = cgroup_id, .half = half};
    const int error = bpf_map_update_elem(bpf_map__fd(maps.cgroups), &key, &slot, BPF_ANY);
    if (error != 0) return MapError("write", maps.cgroups, error);
    held.cgroups.insert_or_assign(cgroup_id, slot);
  }
  const auto half32 = static_cast<uint32_t>(half);
  absl::Status status = WriteArray(maps.owners, half32 * sizes_.cpus, held.owners, image.owners);
  if (status.ok()) status = WriteArray(maps.fences, half32 * sizes_.slots(), held.fences, image.fences);
  if (status.ok()) {
    status = WriteArray(maps.masks, half32 * sizes_.slots() * sizes_.mask_words(), held.masks, image.masks);
  }
  return status;
}

absl::Status SchedProbe::Publish(const TableImage& image) {
  if (absl::Status status = AwaitOld(); !status.ok()) return status;
  const uint64_t next = generation_ + 1;
  if (absl::Status status = FillHalf(next & 1, image); !status.ok()) return status;
  const bpf_map* map = object_->maps.generation;
  const uint32_t zero = 0;
  if (const int error = bpf_map_update_elem(bpf_map__fd(map), &zero, &next, BPF_ANY); error != 0) {
    return MapError("write", map, error);
  }
  generation_ = next;
  lingers_ = true;
  return absl::OkStatus();
}

absl::Status SchedProbe::SettleOld() {
  return SettleWhere([now = static_cast<uint32_t>(generation_)](const podfence_cpu& run) {
    return run.judged != PODFENCE_IDLE && run.judged != now;
  });
}

absl::Status SchedProbe::Settle() {
  absl::Status status =
      SettleWhere([every = lingers_](const podfence_cpu& run) { return every || run.slot != 0 || run.victim != 0; });
  if (status.ok()) lingers_ = false;
  return status;
}

absl::Status SchedProbe::AwaitOld() { return lingers_ ? Settle() : absl::OkStatus(); }

absl::Status SchedProbe::SettleWhere(absl::FunctionRef<bool(const podfence_cpu& run)> settles) const {
  for (uint32_t cpu = 0; cpu < sizes_.cpus; ++cpu) {
    podfence_cpu run = {};
    const int error = bpf_map_lookup_elem(bpf_map__fd(object_->maps.cpus), &cpu, &run);
    if (error != 0) return MapError("read", object_->maps.cpus, error);
    if (!settles(run)) continue;
    if (absl::Status status = SettleCpu(cpu); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SchedProbe::SettleCpu(uint32_t cpu) const {
  LIBBPF_OPTS(bpf_test_run_opts, options, .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = cpu);
  const int error = bpf_prog_test_run_opts(bpf_program__fd(object_->progs.settle), &options);
  if (error == 0 || error == -ENXIO) return absl::OkStatus();  // ENXIO: the CPU is offline, nothing runs there
  return absl::ErrnoToStatus(-error, ToAbsl(Cat("run BPF program settle on CPU ", cpu)));
}

absl::Status SchedProbe::Clear(uint32_t slot) {
  if (absl::Status status = AwaitOld(); !status.ok()) return status;
  return ClearPerCpu<podfence_counters>(object_->maps.counters, slot);
}

absl::StatusOr<podfence_counters> SchedProbe::ReadCounters(uint32_t slot) const {
  absl::StatusOr<std::vector<podfence_counters>> values = ReadPerCpu<podfence_counters>(object_->maps.counters, slot);
  if (!values.ok()) return values.status();
  podfence_counters sum = {};
  for (const podfence_counters& value : *values) {
    sum.cpu_ns += value.cpu_ns;
    sum.escape_ns += value.escape_ns;
    for (size_t i = 0; i < PODFENCE_FOREIGN_CLASSES; ++i) {
      sum.foreign_ns[i] += value.foreign_ns[i];
      sum.foreign_runs[i] += value.foreign_runs[i];
    }
    sum.wait_ns += value.wait_ns;
    for (size_t i = 0; i < PODFENCE_WAIT_BUCKETS; ++i) sum.waits[i] += value.waits[i];
  }
  return sum;
}

absl::StatusOr<SchedProbe::Losses> SchedProbe::ReadLosses() const {
  Losses losses;
  for (uint32_t cpu = 0; cpu < sizes_.cpus; ++cpu) {
    podfence_cpu run = {};
    const int error = bpf_map_lookup_elem(bpf_map__fd(object_->maps.cpus), &cpu, &run);
    if (error != 0) return MapError("read", object_->maps.cpus, error);
    losses.lost += run.lost_events;
    losses.suppressed += run.suppressed_events;
    losses.miscounted += run.miscounted_runs;
  }
  absl::StatusOr<std::vector<podfence_losses>> others = ReadPerCpu<podfence_losses>(object_->maps.losses, 0);
  if (!others.ok()) return others.status();
  for (const podfence_losses& each : *others) {
    losses.lost += each.events;
    losses.failed_helpers += each.helpers;
  }
  return losses;
}

int SchedProbe::OnEvent(void* self, void* data, size_t size) {
  if (size >= sizeof(podfence_event)) (*static_cast<SchedProbe*>(self)->sink_)(*static_cast<podfence_event*>(data));
  return 0;
}

void SchedProbe::Drain(const std::function<void(const podfence_event&)>& sink) {
  sink_ = &sink;
  ring_buffer__consume(ring_.get());
  sink_ = nullptr;
}

int SchedProbe::ring_fd() const { return ring_buffer__epoll_fd(ring_.get()); }

void SchedProbe::ReadStatistics(Probe& probe) const { ReadProgramStatistics(object_->progs.sched_switch, probe); }

absl::Status SchedProbe::ShareTables(bpf_object* object) const {
  const auto& maps = object_->maps;
  for (const bpf_map* shared :
       {maps.generation, maps.owners, maps.fences, maps.masks, maps.cgroups, maps.events, maps.losses}) {
    bpf_map* map = bpf_object__find_map_by_name(object, bpf_map__name(shared));
    if (map == nullptr) continue;  // the other object does not use this table
    if (const int error = bpf_map__reuse_fd(map, bpf_map__fd(shared)); error != 0) {
      return MapError("share", shared, error);
    }
  }
  return absl::OkStatus();
}

}  // namespace podfence
