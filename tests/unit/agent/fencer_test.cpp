#include "agent/fencer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/enforcer/fake_node.h"
#include "tests/unit/enforcer/looks.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

// A kernel whose probes find nothing.
class CalmKernel final : public Verifier {
 public:
  absl::Status Expect(const Expectations& /*expectations*/) override { return absl::OkStatus(); }
  absl::StatusOr<Observation> Read() override { return Observation(); }
  absl::Status Sweep() override { return absl::OkStatus(); }
  std::vector<KernelFinding> Poll() override { return {}; }
  int fd() const override { return -1; }
  absl::Status RememberWriters(const std::set<uint64_t>& /*cgroup_ids*/) override { return absl::OkStatus(); }
  std::optional<Writer> WhoWrote(uint64_t /*cgroup_id*/, std::string_view /*file*/) const override { return {}; }
  void ForgetWriter(uint64_t /*cgroup_id*/, std::string_view /*file*/) override {}
  ProbeReport Probes() const override { return {}; }
};

TEST(FencerTest, MemoryIsLookedAtOnceTheContainerStarts) {
  CgroupTree tree(FakeRoot());
  tree.Add(tree.path(), {FakeCgroup("kubepods", "0-23", {FakeCgroup("podml", "", {FakeCgroup("c1", "")})})});
  tree.Set("kubepods/podml/c1/memory.numa_stat", "anon N0=0 N1=8388608\nfile N0=0 N1=0");
  absl::StatusOr<Enforcer> enforcer = Enforcer::Create(tree.path(), Node(), KubepodsOptions(tree));
  ASSERT_TRUE(enforcer.ok()) << enforcer.status();
  ASSERT_EQ(enforcer->Prepare(), absl::OkStatus());
  std::vector<FindingView> findings;
  Fencer fencer(*std::move(enforcer), std::make_unique<CalmKernel>(), absl::UnavailableError("no watch"), tree.path(),
                "kubepods", [&](FindingView finding) { findings.push_back(std::move(finding)); });
  Places places;
  places.pods["ml"] = {.path = "podml", .pause = "", .containers = {{"ml-training", "podml/c1"}}, .guests = {}};
  fencer.SetPlaces(places);
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  const auto told = [&] { return std::ranges::count(findings, "memory", &FindingView::kind); };
  ASSERT_EQ(fencer.Reconcile(state), absl::OkStatus());
  EXPECT_EQ(told(), 0) << "what the runtime's own process brought along";
  ASSERT_EQ(fencer.SetAlive("ml", "ml-training", true), absl::OkStatus());
  ASSERT_EQ(fencer.Reconcile(state), absl::OkStatus());
  EXPECT_EQ(told(), 1);
}

}  // namespace
}  // namespace podfence
