#include "agent/verifier/layout.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bpf/drift.skel.h"
#include "bpf/interrupts.skel.h"
#include "bpf/moves.skel.h"
#include "bpf/sched.skel.h"
#include "bpf/throttle.skel.h"
#include "bpf/writes.skel.h"

namespace podfence {
namespace {

using testing::HasSubstr;

TEST(LayoutTest, TheProgramsKnowTheStructsAsTheAgentDoes) {
  int compared = 0;
  podfence_sched* sched = podfence_sched__open();
  podfence_drift* drift = podfence_drift__open();
  podfence_throttle* throttle = podfence_throttle__open();
  podfence_interrupts* interrupts = podfence_interrupts__open();
  podfence_moves* moves = podfence_moves__open();
  podfence_writes* writes = podfence_writes__open();
  for (const bpf_object* object : {sched->obj, drift->obj, throttle->obj, interrupts->obj, moves->obj, writes->obj}) {
    absl::StatusOr<int> structs = CheckLayout(bpf_object__btf(object));
    ASSERT_TRUE(structs.ok()) << structs.status();
    compared += *structs;
  }
  // Four that the tables need (owner, fence, key, losses), the event where one is told, and each one's own.
  EXPECT_EQ(compared, 9 + 5 + 1 + 6 + 6 + 6);
  podfence_moves__destroy(moves);
  podfence_writes__destroy(writes);
  podfence_sched__destroy(sched);
  podfence_drift__destroy(drift);
  podfence_throttle__destroy(throttle);
  podfence_interrupts__destroy(interrupts);
}

TEST(LayoutTest, AMemberInAnotherPlaceIsNamed) {
  btf* types = btf__new_empty();
  const int u32 = btf__add_int(types, "unsigned int", 4, 0);
  btf__add_struct(types, "podfence_owner", 8);
  btf__add_field(types, "slot", u32, 32, 0);
  btf__add_field(types, "pod", u32, 0, 0);
  const absl::StatusOr<int> structs = CheckLayout(types);
  EXPECT_TRUE(absl::IsFailedPrecondition(structs.status()));
  EXPECT_THAT(std::string(structs.status().message()), HasSubstr("podfence_owner, member slot"));
  btf__free(types);
}

TEST(LayoutTest, AStructThatNobodyComparesIsNamed) {
  btf* types = btf__new_empty();
  const int u32 = btf__add_int(types, "unsigned int", 4, 0);
  btf__add_struct(types, "podfence_stranger", 4);
  btf__add_field(types, "member", u32, 0, 0);
  const absl::StatusOr<int> structs = CheckLayout(types);
  EXPECT_TRUE(absl::IsFailedPrecondition(structs.status()));
  EXPECT_THAT(std::string(structs.status().message()), HasSubstr("podfence_stranger"));
  btf__free(types);
}

}  // namespace
}  // namespace podfence
