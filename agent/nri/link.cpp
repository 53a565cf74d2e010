#include "agent/nri/link.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/core/text.h"
#include "agent/core/unix_address.h"

namespace podfence {
namespace {

// Read in one go before other sources of the loop have their turn.
constexpr size_t kTurn = size_t{1} << 20;

std::string Remedy(int error) {
  switch (error) {
    case ENOENT: return "; is NRI on in the runtime, and the socket's directory mounted?";
    case ECONNREFUSED: return "; the runtime is not running";
    case EAGAIN: return "; too many plugins wait to be accepted";
    case EACCES: return "; root alone may connect";
    default: return "";
  }
}

}  // namespace

NriLink::NriLink(UniqueFd fd, OnData on_data, OnEnd on_end)
    : fd_(std::move(fd)), on_data_(std::move(on_data)), on_end_(std::move(on_end)) {}

absl::StatusOr<std::unique_ptr<NriLink>> NriLink::Connect(sd_event* loop, const std::string& path, OnData on_data,
                                                          OnEnd on_end) {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return absl::ErrnoToStatus(errno, "make a socket for the runtime's NRI");
  const absl::StatusOr<sockaddr_un> address = UnixAddress(path);
  if (!address.ok()) return address.status();
  // A stream socket of the machine itself connects at once or not at all.
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    const int error = errno;
    return absl::UnavailableError(
        Cat("connect to the runtime's NRI socket ", path, ": ", std::strerror(error), Remedy(error)));
  }
  return Adopt(loop, std::move(fd), std::move(on_data), std::move(on_end));
}

absl::StatusOr<std::unique_ptr<NriLink>> NriLink::Adopt(sd_event* loop, UniqueFd fd, OnData on_data, OnEnd on_end) {
  std::unique_ptr<NriLink> link(new NriLink(std::move(fd), std::move(on_data), std::move(on_end)));
  sd_event_source* source = nullptr;
  const auto ready = [](sd_event_source*, int, uint32_t events, void* self) {
    static_cast<NriLink*>(self)->OnReady(events);
    return 0;
  };
  const int result = sd_event_add_io(loop, &source, link->fd_.get(), EPOLLIN | EPOLLRDHUP, ready, link.get());
  if (result < 0) return absl::ErrnoToStatus(-result, "watch the runtime's NRI socket");
  link->source_ = EventSource(source);
  // The runtime waits for our answers with a lock held: before everything else that is ready.
  sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IMPORTANT);
  return link;
}

void NriLink::Send(std::string_view bytes) {
  queue_.append(bytes);
  Watch();
}

UniqueFd NriLink::Release() {
  source_.reset();
  return std::move(fd_);
}

// Asks to be told when the socket takes bytes, only while there are any.
void NriLink::Watch() {
  const bool wanted = !queue_.empty();
  if (wanted == writable_watched_) return;
  writable_watched_ = wanted;
  const uint32_t events = EPOLLIN | EPOLLRDHUP;
  sd_event_source_set_io_events(source_.get(), wanted ? events | EPOLLOUT : events);
}

void NriLink::OnReady(uint32_t events) {
  absl::Status status;
  if ((events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0) {
    // What is still unread are calls that the runtime no longer waits for: it went on without us, and what a handler
    // would answer now would be about a container that runs otherwise. The next synchronization tells what is.
    status = absl::UnavailableError("the runtime closed the NRI connection");
  } else {
    if ((events & EPOLLIN) != 0) status = Read();
    if (status.ok()) status = Write();
  }
  if (status.ok()) {
    Watch();
    return;
  }
  source_.reset();
  const OnEnd end = std::move(on_end_);
  end(status);  // may destroy this
}

absl::Status NriLink::Read() {
  std::array<char, 65536> buffer;
  for (size_t taken = 0; taken < kTurn;) {
    const ssize_t got = recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (got < 0) return absl::ErrnoToStatus(errno, "read from the runtime's NRI socket");
    if (got == 0) return absl::UnavailableError("the runtime closed the NRI connection");
    absl::Status status = on_data_(std::string_view(buffer.data(), static_cast<size_t>(got)));
    if (!status.ok()) return status;
    taken += static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status NriLink::Write() {
  size_t sent = 0;
  while (sent < queue_.size()) {
    const ssize_t put = send(fd_.get(), queue_.data() + sent, queue_.size() - sent, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (put < 0) return absl::ErrnoToStatus(errno, "write to the runtime's NRI socket");
    sent += static_cast<size_t>(put);
  }
  queue_.erase(0, sent);
  if (queue_.size() > kMaxQueued) {
    return absl::ResourceExhaustedError(
        Cat("the runtime has left ", queue_.size(), " bytes of ours unread: it does not read its NRI socket any more"));
  }
  return absl::OkStatus();
}

}  // namespace podfence
