#pragma once

#include <bpf/btf.h>

#include "absl/status/statusor.h"

namespace podfence {

// Compares the structs of bpf/podfence_bpf.h as this program was compiled with them against a BPF object's BTF: every
// member's name, place and size, and that there is no other. FailedPrecondition names the struct and member: agent and
// programs were not built together, or the object has a struct podfence_* that is not compared. Structs that the object does not use are not in its BTF and are passed over;
// gives the number of those compared.
absl::StatusOr<int> CheckLayout(const btf* object_types);

}  // namespace podfence
