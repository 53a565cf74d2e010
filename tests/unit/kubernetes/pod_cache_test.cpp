#include "agent/kubernetes/pod_cache.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using Kind = PodChange::Kind;

PodRecordPtr Record(const std::string& uid, const std::string& api_uid, const std::string& name,
                    PodPhase phase = PodPhase::kRunning, int64_t created = 100) {
  auto object = std::make_shared<PodObject>();
  object->uid = uid;
  object->api_uid = api_uid;
  object->ns = "ns";
  object->name = name;
  object->phase = phase;
  object->created = absl::FromUnixSeconds(created);
  object->is_mirror = uid != api_uid;
  return object;
}
PodRecordPtr Record(const std::string& uid, PodPhase phase = PodPhase::kRunning, int64_t created = 100) {
  return Record(uid, uid, "name-" + uid, phase, created);
}

PodUpdates All(std::vector<PodRecordPtr> all) { return {.all = std::move(all), .changed = {}}; }
PodUpdates Changed(std::map<std::string, PodRecordPtr> changed) {
  return {.all = std::nullopt, .changed = std::move(changed)};
}

TEST(PodCache, TellsWhatAListChanges) {
  PodCache cache;
  EXPECT_THAT(cache.Apply(All({Record("a"), Record("b")})), SizeIs(2));
  EXPECT_THAT(cache.Apply(All({Record("a"), Record("b")})), IsEmpty());
  const std::vector<PodChange> changes = cache.Apply(All({Record("a", PodPhase::kFailed), Record("c")}));
  ASSERT_THAT(changes, SizeIs(3));
  EXPECT_EQ(changes[0].kind, Kind::kModified);
  EXPECT_EQ(changes[0].before->phase, PodPhase::kRunning);
  EXPECT_EQ(changes[0].now->phase, PodPhase::kFailed);
  EXPECT_EQ(changes[1].kind, Kind::kRemoved);
  EXPECT_EQ(changes[1].record().uid, "b");
  EXPECT_EQ(changes[1].now, nullptr);
  EXPECT_EQ(changes[2].kind, Kind::kAdded);
  EXPECT_EQ(changes[2].before, nullptr);
  EXPECT_EQ(cache.size(), 2u);
}

TEST(PodCache, TellsSingleChanges) {
  PodCache cache;
  EXPECT_THAT(cache.Apply(Changed({{"a", Record("a")}, {"b", nullptr}})), SizeIs(1));
  EXPECT_EQ(cache.FindByName("ns", "name-a")->uid, "a");
  EXPECT_EQ(cache.FindByName("ns", "name-b"), nullptr);
  EXPECT_THAT(cache.Apply(Changed({{"a", Record("a")}})), IsEmpty());
  EXPECT_EQ(cache.Apply(Changed({{"a", nullptr}}))[0].kind, Kind::kRemoved);
  EXPECT_THAT(cache.Apply(Changed({{"a", nullptr}})), IsEmpty());
  EXPECT_EQ(cache.size(), 0u);
}

TEST(PodCache, AListAndWhatCameAfterItAreOne) {
  PodCache cache;
  cache.Apply(All({Record("a")}));
  const std::vector<PodChange> changes =
      cache.Apply({.all = {{Record("a"), Record("b")}}, .changed = {{"b", nullptr}, {"c", Record("c")}}});
  ASSERT_THAT(changes, SizeIs(1));
  EXPECT_EQ(changes[0].record().uid, "c");
}

TEST(PodCache, AMirrorIsFoundByTheUidItStandsFor) {
  PodCache cache;
  cache.Apply(All({Record("hash", "mirror-uid", "etcd")}));
  EXPECT_EQ(cache.Find("hash")->api_uid, "mirror-uid");
  EXPECT_EQ(cache.Find("mirror-uid"), nullptr);
  // The kubelet makes a mirror anew that someone deleted.
  const std::vector<PodChange> changes =
      cache.Apply(Changed({{"mirror-uid", nullptr}, {"second-uid", Record("hash", "second-uid", "etcd")}}));
  ASSERT_THAT(changes, SizeIs(1));
  EXPECT_EQ(changes[0].kind, Kind::kModified);
  EXPECT_EQ(cache.Apply(Changed({{"second-uid", nullptr}}))[0].kind, Kind::kRemoved);
}

TEST(PodCache, NoMirrorTakesAnotherPodsPlace) {
  PodCache cache;
  cache.Apply(All({Record("victim")}));
  EXPECT_THAT(cache.Apply(Changed({{"x", Record("victim", "x", "imposter")}})), IsEmpty());
  EXPECT_EQ(cache.Find("victim")->name, "name-victim");
  // Nor when it was there first.
  PodCache other;
  other.Apply(All({Record("victim", "x", "imposter"), Record("victim")}));
  EXPECT_EQ(other.Find("victim")->name, "name-victim");
  // And when the pod goes, the UID goes on with what else claims it.
  EXPECT_EQ(other.Apply(Changed({{"victim", nullptr}}))[0].kind, Kind::kModified);
  EXPECT_EQ(other.Find("victim")->name, "imposter");
}

TEST(PodCache, APodThatChangesItsUidIsTwo) {
  PodCache cache;
  cache.Apply(All({Record("one", "api", "p")}));
  EXPECT_THAT(cache.Apply(Changed({{"api", Record("two", "api", "p")}})), SizeIs(2));
  EXPECT_EQ(cache.Find("one"), nullptr);
  EXPECT_NE(cache.Find("two"), nullptr);
}

TEST(PodCache, TheOldestComeFirst) {
  PodCache cache;
  auto ageless = std::make_shared<PodObject>(*Record("0"));
  ageless->created.reset();
  cache.Apply(All({Record("a", PodPhase::kRunning, 30), Record("b", PodPhase::kRunning, 10),
                   Record("c", PodPhase::kRunning, 30), ageless}));
  std::string order;
  for (const PodRecordPtr& record : cache.ByAge()) order += record->uid;
  EXPECT_EQ(order, "bac0");
}

}  // namespace
}  // namespace podfence
