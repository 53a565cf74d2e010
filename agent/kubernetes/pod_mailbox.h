#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/kubernetes/pod_cache.h"
#include "agent/kubernetes/pod_feed.h"
#include "agent/kubernetes/pod_source.h"

namespace podfence {

// The one place where a feed's thread and the agent's loop meet: the feed puts in, the loop is woken through a
// descriptor and takes all. What waits is at most one record a pod, so a loop that is busy lets nothing grow.
class PodMailbox final : public PodSink {
 public:
  static absl::StatusOr<std::unique_ptr<PodMailbox>> Create(std::string kind, std::string description);
  ~PodMailbox() override;

  void Replace(std::vector<PodRecordPtr> all) override;
  void Confirm() override;
  void Put(PodRecordPtr record) override;
  void Remove(const std::string& api_uid) override;
  void Up() override;
  void Down(const absl::Status& why) override;
  void Reconnected() override;
  void Unreadable(const absl::Status& why) override;

  PodSourceStatus status() const;

  // On the loop: the descriptor, and everything since the last call.
  int fd() const { return fd_; }
  PodUpdates Take();

 private:
  PodMailbox(int fd, std::string kind, std::string description);
  void Wake();

  const int fd_;
  mutable std::mutex mutex_;
  PodUpdates waiting_;
  PodSourceStatus status_;
};

}  // namespace podfence
