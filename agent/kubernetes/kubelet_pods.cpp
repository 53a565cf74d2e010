#include "agent/kubernetes/kubelet_pods.h"

#include <openssl/evp.h>

#include <array>
#include <utility>

#include "agent/core/text.h"
#include "agent/kubernetes/pod_list.h"

namespace podfence {
namespace {

// However often a runtime shows unknown pods, the kubelet is not asked more often than this.
constexpr absl::Duration kLeast = absl::Milliseconds(100);

// Empty where OpenSSL gives none: nothing then is taken for the same.
std::string Digest(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) return "";
  return {digest.begin(), digest.begin() + size};
}

}  // namespace

KubeletPods::KubeletPods(ApiAccess access, absl::Duration interval, const RetryDelays& retry)
    : interval_(interval), retry_(retry), client_(std::move(access)) {}

std::string KubeletPods::Name() const {
  return Cat("the kubelet at ", client_.access().endpoint.Origin(), client_.access().endpoint.path);
}

void KubeletPods::Stop() {
  pause_.Stop();
  client_.Interrupt();
}

void KubeletPods::Run(PodSink& sink) {
  BackOff back_off(retry_);
  absl::Time last = absl::InfinitePast();
  bool failed = false;
  while (!pause_.stopped()) {
    if (const absl::Duration since = absl::Now() - last; since >= absl::ZeroDuration() && since < kLeast) {
      // Not a pause: that would swallow the next poke.
      absl::SleepFor(kLeast - since);
    }
    last = absl::Now();
    const absl::Status status = Poll(sink);
    if (pause_.stopped()) return;
    if (status.ok()) {
      if (std::exchange(failed, false)) sink.Reconnected();
      sink.Up();
      back_off.Reset();
      pause_.Wait(interval_);
    } else {
      failed = true;
      sink.Down(status);
      pause_.Wait(back_off.Next());
    }
  }
}

absl::Status KubeletPods::Poll(PodSink& sink) {
  absl::StatusOr<HttpReply> reply =
      client_.Fetch({.method = "GET", .target = client_.access().endpoint.path, .content_type = "", .body = ""},
                    HttpClient::Limits());
  if (!reply.ok()) return reply.status();
  if (reply->code != 200) {
    absl::Status error = ApiError(Cat("read ", Name()), *reply);
    if (!absl::IsPermissionDenied(error)) return error;
    return absl::PermissionDeniedError(
        Cat(ToStd(error.message()), "; a ClusterRole needs get on nodes/pods, before Kubernetes 1.33 on nodes/proxy"));
  }
  const std::string digest = Digest(reply->body);
  if (!digest.empty() && digest == last_) {
    sink.Confirm();
    return absl::OkStatus();
  }
  absl::StatusOr<PodList> list = ParsePodList(reply->body);
  if (!list.ok()) return absl::DataLossError(Cat(Name(), ": ", ToStd(list.status().message())));
  for (const absl::Status& status : list->unreadable) sink.Unreadable(status);
  sink.Replace(std::move(list->pods));
  last_ = digest;
  return absl::OkStatus();
}

}  // namespace podfence
