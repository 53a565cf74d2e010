#include "agent/kubernetes/pod_source.h"

#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "agent/core/text.h"
#include "agent/core/unix_address.h"
#include "agent/kubernetes/api_watch.h"
#include "agent/kubernetes/kubelet_pods.h"
#include "agent/kubernetes/pod_mailbox.h"
#include "agent/kubernetes/worker.h"

namespace podfence {
namespace {

// Someone listens there: the file alone may be left over from a kubelet that had the API on.
bool Listens(const std::string& path) {
  const absl::StatusOr<sockaddr_un> address = UnixAddress(path);
  if (!address.ok()) return false;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const bool listens = connect(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0;
  close(fd);
  return listens;
}

std::string Choose(const PodSourceOptions& options) {
  if (options.source != "auto") return options.source;
  if (options.pods_api != nullptr && Listens(options.pods_api_socket)) return "podsapi";
  const absl::StatusOr<ApiAccess> server =
      FindApiServer(options.api_server, options.api_server_token_file, options.api_server_ca_file);
  if (server.ok() && (!options.api_server.empty() || access(options.api_server_token_file.c_str(), R_OK) == 0)) {
    return "apiserver";
  }
  // What is wrong with an URL that was given is to be heard, not passed over.
  return absl::IsInvalidArgument(server.status()) ? "apiserver" : "kubelet";
}

absl::StatusOr<std::unique_ptr<PodFeed>> MakeFeed(const std::string& kind, const PodSourceOptions& options) {
  if (kind == "podsapi") {
    if (options.pods_api == nullptr) {
      return absl::UnimplementedError(
          "podSource podsapi: this Podfence is built without the kubelet's Pods API; build it with libgrpc++-dev and "
          "protobuf-compiler-grpc installed, or take apiserver or kubelet");
    }
    return options.pods_api(options.pods_api_socket, options.retry);
  }
  if (kind == "apiserver") {
    if (options.node_name.empty()) return absl::InvalidArgumentError("podSource apiserver: needs nodeName");
    absl::StatusOr<ApiAccess> server =
        FindApiServer(options.api_server, options.api_server_token_file, options.api_server_ca_file);
    if (!server.ok()) return server.status();
    return std::make_unique<ApiWatch>(*std::move(server), options.node_name, options.retry);
  }
  if (kind == "kubelet") {
    absl::StatusOr<Endpoint> endpoint = ParseEndpoint(options.kubelet_pods_url);
    if (!endpoint.ok()) {
      return absl::InvalidArgumentError(Cat("kubeletPodsURL: ", ToStd(endpoint.status().message())));
    }
    return std::make_unique<KubeletPods>(ApiAccess{.endpoint = *std::move(endpoint),
                                                   .token_file = options.api_server_token_file,
                                                   .ca_file = options.api_server_ca_file},
                                         options.poll_interval, options.retry);
  }
  return absl::InvalidArgumentError(
      Cat("podSource \"", kind, "\" is unknown; allowed are auto, podsapi, apiserver, kubelet"));
}

}  // namespace

struct PodSource::Impl {
  PodSourceCallbacks callbacks;
  std::unique_ptr<PodFeed> feed;
  std::unique_ptr<PodMailbox> mailbox;
  PodCache cache;
  bool synced = false;
  sd_event_source* wake = nullptr;
  std::unique_ptr<Worker> worker;

  ~Impl() {
    if (worker != nullptr) worker->Join([this] { feed->Stop(); });
    sd_event_source_disable_unref(wake);
  }

  static int OnWake(sd_event_source*, int, uint32_t, void* self) {
    static_cast<Impl*>(self)->TakeUpdates();
    return 0;
  }

  void TakeUpdates() {
    const PodUpdates updates = mailbox->Take();
    const std::vector<PodChange> changes = cache.Apply(updates);
    const bool now_synced = updates.all.has_value() && !synced;
    if (now_synced) synced = true;
    if (!changes.empty() && callbacks.on_changed != nullptr) callbacks.on_changed(changes);
    if (now_synced && callbacks.on_synced != nullptr) callbacks.on_synced();
  }
};

absl::StatusOr<std::unique_ptr<PodSource>> PodSource::Create(sd_event* loop, const PodSourceOptions& options,
                                                             PodSourceCallbacks callbacks) {
  auto impl = std::make_unique<Impl>();
  impl->callbacks = std::move(callbacks);
  const std::string kind = Choose(options);
  absl::StatusOr<std::unique_ptr<PodFeed>> feed = MakeFeed(kind, options);
  if (!feed.ok()) return feed.status();
  impl->feed = *std::move(feed);
  absl::StatusOr<std::unique_ptr<PodMailbox>> mailbox = PodMailbox::Create(kind, impl->feed->Name());
  if (!mailbox.ok()) return mailbox.status();
  impl->mailbox = *std::move(mailbox);
  const int added = sd_event_add_io(loop, &impl->wake, impl->mailbox->fd(), EPOLLIN, &Impl::OnWake, impl.get());
  if (added < 0) return absl::ErrnoToStatus(-added, "watch the pods' eventfd");
  Impl* self = impl.get();
  impl->worker = std::make_unique<Worker>("podfence-pods", [self] { self->feed->Run(*self->mailbox); });
  return std::unique_ptr<PodSource>(new PodSource(std::move(impl)));
}

PodSource::PodSource(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PodSource::~PodSource() = default;

const PodCache& PodSource::cache() const { return impl_->cache; }
bool PodSource::synced() const { return impl_->synced; }
void PodSource::Refresh() { impl_->feed->Refresh(); }

PodSourceStatus PodSource::status() const { return impl_->mailbox->status(); }

}  // namespace podfence
