#include "agent/systemd/units.h"

#include <algorithm>
#include <cstdlib>
#include <list>
#include <map>
#include <set>
#include <utility>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/runtime/event_source.h"

namespace podfence {
namespace {

constexpr char kService[] = "org.freedesktop.systemd1";
constexpr char kObject[] = "/org/freedesktop/systemd1";
constexpr char kManager[] = "org.freedesktop.systemd1.Manager";
constexpr char kNoSuchUnit[] = "org.freedesktop.systemd1.NoSuchUnit";
// Enough to keep systemd busy, and few enough that it answers others between.
constexpr size_t kMostUnderWay = 16;

struct CloseBus {
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
struct UnrefMessage {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
struct UnrefSlot {
  void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
};
using Bus = std::unique_ptr<sd_bus, CloseBus>;
using Message = std::unique_ptr<sd_bus_message, UnrefMessage>;
using Slot = std::unique_ptr<sd_bus_slot, UnrefSlot>;

uint64_t Micros(absl::Duration duration) { return static_cast<uint64_t>(absl::ToInt64Microseconds(duration)); }

// One timer of the loop, off until it is set.
template <typename Self>
absl::StatusOr<EventSource> AddTimer(sd_event* loop, Self* self, int (*handler)(sd_event_source*, uint64_t, void*)) {
  sd_event_source* source = nullptr;
  const int result = sd_event_add_time(loop, &source, CLOCK_MONOTONIC, 0, 1000, handler, self);
  if (result < 0) return absl::ErrnoToStatus(-result, "arm a timer for what systemd is told");
  sd_event_source_set_enabled(source, SD_EVENT_OFF);
  return EventSource(source);
}

// Of a timer that is not there any more, nothing.
void Arm(const EventSource& timer, absl::Duration delay) {
  if (!timer) return;
  sd_event_source_set_time_relative(timer.get(), Micros(delay));
  sd_event_source_set_enabled(timer.get(), SD_EVENT_ONESHOT);
}

bool IsArmed(const EventSource& timer) {
  int enabled = SD_EVENT_OFF;
  return timer && sd_event_source_get_enabled(timer.get(), &enabled) >= 0 && enabled != SD_EVENT_OFF;
}

}  // namespace

struct SystemdUnits::Impl {
  struct Known {
    Unit unit;
    std::optional<UnitProperties> told;  // answered or under way; none: nothing is known to be as wanted
    int under_way = 0;                   // calls
    bool refused = false;                // until the next try
    UnitProperties untold() const { return Untold(unit.wanted, told); }
  };
  struct Call {
    Impl* impl = nullptr;
    std::string unit;
    uint64_t id = 0;
    bool revert = false;
    Slot slot = nullptr;
  };

  sd_event* loop = nullptr;
  SystemdOptions options;
  OnStatus on_status;
  Bus bus;
  std::map<std::string, Known> units;  // by name
  std::set<std::string> ended;         // implicit units, whose notes are to be removed
  std::list<Call> calls;               // under way
  EventSource gather;
  EventSource retry;
  absl::Duration delay = absl::ZeroDuration();  // before the next try but one
  absl::Status failure;                         // since all was told last

  absl::Status Connect();
  void Disconnect();
  bool IsUsable();
  void Tell(bool urgent_only);
  absl::Status SetProperties(Known& known);
  absl::Status Revert(const std::string& unit);
  absl::Status NewMessage(const char* method, Message& message) const;
  absl::Status Send(const Message& message, Call call);
  void OnReply(Call& call, const sd_bus_error* error);
  void Fail(const std::string& what, std::string_view why);
  void TryAgain();
  bool IsAllTold() const;
};

absl::Status SystemdUnits::Impl::Connect() {
  sd_bus* made = nullptr;
  int result = sd_bus_new(&made);
  bus.reset(made);
  if (result >= 0) result = sd_bus_set_address(made, options.address.c_str());
  if (result >= 0) result = sd_bus_set_bus_client(made, 1);
  if (result >= 0) result = sd_bus_start(made);
  if (result >= 0 && loop != nullptr) result = sd_bus_attach_event(made, loop, SD_EVENT_PRIORITY_NORMAL);
  if (result >= 0) return absl::OkStatus();
  bus.reset();
  return absl::ErrnoToStatus(-result, "connect");
}

// Not from within a reply.
void SystemdUnits::Impl::Disconnect() {
  calls.clear();
  bus.reset();
  for (auto& [name, known] : units) {
    if (known.under_way > 0) known.told.reset();  // whether it was done is not known
    known.under_way = 0;
  }
}

// Connects where it must; not from within a reply to one whose connection has ended.
bool SystemdUnits::Impl::IsUsable() {
  if (bus != nullptr && sd_bus_is_open(bus.get()) > 0) return true;
  if (IsArmed(retry)) return false;
  Disconnect();
  const absl::Status connected = Connect();
  if (!connected.ok()) Fail(Cat("reach it over ", options.address), ToStd(connected.message()));
  return connected.ok();
}

void SystemdUnits::Impl::Tell(bool urgent_only) {
  for (auto& [name, known] : units) {
    if (known.refused || known.untold().empty()) continue;
    if (known.under_way == 0 && (urgent_only || calls.size() >= kMostUnderWay)) continue;
    if (!IsUsable()) return;
    if (absl::Status status = SetProperties(known); !status.ok()) return Fail(name, ToStd(status.message()));
  }
  if (urgent_only) return;
  while (!ended.empty() && calls.size() < kMostUnderWay && IsUsable()) {
    const std::string unit = *ended.begin();
    ended.erase(ended.begin());
    if (absl::Status status = Revert(unit); !status.ok()) return Fail(unit, ToStd(status.message()));
  }
}

absl::Status SystemdUnits::Impl::NewMessage(const char* method, Message& message) const {
  sd_bus_message* made = nullptr;
  const int result = sd_bus_message_new_method_call(bus.get(), &made, kService, kObject, kManager, method);
  message.reset(made);
  return result < 0 ? absl::ErrnoToStatus(-result, method) : absl::OkStatus();
}

absl::Status SystemdUnits::Impl::SetProperties(Known& known) {
  Message message;
  if (absl::Status status = NewMessage("SetUnitProperties", message); !status.ok()) return status;
  // Of this boot (/run), as the cgroups are.
  int result = sd_bus_message_append(message.get(), "sb", known.unit.name.c_str(), 1);
  if (result >= 0) result = AppendProperties(message.get(), known.untold());
  if (result < 0) return absl::ErrnoToStatus(-result, "SetUnitProperties");
  absl::Status status = Send(message, {.unit = known.unit.name, .id = known.unit.id});
  if (!status.ok()) return status;
  known.told = known.unit.wanted;
  ++known.under_way;
  return absl::OkStatus();
}

absl::Status SystemdUnits::Impl::Revert(const std::string& unit) {
  Message message;
  if (absl::Status status = NewMessage("RevertUnitFiles", message); !status.ok()) return status;
  const int result = sd_bus_message_append(message.get(), "as", 1, unit.c_str());
  if (result < 0) return absl::ErrnoToStatus(-result, "RevertUnitFiles");
  return Send(message, {.unit = unit, .revert = true});
}

absl::Status SystemdUnits::Impl::Send(const Message& message, Call call) {
  Call& kept = calls.emplace_back(std::move(call));
  kept.impl = this;
  const auto on_reply = [](sd_bus_message* reply, void* data, sd_bus_error*) {
    Call& answered = *static_cast<Call*>(data);
    answered.impl->OnReply(answered, sd_bus_message_get_error(reply));
    return 0;
  };
  sd_bus_slot* slot = nullptr;
  const int result = sd_bus_call_async(bus.get(), &slot, message.get(), on_reply, &kept, Micros(options.timeout));
  kept.slot.reset(slot);
  if (result >= 0) return absl::OkStatus();
  calls.pop_back();
  return absl::ErrnoToStatus(-result, "send");
}

void SystemdUnits::Impl::OnReply(Call& call, const sd_bus_error* error) {
  std::list<Call> answered;  // no longer under way, and gone at the end
  answered.splice(answered.begin(), calls, std::ranges::find_if(calls, [&](Call& each) { return &each == &call; }));
  const auto known = units.find(call.unit);
  const bool present = !call.revert && known != units.end() && known->second.unit.id == call.id;
  if (present) --known->second.under_way;
  // Of a unit that ended meanwhile nothing is left to be said.
  if (error != nullptr && !sd_bus_error_has_name(error, kNoSuchUnit)) {
    if (present) {
      known->second.told.reset();
      known->second.refused = true;
    }
    if (call.revert) ended.insert(call.unit);
    Fail(call.unit, Cat(error->name, ": ", error->message == nullptr ? "" : error->message));
  }
  if (sd_bus_is_open(bus.get()) > 0 && !IsArmed(gather)) Tell(false);
  if (!IsAllTold()) return;
  delay = options.retry_first;
  failure = absl::OkStatus();
  on_status(failure);
}

bool SystemdUnits::Impl::IsAllTold() const {
  return calls.empty() && ended.empty() &&
         std::ranges::all_of(units, [](const auto& entry) { return entry.second.untold().empty(); });
}

// The first failure is told, and all is tried again after a while.
void SystemdUnits::Impl::Fail(const std::string& what, std::string_view why) {
  if (IsArmed(retry)) return;
  Arm(retry, delay);
  delay = std::min(2 * delay, options.retry_longest);
  failure = absl::UnavailableError(
      Cat("tell systemd what its units are held to: ", what, ": ", why,
          ". Until it works, what systemd sets anew (at daemon-reload) is repaired after it. In a container, mount the "
          "system bus (/run/dbus)"));
  on_status(failure);
}

void SystemdUnits::Impl::TryAgain() {
  Disconnect();
  for (auto& [name, known] : units) known.refused = false;
  Tell(false);
}

SystemdUnits::SystemdUnits(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SystemdUnits::~SystemdUnits() = default;

absl::StatusOr<std::unique_ptr<SystemdUnits>> SystemdUnits::Create(sd_event* loop, SystemdOptions options,
                                                                   OnStatus on_status) {
  auto impl = std::make_unique<Impl>();
  impl->loop = loop;
  impl->delay = options.retry_first;
  impl->options = std::move(options);
  impl->on_status = std::move(on_status);
  absl::StatusOr<EventSource> gather = AddTimer(loop, impl.get(), [](sd_event_source*, uint64_t, void* self) {
    static_cast<Impl*>(self)->Tell(false);
    return 0;
  });
  if (!gather.ok()) return gather.status();
  absl::StatusOr<EventSource> retry = AddTimer(loop, impl.get(), [](sd_event_source*, uint64_t, void* self) {
    static_cast<Impl*>(self)->TryAgain();
    return 0;
  });
  if (!retry.ok()) return retry.status();
  impl->gather = *std::move(gather);
  impl->retry = *std::move(retry);
  return std::unique_ptr<SystemdUnits>(new SystemdUnits(std::move(impl)));
}

void SystemdUnits::Follow(const std::vector<LiveFence>& live, const std::vector<std::string>& changed) {
  std::map<std::string, Impl::Known> now;
  for (Unit& unit : UnitsOf(live)) {
    Impl::Known& known = now[unit.name];
    const auto before = impl_->units.find(unit.name);
    if (before != impl_->units.end() && before->second.unit.id == unit.id) known = std::move(before->second);
    if (std::ranges::find(changed, unit.path) != changed.end()) known.told.reset();
    impl_->ended.erase(unit.name);
    known.unit = std::move(unit);
  }
  for (const auto& [name, known] : impl_->units) {
    if (!now.contains(name) && known.unit.implicit && known.told) impl_->ended.insert(name);
  }
  impl_->units = std::move(now);
  impl_->Tell(true);
  if (!impl_->IsAllTold() && !IsArmed(impl_->gather)) Arm(impl_->gather, impl_->options.gather);
}

absl::Status SystemdUnits::Settle(absl::Duration patience) {
  Impl& impl = *impl_;
  impl.gather.reset();
  impl.retry.reset();
  impl.loop = nullptr;
  if (impl.bus != nullptr) sd_bus_detach_event(impl.bus.get());
  const absl::Time deadline = absl::Now() + patience;
  if (impl.failure.ok()) {
    impl.Tell(false);
  } else {
    impl.failure = absl::OkStatus();
    impl.TryAgain();
  }
  while (impl.failure.ok() && !impl.IsAllTold()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          Cat("tell systemd what its units are held to: no answer within ", ToStd(absl::FormatDuration(patience))));
    }
    int result = sd_bus_process(impl.bus.get(), nullptr);
    if (result == 0) result = sd_bus_wait(impl.bus.get(), Micros(left));
    if (result < 0) return absl::ErrnoToStatus(-result, "tell systemd what its units are held to");
  }
  return impl.failure;
}

std::string SystemBusAddress() {
  const char* address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
  return address != nullptr ? address : "unix:path=/run/dbus/system_bus_socket";
}

}  // namespace podfence
