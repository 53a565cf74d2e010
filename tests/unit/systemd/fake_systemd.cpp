#include "tests/unit/systemd/fake_systemd.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/core/cpu_set.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr char kConfig[] = R"(<busconfig><type>session</type><auth>EXTERNAL</auth><listen>unix:path=%/bus</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
)";

// The next (name, value) of a(sv); empty at its end.
std::string ReadProperty(sd_bus_message* message) {
  if (sd_bus_message_enter_container(message, SD_BUS_TYPE_STRUCT, "sv") <= 0) return "";
  const char* name = "";
  const char* type = "";
  sd_bus_message_read(message, "s", &name);
  std::string text = Cat(name, "=");
  sd_bus_message_peek_type(message, nullptr, &type);
  sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, type);
  if (std::string(type) == "ay") {
    const void* bytes = nullptr;
    size_t size = 0;
    sd_bus_message_read_array(message, SD_BUS_TYPE_BYTE, &bytes, &size);
    CpuSet set;
    for (size_t bit = 0; bit < 8 * size; ++bit) {
      if ((static_cast<const uint8_t*>(bytes)[bit / 8] >> (bit % 8) & 1) != 0) set.Add(static_cast<int>(bit));
    }
    text += set.ToString();
  } else {
    uint64_t number = 0;
    sd_bus_message_read(message, type, &number);
    text += number == UINT64_MAX ? "infinity" : Cat(number);
  }
  sd_bus_message_exit_container(message);
  sd_bus_message_exit_container(message);
  return text;
}

}  // namespace

FakeSystemd::FakeSystemd(sd_event* loop) : loop_(loop) {
  char name[] = "/tmp/podfence-bus.XXXXXX";
  directory_ = mkdtemp(name);
  address_ = Cat("unix:path=", directory_, "/bus");
  std::string config = kConfig;
  config.replace(config.find('%'), 1, directory_);
  std::ofstream(Cat(directory_, "/config")) << config;
}

FakeSystemd::~FakeSystemd() {
  Stop();
  std::filesystem::remove_all(directory_);
}

bool FakeSystemd::IsPossible() { return system("command -v dbus-daemon >/dev/null") == 0; }

void FakeSystemd::Start() {
  daemon_ = fork();
  if (daemon_ == 0) {
    execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", "--nosyslog",
           Cat("--config-file=", directory_, "/config").c_str(), nullptr);
    _exit(127);
  }
  static const sd_bus_vtable kManager[] = {
      SD_BUS_VTABLE_START(0),
      SD_BUS_METHOD("SetUnitProperties", "sba(sv)", "", OnSetUnitProperties, SD_BUS_VTABLE_UNPRIVILEGED),
      SD_BUS_METHOD("RevertUnitFiles", "as", "a(sss)", OnRevertUnitFiles, SD_BUS_VTABLE_UNPRIVILEGED),
      SD_BUS_VTABLE_END,
  };
  const auto end = steady_clock::now() + std::chrono::seconds(10);
  for (int result = -1; result < 0 && steady_clock::now() < end; std::this_thread::sleep_for(milliseconds(5))) {
    bus_ = sd_bus_close_unref(bus_);
    sd_bus_new(&bus_);
    sd_bus_set_address(bus_, address_.c_str());
    sd_bus_set_bus_client(bus_, 1);
    result = sd_bus_start(bus_);
    if (result >= 0) result = sd_bus_request_name(bus_, "org.freedesktop.systemd1", 0);
  }
  sd_bus_add_object_vtable(bus_, nullptr, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", kManager,
                           this);
  sd_bus_attach_event(bus_, loop_, SD_EVENT_PRIORITY_NORMAL);
}

void FakeSystemd::Stop() {
  for (sd_bus_message* message : held_) sd_bus_message_unref(message);
  held_.clear();
  bus_ = sd_bus_close_unref(bus_);
  if (daemon_ <= 0) return;
  kill(daemon_, SIGKILL);
  waitpid(daemon_, nullptr, 0);
  daemon_ = -1;
  std::filesystem::remove(Cat(directory_, "/bus"));
}

int FakeSystemd::OnSetUnitProperties(sd_bus_message* message, void* self, sd_bus_error* error) {
  FakeSystemd& fake = *static_cast<FakeSystemd*>(self);
  const char* unit = "";
  int runtime = 0;
  sd_bus_message_read(message, "sb", &unit, &runtime);
  std::string text = runtime != 0 ? unit : Cat("persistently ", unit);
  sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "(sv)");
  for (std::string each = ReadProperty(message); !each.empty(); each = ReadProperty(message)) text += Cat(" ", each);
  fake.asked.push_back(text);
  if (fake.refused.contains(unit)) return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "not you");
  if (fake.unknown.contains(unit)) return sd_bus_error_set(error, "org.freedesktop.systemd1.NoSuchUnit", "not found");
  if (!fake.hold) return sd_bus_reply_method_return(message, "");
  fake.held_.push_back(sd_bus_message_ref(message));
  return 1;
}

int FakeSystemd::OnRevertUnitFiles(sd_bus_message* message, void* self, sd_bus_error*) {
  const char* unit = "";
  sd_bus_message_read(message, "as", 1, &unit);
  static_cast<FakeSystemd*>(self)->asked.push_back(Cat("revert ", unit));
  return sd_bus_reply_method_return(message, "a(sss)", 0);
}

void FakeSystemd::AnswerHeld() {
  hold = false;
  for (sd_bus_message* message : held_) {
    sd_bus_reply_method_return(message, "");
    sd_bus_message_unref(message);
  }
  held_.clear();
}

bool FakeSystemd::Until(const std::function<bool()>& holds) {
  const auto end = steady_clock::now() + std::chrono::seconds(10);
  while (!holds()) {
    if (steady_clock::now() > end) return false;
    sd_event_run(loop_, 10'000);
  }
  return true;
}

void FakeSystemd::Pass(int time) {
  const auto end = steady_clock::now() + milliseconds(time);
  while (steady_clock::now() < end) sd_event_run(loop_, 5'000);
}

}  // namespace podfence
