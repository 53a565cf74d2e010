#include "agent/kubelet_state/state_watch.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "agent/core/text.h"

namespace podfence {
namespace {

class StateWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "state_watch_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    ASSERT_GE(sd_event_new(&loop_), 0);
    absl::StatusOr<std::unique_ptr<StateWatch>> watch = StateWatch::Create(loop_, directory_, [this] { ++told_; });
    ASSERT_TRUE(watch.ok()) << watch.status();
    watch_ = *std::move(watch);
  }
  void TearDown() override {
    watch_.reset();
    sd_event_unref(loop_);
    std::filesystem::remove_all(directory_);
  }
  // As the kubelet does it.
  void Put(const std::string& name) {
    const std::string temporary = Cat(directory_, "/.tmp");
    std::ofstream(temporary) << "{}";
    std::filesystem::rename(temporary, Cat(directory_, "/", name));
  }
  int Told() {
    while (sd_event_run(loop_, 0) > 0) {
    }
    return std::exchange(told_, 0);
  }

  std::string directory_;
  sd_event* loop_ = nullptr;
  std::unique_ptr<StateWatch> watch_;
  int told_ = 0;
};

TEST_F(StateWatchTest, TellsOfTheTwoFilesAlone) {
  Put("cpu_manager_state");
  EXPECT_EQ(Told(), 1);
  Put("memory_manager_state");
  EXPECT_EQ(Told(), 1);
  Put("checkpoint");
  EXPECT_EQ(Told(), 0);
  std::filesystem::remove(Cat(directory_, "/cpu_manager_state"));
  EXPECT_EQ(Told(), 1);
}

TEST_F(StateWatchTest, ADirectoryThatIsNotThereIsAnError) {
  const absl::Status status = StateWatch::Create(loop_, Cat(directory_, "/none"), [] {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_NE(status.message().find("kubeletStateDirectory"), std::string::npos) << status;
}

}  // namespace
}  // namespace podfence
