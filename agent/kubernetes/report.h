#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace podfence {

// The longest note of an Event (pkg/apis/core/validation/events.go NoteLengthLimit).
inline constexpr size_t kLongestNote = 1024;

// Which pod is meant: as the API has it, and by the UID that people look for.
struct PodReference {
  std::string ns;
  std::string name;
  // Of a static pod the kubelet's UID and not its mirror's: `kubectl describe` looks for the events of a mirror pod
  // under the UID in its annotation kubernetes.io/config.mirror, and the kubelet's own events carry it too.
  std::string uid;
};

struct EventContent {
  PodReference pod;
  bool warning = false;
  std::string reason;
  std::string note;
};

// One of the event, once or again.
struct EventCount {
  std::string name;  // of the Event object
  int64_t count = 1;
  absl::Time first;
  absl::Time last;
  friend bool operator==(const EventCount&, const EventCount&) = default;
};

// What is left of a text that may have so many bytes: cut between characters, the cut marked by "…".
std::string CutText(std::string_view text, size_t bytes);

// The body that makes a pod Failed, for the pod with this API UID only (strategic merge patch of its status; a UID that
// differs is a conflict).
std::string RejectionPatch(std::string_view api_uid, std::string_view reason, std::string_view message);
// A v1.Event, and what changes in it when it is counted up.
std::string EventBody(const EventContent& event, const EventCount& count, std::string_view node);
std::string EventCountPatch(const EventCount& count);

struct EventDelays {
  absl::Duration same = absl::Minutes(10);   // after so long without it, it is a new one
  absl::Duration quiet = absl::Seconds(20);  // not counted up at the server more often; what comes between is added
};

// Keeps one Event object for what happens again and again. Not more than kKept different ones are remembered.
class EventBook {
 public:
  static constexpr size_t kKept = 512;
  using Delays = EventDelays;
  EventBook() = default;
  explicit EventBook(const Delays& delays) : delays_(delays) {}

  struct Step {
    bool make = false;  // else counted up
    EventCount count;
    friend bool operator==(const Step&, const Step&) = default;
  };
  // What is to be sent; nothing while it is quiet.
  std::optional<Step> Next(const EventContent& event, absl::Time now);
  // The server knows the object no more (it keeps events for an hour): the next one is new.
  void Forget(const EventContent& event);

 private:
  struct Entry {
    EventCount count;
    absl::Time sent;
  };
  static std::string Key(const EventContent& event);

  const Delays delays_ = {};
  std::map<std::string, Entry> entries_;
  std::deque<std::string> order_;  // keys, oldest first
  uint64_t made_ = 0;
};

}  // namespace podfence
