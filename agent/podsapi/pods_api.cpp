#include "agent/podsapi/pods_api.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "agent/core/text.h"
#include "agent/kubernetes/retry.h"
#include "agent/podsapi/pod_message.h"
#include "pods_api.grpc.pb.h"

namespace podfence {
namespace {

constexpr int kLongestMessage = 16 << 20;
// The kubelet drops events where its buffer is full and tells nobody (pkg/kubelet/apis/pods/server.go Broadcast): a
// watch lives only so long, and each begins with everything that is there.
constexpr std::chrono::minutes kWatchLife{10};
// However often a runtime shows unknown pods, the watch is not begun anew more often than this.
constexpr absl::Duration kLeastLife = absl::Seconds(1);

class PodsApiFeed final : public PodFeed {
 public:
  PodsApiFeed(std::string socket, const RetryDelays& retry) : socket_(std::move(socket)), retry_(retry) {}

  std::string Name() const override { return Cat("the kubelet's Pods API at ", socket_); }
  void Run(PodSink& sink) override;
  void Refresh() override;
  void Stop() override;

 private:
  // Until the watch ends; Ok where it is to begin anew at once.
  absl::Status Watch(PodSink& sink);
  absl::Status Follow(grpc::ClientReader<v1alpha1::WatchPodsEvent>& events, PodSink& sink);
  absl::Status Explain(const grpc::Status& status) const;
  static PodRecordPtr ReadPod(const std::string& message, PodSink& sink);

  const std::string socket_;
  const RetryDelays retry_;
  Pause pause_;
  bool watched_ = false;

  std::mutex mutex_;
  grpc::ClientContext* call_ = nullptr;  // of the watch, while there is one
  std::optional<absl::Time> synced_;     // when this watch had told everything
  bool refresh_ = false;
};

void PodsApiFeed::Refresh() {
  {
    const std::lock_guard lock(mutex_);
    if (call_ != nullptr && synced_ && absl::Now() - *synced_ >= kLeastLife) {
      refresh_ = true;
      call_->TryCancel();
    }
  }
  pause_.Poke();
}

void PodsApiFeed::Stop() {
  pause_.Stop();
  const std::lock_guard lock(mutex_);
  if (call_ != nullptr) call_->TryCancel();
}

void PodsApiFeed::Run(PodSink& sink) {
  BackOff back_off(retry_);
  while (!pause_.stopped()) {
    const absl::Time begin = absl::Now();
    const absl::Status status = Watch(sink);
    if (pause_.stopped()) return;
    if (absl::Now() - begin >= retry_.longest) back_off.Reset();
    if (status.ok()) continue;
    sink.Down(status);
    pause_.Wait(back_off.Next());
  }
}

absl::Status PodsApiFeed::Explain(const grpc::Status& status) const {
  const std::string text = Cat(Name(), ": ", status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnimplementedError(Cat(text, "; the kubelet has another version of it: set podSource to apiserver"));
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError(Cat(text, "; is the kubelet up, with its feature gate PodsAPI on?"));
    case grpc::StatusCode::OK: return absl::UnavailableError(Cat(Name(), ": the kubelet ended the watch"));
    default: return absl::UnavailableError(text);
  }
}

PodRecordPtr PodsApiFeed::ReadPod(const std::string& message, PodSink& sink) {
  absl::StatusOr<nlohmann::json> json = PodJsonFromMessage(message);
  absl::StatusOr<PodObject> pod = json.ok() ? ParsePodObject(*std::move(json)) : json.status();
  if (pod.ok()) return std::make_shared<const PodObject>(*std::move(pod));
  sink.Unreadable(pod.status());
  return nullptr;
}

absl::Status PodsApiFeed::Watch(PodSink& sink) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kLongestMessage);
  // A channel of its own for each try, since an old one would wait by its own back-off before it connects again.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel =
      grpc::CreateCustomChannel(Cat("unix://", socket_), grpc::InsecureChannelCredentials(), arguments);
  const auto stub = v1alpha1::Pods::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kWatchLife);
  {
    const std::lock_guard lock(mutex_);
    call_ = &context;
    synced_.reset();
    refresh_ = false;
  }
  const auto events = stub->WatchPods(&context, v1alpha1::WatchPodsRequest());
  absl::Status status = Follow(*events, sink);
  if (!status.ok()) context.TryCancel();
  const grpc::Status end = events->Finish();
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    call_ = nullptr;
    again = refresh_ || (synced_ && end.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  if (!status.ok()) return status;
  return again ? absl::OkStatus() : Explain(end);
}

absl::Status PodsApiFeed::Follow(grpc::ClientReader<v1alpha1::WatchPodsEvent>& events, PodSink& sink) {
  std::optional<std::vector<PodRecordPtr>> all(std::in_place);  // until everything was told
  v1alpha1::WatchPodsEvent event;
  while (events.Read(&event)) {
    switch (event.type()) {
      case v1alpha1::INITIAL_SYNC_COMPLETE: {
        if (!all) break;
        if (std::exchange(watched_, true)) sink.Reconnected();
        sink.Up();
        sink.Replace(*std::exchange(all, std::nullopt));
        const std::lock_guard lock(mutex_);
        synced_ = absl::Now();
        break;
      }
      case v1alpha1::ADDED:
      case v1alpha1::MODIFIED: {
        PodRecordPtr pod = ReadPod(event.pod(), sink);
        if (pod == nullptr) break;
        if (all) {
          all->push_back(std::move(pod));
        } else {
          sink.Put(std::move(pod));
        }
        break;
      }
      case v1alpha1::DELETED: {
        // Only name, namespace and UID are there.
        const absl::StatusOr<nlohmann::json> pod = PodJsonFromMessage(event.pod());
        const std::string uid = pod.ok() ? (*pod)["metadata"]["uid"].get<std::string>() : "";
        if (all || uid.empty()) return absl::DataLossError(Cat(Name(), ": told of a deleted pod out of turn"));
        sink.Remove(uid);
        break;
      }
      default: return absl::DataLossError(Cat(Name(), ": an event of the unknown type ", event.type()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PodFeed>> MakePodsApiFeed(const std::string& socket, const RetryDelays& retry) {
  if (!socket.starts_with('/')) {
    return absl::InvalidArgumentError(Cat("podsAPISocket \"", socket, "\" must be an absolute path"));
  }
  return std::make_unique<PodsApiFeed>(socket, retry);
}

}  // namespace podfence
