#include "agent/systemd/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "tests/unit/systemd/fake_systemd.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kRoot[] = "/sys/fs/cgroup/kubepods.slice";

LiveFence Live(const std::string& path, CgroupRole role, Fence fence, uint64_t id = 7) {
  fence.path = path;
  fence.role = role;
  return {.fence = std::move(fence), .path = path.empty() ? kRoot : Cat(kRoot, "/", path), .id = id};
}
LiveFence Top() {
  Fence fence;
  fence.held = {.cpus = false, .mems = false, .cpu_max = false, .cpu_weight = false, .memory_max = false};
  return Live("", CgroupRole::kTop, fence);
}
Fence HeldTo(const CpuSet& cpus) {
  Fence fence;
  fence.cpus = cpus;
  fence.held = {.mems = false, .cpu_max = false, .cpu_weight = false, .memory_max = false};
  return fence;
}
LiveFence Pod(const std::string& uid, const CpuSet& cpus, uint64_t id = 7) {
  Fence fence = HeldTo(cpus);
  fence.held.cpu_max = true;
  return Live(Cat("kubepods-pod", uid, ".slice"), CgroupRole::kPod, fence, id);
}

TEST(UnitsOfTest, NamesThePropertiesOfWhatIsHeld) {
  Fence container = HeldTo({2, 9});
  container.mems = NumaSet{1};
  container.held.mems = true;
  Fence group = HeldTo({});
  group.held = {.cpus = false, .mems = false, .cpu_max = true, .cpu_weight = true, .memory_max = false};
  group.cpu_max.quota_us = 150000;
  const std::vector<Unit> units =
      UnitsOf({Top(), Pod("1", {2, 4}), Live("kubepods-pod1.slice/cri-a.scope", CgroupRole::kContainer, container),
               Live("kubepods-pod1.slice/kubepods-pod1-shared.slice", CgroupRole::kQuotaGroup, group)});
  ASSERT_EQ(units.size(), 3u) << "of the top nothing is held";
  EXPECT_EQ(units[0].name, "kubepods-pod1.slice");
  EXPECT_EQ(units[0].path, Cat(kRoot, "/kubepods-pod1.slice"));
  EXPECT_EQ(units[0].wanted, (UnitProperties{.cpus = CpuSet{2, 4}, .cpu_max = CpuMax{}}));
  EXPECT_EQ(units[1].name, "cri-a.scope");
  EXPECT_EQ(units[1].wanted, (UnitProperties{.cpus = CpuSet{2, 9}, .mems = NumaSet{1}}));
  EXPECT_EQ(units[2].wanted, (UnitProperties{.cpu_max = CpuMax{150000}, .cpu_weight = 100}));
  EXPECT_FALSE(units[1].implicit);
  EXPECT_TRUE(units[2].implicit);
}

TEST(UnitsOfTest, OnlyWhatSystemdMade) {
  const auto scope = [](const std::string& path) { return Live(path, CgroupRole::kContainer, HeldTo({1})); };
  EXPECT_THAT(UnitsOf({Top(), scope("kubepods-pod1.slice/a.scope/container"), scope("kubepods-pod1.slice/a"),
                       scope("a.scope/b.scope"), scope("pod1/a.scope")}),
              IsEmpty());
  LiveFence top = Top();
  top.path = "/sys/fs/cgroup/kubepods";
  EXPECT_THAT(UnitsOf({top, scope("crio-a.scope")}), IsEmpty()) << "the cgroupfs driver";
  EXPECT_THAT(UnitsOf({}), IsEmpty());
}

TEST(UntoldTest, OnlyWhatChanged) {
  const UnitProperties wanted = {.cpus = CpuSet{1}, .mems = NumaSet{0}, .cpu_max = CpuMax{}, .cpu_weight = 5};
  EXPECT_EQ(Untold(wanted, std::nullopt), wanted);
  EXPECT_TRUE(Untold(wanted, wanted).empty());
  UnitProperties told = wanted;
  told.cpus = CpuSet{1, 2};
  EXPECT_EQ(Untold(wanted, told), (UnitProperties{.cpus = CpuSet{1}}));
}

class SystemdUnitsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!FakeSystemd::IsPossible()) GTEST_SKIP() << "there is no dbus-daemon (package dbus-daemon)";
    sd_event_new(&loop_);
    systemd_ = std::make_unique<FakeSystemd>(loop_);
    MakeUnits(absl::Milliseconds(30));
  }
  void MakeUnits(absl::Duration gather) {
    SystemdOptions options;
    options.address = systemd_->address();
    options.gather = gather;
    options.retry_first = absl::Milliseconds(50);
    options.retry_longest = absl::Milliseconds(200);
    units_ = *SystemdUnits::Create(loop_, options, [this](const absl::Status& status) {
      if (reported_.empty() || reported_.back() != status) reported_.push_back(status);
    });
  }
  void TearDown() override {
    units_.reset();
    systemd_.reset();
    sd_event_unref(loop_);
  }

  std::vector<std::string>& asked() { return systemd_->asked; }
  bool UntilAsked(size_t times) {
    return systemd_->Until([&] { return asked().size() >= times; });
  }
  // Until all is told.
  bool UntilTold() {
    return systemd_->Until([&] { return !reported_.empty() && reported_.back().ok(); });
  }

  sd_event* loop_ = nullptr;
  std::unique_ptr<FakeSystemd> systemd_;
  std::unique_ptr<SystemdUnits> units_;
  std::vector<absl::Status> reported_;
};

TEST_F(SystemdUnitsTest, TellsOnceAndThenOnlyWhatIsNew) {
  systemd_->Start();
  units_->Follow({Top(), Pod("1", {2, 3})}, {});
  ASSERT_TRUE(UntilTold());
  EXPECT_THAT(asked(), ElementsAre("kubepods-pod1.slice AllowedCPUs=2-3 CPUQuotaPerSecUSec=infinity "
                                   "CPUQuotaPeriodUSec=100000"));
  asked().clear();
  units_->Follow({Top(), Pod("1", {2, 3})}, {});
  systemd_->Pass(100);
  EXPECT_THAT(asked(), IsEmpty());
  LiveFence pod = Pod("1", {2});
  pod.fence.cpu_max.quota_us = 1500;
  units_->Follow({Top(), Pod("1", {2, 5})}, {});
  units_->Follow({Top(), pod}, {});
  ASSERT_TRUE(UntilAsked(1));
  systemd_->Pass(100);
  EXPECT_THAT(asked(), ElementsAre("kubepods-pod1.slice AllowedCPUs=2 CPUQuotaPerSecUSec=15000 "
                                   "CPUQuotaPeriodUSec=100000"))
      << "what came together, at once";
}

TEST_F(SystemdUnitsTest, TellsAllAgainOfWhatSomeoneChangedAndOfWhatWasMadeAnew) {
  systemd_->Start();
  units_->Follow({Top(), Pod("1", {1}), Pod("2", {2})}, {});
  ASSERT_TRUE(UntilTold());
  asked().clear();
  units_->Follow({Top(), Pod("1", {1}), Pod("2", {2})}, {Cat(kRoot, "/kubepods-pod2.slice")});
  ASSERT_TRUE(UntilAsked(1));
  units_->Follow({Top(), Pod("1", {1}, 8), Pod("2", {2})}, {});
  ASSERT_TRUE(UntilAsked(2));
  systemd_->Pass(100);
  EXPECT_THAT(asked(), ElementsAre(HasSubstr("pod2.slice AllowedCPUs=2 CPUQuota"),
                                   HasSubstr("pod1.slice AllowedCPUs=1 CPUQuota")));
}

TEST_F(SystemdUnitsTest, WhatIsUnderWayIsFollowedAtOnceByWhatIsWantedNow) {
  constexpr absl::Duration kGather = absl::Seconds(2);
  MakeUnits(kGather);
  systemd_->Start();
  systemd_->hold = true;
  units_->Follow({Top(), Pod("1", {1, 2, 3}), Pod("2", {2})}, {});
  ASSERT_TRUE(UntilAsked(2));
  asked().clear();
  systemd_->hold = false;
  const absl::Time began = absl::Now();
  units_->Follow({Top(), Pod("1", {1}), Pod("2", {2})}, {});
  ASSERT_TRUE(UntilAsked(1));
  EXPECT_LT(absl::Now() - began, kGather);
  systemd_->AnswerHeld();
  ASSERT_TRUE(UntilTold());
  EXPECT_THAT(asked(), ElementsAre("kubepods-pod1.slice AllowedCPUs=1"));
}

TEST_F(SystemdUnitsTest, SaysOnceThatTheBusIsAwayAndTellsAllWhenItIsBack) {
  units_->Follow({Top(), Pod("1", {1})}, {});
  ASSERT_TRUE(systemd_->Until([&] { return !reported_.empty(); }));
  EXPECT_TRUE(absl::IsUnavailable(reported_.back()));
  EXPECT_THAT(reported_.back().message(), HasSubstr(systemd_->address()));
  systemd_->Pass(300);
  EXPECT_EQ(reported_.size(), 1u) << reported_.back();
  systemd_->Start();
  ASSERT_TRUE(UntilTold());
  asked().clear();
  // It goes while something is under way.
  systemd_->hold = true;
  units_->Follow({Top(), Pod("1", {1, 2})}, {});
  ASSERT_TRUE(UntilAsked(1));
  systemd_->Stop();
  ASSERT_TRUE(systemd_->Until([&] { return !reported_.back().ok(); }));
  systemd_->hold = false;
  systemd_->Start();
  ASSERT_TRUE(UntilTold());
  EXPECT_THAT(asked(), ElementsAre("kubepods-pod1.slice AllowedCPUs=1-2",
                                   "kubepods-pod1.slice AllowedCPUs=1-2 CPUQuotaPerSecUSec=infinity "
                                   "CPUQuotaPeriodUSec=100000"));
}

TEST_F(SystemdUnitsTest, ARefusalHoldsUpNoOther) {
  systemd_->Start();
  systemd_->refused = {"kubepods-pod1.slice"};
  systemd_->unknown = {"kubepods-pod2.slice"};
  units_->Follow({Top(), Pod("1", {1}), Pod("2", {2}), Pod("3", {3})}, {});
  ASSERT_TRUE(UntilAsked(5)) << "three, and the first again and again";
  EXPECT_EQ(reported_.size(), 1u);
  EXPECT_THAT(reported_.back().message(), HasSubstr("kubepods-pod1.slice: org.freedesktop.DBus.Error.AccessDenied"));
  EXPECT_EQ(std::ranges::count_if(asked(), [](const std::string& each) { return !each.starts_with("kubepods-pod1"); }),
            2);
  systemd_->refused.clear();
  EXPECT_TRUE(UntilTold());
}

TEST_F(SystemdUnitsTest, TheNotesOfAQuotaGroupEndWithIt) {
  systemd_->Start();
  Fence fence;
  fence.held = {.cpus = false, .mems = false, .cpu_weight = false, .memory_max = false};
  const LiveFence group = Live("kubepods-pod1.slice/kubepods-pod1-shared.slice", CgroupRole::kQuotaGroup, fence);
  units_->Follow({Top(), Pod("1", {1}), group}, {});
  ASSERT_TRUE(UntilTold());
  asked().clear();
  units_->Follow({Top()}, {});
  ASSERT_TRUE(UntilAsked(1));
  systemd_->Pass(100);
  EXPECT_THAT(asked(), ElementsAre("revert kubepods-pod1-shared.slice"));
}

TEST_F(SystemdUnitsTest, ManyAreToldOneAfterTheOther) {
  systemd_->Start();
  std::vector<LiveFence> live = {Top()};
  for (int i = 0; i < 200; ++i) live.push_back(Pod(Cat(i), {i}));
  systemd_->hold = true;
  units_->Follow(live, {});
  ASSERT_TRUE(UntilAsked(16));
  systemd_->Pass(100);
  EXPECT_EQ(asked().size(), 16u) << "systemd answers others between";
  systemd_->AnswerHeld();
  ASSERT_TRUE(UntilTold());
  EXPECT_EQ(asked().size(), 200u);
}

// As at the agent's end, when its loop does not run any more.
TEST_F(SystemdUnitsTest, SettlesWithoutTheLoop) {
  EXPECT_EQ(units_->Settle(absl::Seconds(1)), absl::OkStatus()) << "nothing to tell";
  MakeUnits(absl::Milliseconds(30));
  systemd_->Start();
  std::atomic<bool> settled{false};
  absl::Status status;
  std::thread agent([&] {
    units_->Follow({Top(), Pod("1", {1}), Pod("2", {})}, {});
    status = units_->Settle(absl::Seconds(10));
    settled = true;
  });
  EXPECT_TRUE(systemd_->Until([&] { return settled.load(); }));
  agent.join();
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_THAT(asked(), ElementsAre(HasSubstr("pod1.slice AllowedCPUs=1 "), HasSubstr("pod2.slice AllowedCPUs= ")));
}

TEST_F(SystemdUnitsTest, SettlingSaysWhatIsNotTold) {
  units_->Follow({Top(), Pod("1", {})}, {});
  EXPECT_TRUE(absl::IsUnavailable(units_->Settle(absl::Seconds(1))));
}

}  // namespace
}  // namespace podfence
