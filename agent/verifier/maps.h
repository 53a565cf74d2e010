#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/text.h"

namespace podfence {

// error: -errno.
inline absl::Status MapError(std::string_view operation, const bpf_map* map, int error) {
  return absl::ErrnoToStatus(-error, ToAbsl(Cat(operation, " BPF map ", bpf_map__name(map))));
}

// Reads one element of a per-CPU map: a value for each possible CPU.
template <typename Value>
absl::StatusOr<std::vector<Value>> ReadPerCpu(const bpf_map* map, uint32_t key) {
  static_assert(sizeof(Value) % 8 == 0, "the kernel rounds per-CPU values up to 8 bytes");
  std::vector<Value> values(libbpf_num_possible_cpus());
  const int error = bpf_map_lookup_elem(bpf_map__fd(map), &key, values.data());
  if (error != 0) return MapError("read", map, error);
  return values;
}

// Makes one element of a per-CPU map zero on every CPU.
template <typename Value>
absl::Status ClearPerCpu(const bpf_map* map, uint32_t key) {
  static_assert(sizeof(Value) % 8 == 0, "the kernel rounds per-CPU values up to 8 bytes");
  const std::vector<Value> zeros(libbpf_num_possible_cpus());
  const int error = bpf_map_update_elem(bpf_map__fd(map), &key, zeros.data(), BPF_ANY);
  return error == 0 ? absl::OkStatus() : MapError("clear", map, error);
}

}  // namespace podfence
