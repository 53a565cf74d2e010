#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/kubernetes/pod_cache.h"

namespace podfence {

// Where a feed tells what it learns; safe on any thread.
class PodSink {
 public:
  virtual ~PodSink() = default;
  // Everything that is there: a complete list, at the start and whenever changes may have been missed.
  virtual void Replace(std::vector<PodRecordPtr> all) = 0;
  // Everything is still as it was told last.
  virtual void Confirm() = 0;
  virtual void Put(PodRecordPtr record) = 0;
  virtual void Remove(const std::string& api_uid) = 0;
  // The source answers again; it was asked in vain, and why; the connection or watch was opened again.
  virtual void Up() = 0;
  virtual void Down(const absl::Status& why) = 0;
  virtual void Reconnected() = 0;
  // A single object that says not even which pod it is: counted and logged, since nothing can stand for it.
  virtual void Unreadable(const absl::Status& why) = 0;
};

// How long a feed waits after a failure: twice as long each time (client-go tools/cache/reflector.go), with up to as
// much again at random, so that the nodes of a cluster do not all come back at the same moment.
struct RetryDelays {
  absl::Duration first = absl::Milliseconds(800);
  absl::Duration longest = absl::Seconds(30);
};

// One way to learn of pods, with blocking I/O of its own.
class PodFeed {
 public:
  virtual ~PodFeed() = default;
  // For people: "the API server https://10.0.0.1:443".
  virtual std::string Name() const = 0;
  // On a thread of its own, until Stop: whatever fails is told and tried again with a growing, jittered delay.
  virtual void Run(PodSink& sink) = 0;
  // From other threads. Refresh: ask again now, also if waiting after a failure. Stop: Run returns within a second.
  virtual void Refresh() = 0;
  virtual void Stop() = 0;
};

using PodFeedFactory =
    std::function<absl::StatusOr<std::unique_ptr<PodFeed>>(const std::string& socket, const RetryDelays& retry)>;

}  // namespace podfence
