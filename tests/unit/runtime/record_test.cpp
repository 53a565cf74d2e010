#include "agent/runtime/record.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "agent/runtime/launch.h"
#include "agent/runtime/log_file.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ContainerRecord Full() {
  ContainerRecord record;
  record.restarts = 3;
  record.started = absl::FromUnixNanos(1'700'000'000'123'456'789);
  record.process = ContainerRecord::Process{42, 987};
  record.exit = ExitStatus{true, 137, 9, "killed by\nsomeone"};
  return record;
}

TEST(RecordTest, RoundTrips) {
  const absl::StatusOr<std::optional<ContainerRecord>> read = ContainerRecord::Parse(Full().ToText("b"), "b");
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_TRUE(read->has_value());
  EXPECT_EQ((*read)->restarts, 3);
  EXPECT_EQ((*read)->started, Full().started);
  EXPECT_EQ((*read)->process, Full().process);
  EXPECT_EQ((*read)->exit->code, 137);
  EXPECT_EQ((*read)->exit->signal, 9);
  EXPECT_EQ((*read)->exit->detail, "killed by someone");
  ContainerRecord unknown;
  unknown.exit = ExitStatus{false, 0, 0, ""};
  EXPECT_FALSE((**ContainerRecord::Parse(unknown.ToText("b"), "b")).exit->known);
}

TEST(RecordTest, AnotherBootMeansNothingAndDamageIsNamed) {
  EXPECT_FALSE(ContainerRecord::Parse(Full().ToText("b"), "c")->has_value());
  for (const std::string& text :
       {std::string(), std::string("podfence-container 1\n"), Full().ToText("b") + "exit x y\n",
        Full().ToText("b") + "process 0 1\n", Full().ToText("b") + "what\n"}) {
    EXPECT_TRUE(absl::IsDataLoss(ContainerRecord::Parse(text, "b").status())) << text;
  }
}

TEST(RecordTest, AStoreOfManyPods) {
  CgroupTree tree({});
  const RecordStore store(tree.path(), "b");
  EXPECT_FALSE(store.Load("u1", "a")->has_value());
  ASSERT_TRUE(store.Save("u1", "a", Full()).ok());
  ASSERT_TRUE(store.Save("u2", "a", Full()).ok());
  EXPECT_TRUE(store.Load("u1", "a")->has_value());
  ASSERT_TRUE(store.KeepOnly({"u2"}).ok());
  EXPECT_FALSE(store.Load("u1", "a")->has_value());
  EXPECT_TRUE(store.Load("u2", "a")->has_value());
  tree.Set("u2/a", "garbage");
  EXPECT_TRUE(absl::IsDataLoss(store.Load("u2", "a").status()));
  ASSERT_TRUE(store.Drop("u2").ok());
  EXPECT_FALSE(store.Load("u2", "a")->has_value());
}

TEST(CommandTest, ExpandsAsKubernetes) {
  const std::vector<std::string> env = {"A=1", "B=x y", "A=2"};
  EXPECT_EQ(ExpandVariables("$(A)-$(B)", env), "2-x y");
  EXPECT_EQ(ExpandVariables("$$(A) $(C) $A $( $", env), "$(A) $(C) $A $( $");
  EXPECT_EQ(ExpandVariables("", env), "");
}

TEST(CommandTest, BuildsFromTheContainerAlone) {
  Pod pod;
  pod.name = "p";
  Container container;
  container.name = "c";
  EXPECT_TRUE(absl::IsInvalidArgument(BuildCommand(pod, container).status()));
  EXPECT_THAT(std::string(BuildCommand(pod, container).status().message()), HasSubstr("images are not pulled"));
  container.command = {"sh", "-c"};
  container.args = {"echo $(GREETING)"};
  container.env = {{"NAME", "world"}, {"GREETING", "hello $(NAME)"}};
  container.working_dir = "/tmp";
  const absl::StatusOr<Command> command = BuildCommand(pod, container);
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_THAT(command->executable, HasSubstr("bin/sh"));
  EXPECT_THAT(command->argv, ElementsAre("sh", "-c", "echo hello world"));
  EXPECT_THAT(command->env, ElementsAre(HasSubstr("PATH="), "HOSTNAME=p", "NAME=world", "GREETING=hello world"));
  EXPECT_EQ(command->working_dir, "/tmp");
  container.command = {"no-such-program"};
  EXPECT_THAT(std::string(BuildCommand(pod, container).status().message()), HasSubstr("none of PATH's directories"));
}

TEST(LogFileTest, KeepsTheNewestPartInOneFileBeside) {
  CgroupTree tree({});
  const LogFile log(tree.path() + "/c.log", 100);
  EXPECT_TRUE(log.Bound().ok()) << "no log yet";
  const absl::StatusOr<UniqueFd> fd = log.Open();
  ASSERT_TRUE(fd.ok());
  const std::string first(150, 'a');
  const std::string second(60, 'b');
  ASSERT_EQ(write(fd->get(), first.data(), first.size()), 150);
  ASSERT_EQ(write(fd->get(), second.data(), second.size()), 60);
  ASSERT_TRUE(log.Bound().ok());
  EXPECT_EQ(tree.Get("c.log.1"), std::string(40, 'a') + second);
  ASSERT_EQ(write(fd->get(), "c", 1), 1);
  EXPECT_EQ(tree.Get("c.log"), "c") << "the writer goes on at the file's new end";
  ASSERT_TRUE(log.Bound().ok());
  EXPECT_EQ(tree.Get("c.log"), "c");
}

}  // namespace
}  // namespace podfence
