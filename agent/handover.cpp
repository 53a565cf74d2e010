#include "agent/handover.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/core/unix_address.h"
#include "agent/runtime_book_json.h"

namespace podfence {
namespace {

// What the message says; behind a refusal stands its reason.
constexpr std::string_view kGiven = "podfence handover 1";
constexpr std::string_view kNotNow = "not now: ";
constexpr std::string_view kNo = "no: ";
// The descriptors with it, in this order: the lock, the note, and the runtime's connection where there is one.
constexpr size_t kMaxFds = 3;
constexpr size_t kMaxText = 4096;
constexpr off_t kMaxNote = off_t{64} << 20;
constexpr absl::Duration kAskAgain = absl::Milliseconds(20);

absl::Status Failed(std::string_view what) { return absl::ErrnoToStatus(errno, Cat("hand over: ", what)); }

absl::StatusOr<sockaddr_un> AddressIn(const std::string& state_directory) {
  return UnixAddress(state_directory + "/handover.sock");
}

std::string NoteOf(const Handover& handover) {
  nlohmann::json note = {{"book", BookToJson(handover.book)}};
  if (handover.nri) {
    note["nri"] = {{"runtime_name", handover.nri->runtime_name},
                   {"runtime_version", handover.nri->runtime_version},
                   {"nri_version", handover.nri->nri_version},
                   {"request_timeout_us", absl::ToInt64Microseconds(handover.nri->request_timeout)},
                   {"events", handover.nri->events},
                   {"last_stream", handover.nri->last_stream},
                   {"next_stream", handover.nri->next_stream}};
  }
  return note.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

NriSession SessionFrom(const nlohmann::json& json) {
  NriSession session;
  json.at("runtime_name").get_to(session.runtime_name);
  json.at("runtime_version").get_to(session.runtime_version);
  json.at("nri_version").get_to(session.nri_version);
  session.request_timeout = absl::Microseconds(json.at("request_timeout_us").get<int64_t>());
  json.at("events").get_to(session.events);
  json.at("last_stream").get_to(session.last_stream);
  json.at("next_stream").get_to(session.next_stream);
  return session;
}

absl::StatusOr<Handover> Read(std::vector<UniqueFd> fds, std::string_view note) {
  Handover handover;
  handover.lock = std::move(fds[0]);
  try {
    const nlohmann::json json = nlohmann::json::parse(note);
    absl::StatusOr<RuntimeBook> book = BookFromJson(json.at("book"));
    if (!book.ok()) return book.status();
    handover.book = *std::move(book);
    if (json.contains("nri") && fds.size() == kMaxFds) {
      handover.nri = SessionFrom(json.at("nri"));
      handover.nri->socket = std::move(fds[2]);
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(Cat("the former agent's note: ", error.what()));
  }
  return handover;
}

absl::StatusOr<UniqueFd> InMemory(std::string_view text) {
  UniqueFd fd(memfd_create("podfence-handover", MFD_CLOEXEC));
  if (!fd) return Failed("memfd_create");
  while (!text.empty()) {
    const ssize_t put = write(fd.get(), text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Failed("write the note");
    text.remove_prefix(static_cast<size_t>(put));
  }
  return fd;
}

absl::StatusOr<std::string> ContentOf(const UniqueFd& fd) {
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return Failed("look at the note");
  if (info.st_size > kMaxNote) return absl::InvalidArgumentError(Cat("a note of ", info.st_size, " bytes"));
  std::string text(static_cast<size_t>(info.st_size), '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = pread(fd.get(), text.data() + have, text.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Failed("read the note");
    have += static_cast<size_t>(got);
  }
  return text;
}

absl::Status SendWith(int socket, std::string_view text, const std::vector<int>& fds) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
  iovec part{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent = 0;
  do sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? Failed("send") : absl::OkStatus();
}

absl::StatusOr<std::string> Receive(int socket, std::vector<UniqueFd>& fds) {
  std::string text(kMaxText, '\0');
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
  iovec part{.iov_base = text.data(), .iov_len = text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) return Failed("receive");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  if (got == 0) return absl::UnavailableError("the former agent ended before it handed over");
  text.resize(static_cast<size_t>(got));
  return text;
}

absl::StatusOr<Handover> AskOnce(const sockaddr_un& address, absl::Duration patience) {
  const UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return Failed("make a socket");
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return absl::NotFoundError(Cat("no agent at ", address.sun_path));
    return Failed(Cat("connect to ", address.sun_path));
  }
  pollfd wait{.fd = socket.get(), .events = POLLIN, .revents = 0};
  const int ready = poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(patience)));
  if (ready < 0 && errno != EINTR) return Failed("wait for the former agent");
  if (ready <= 0) return absl::DeadlineExceededError("the former agent does not answer; does it hang?");
  std::vector<UniqueFd> fds;
  const absl::StatusOr<std::string> text = Receive(socket.get(), fds);
  if (!text.ok()) return text.status();
  if (text->starts_with(kNotNow)) return absl::UnavailableError(text->substr(kNotNow.size()));
  if (text->starts_with(kNo)) return absl::FailedPreconditionError(text->substr(kNo.size()));
  if (*text != kGiven || fds.size() < 2) {
    return absl::InvalidArgumentError(Cat("the former agent says \"", *text, "\" with ", fds.size(), " descriptors"));
  }
  const absl::StatusOr<std::string> note = ContentOf(fds[1]);
  if (!note.ok()) return note.status();
  return Read(std::move(fds), *note);
}

}  // namespace

absl::StatusOr<Handover> AskForHandover(const std::string& state_directory, absl::Duration patience) {
  const absl::StatusOr<sockaddr_un> address = AddressIn(state_directory);
  if (!address.ok()) return address.status();
  const absl::Time deadline = absl::Now() + patience;
  for (;;) {
    absl::StatusOr<Handover> handover = AskOnce(*address, deadline - absl::Now());
    if (!absl::IsUnavailable(handover.status()) || absl::Now() + kAskAgain >= deadline) return handover;
    absl::SleepFor(kAskAgain);
  }
}

HandoverServer::HandoverServer(UniqueFd listener, std::string path, Handlers handlers)
    : listener_(std::move(listener)), path_(std::move(path)), handlers_(std::move(handlers)) {}

HandoverServer::~HandoverServer() {
  if (!path_.empty()) unlink(path_.c_str());
}

absl::StatusOr<std::unique_ptr<HandoverServer>> HandoverServer::Listen(sd_event* loop,
                                                                       const std::string& state_directory,
                                                                       Handlers handlers) {
  const absl::StatusOr<sockaddr_un> address = AddressIn(state_directory);
  if (!address.ok()) return address.status();
  UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!listener) return Failed("make a socket");
  // Of an earlier agent: whoever has the directory's lock has the name.
  unlink(address->sun_path);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 ||
      chmod(address->sun_path, S_IRUSR | S_IWUSR) != 0 || listen(listener.get(), 4) != 0) {
    return Failed(Cat("listen on ", address->sun_path));
  }
  std::unique_ptr<HandoverServer> server(
      new HandoverServer(std::move(listener), address->sun_path, std::move(handlers)));
  const auto ready = [](sd_event_source*, int, uint32_t, void* self) {
    static_cast<HandoverServer*>(self)->OnConnection();
    return 0;
  };
  sd_event_source* source = nullptr;
  const int result = sd_event_add_io(loop, &source, server->listener_.get(), EPOLLIN, ready, server.get());
  if (result < 0) return absl::ErrnoToStatus(-result, "hand over: watch the socket");
  server->source_ = EventSource(source);
  return server;
}

void HandoverServer::OnConnection() {
  const UniqueFd peer(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!peer) return;  // it is gone again
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || who.uid != geteuid()) return;
  absl::StatusOr<Handover> handover = handlers_.give();
  if (!handover.ok()) {
    const std::string_view how = absl::IsUnavailable(handover.status()) ? kNotNow : kNo;
    // One that does not hear it asks again.
    SendWith(peer.get(), Cat(how, ToStd(handover.status().message())).substr(0, kMaxText), {}).IgnoreError();
    return;
  }
  const absl::StatusOr<UniqueFd> note = InMemory(NoteOf(*handover));
  absl::Status status = note.status();
  if (status.ok()) {
    std::vector<int> fds = {handover->lock.get(), note->get()};
    if (handover->nri) fds.push_back(handover->nri->socket.get());
    status = SendWith(peer.get(), kGiven, fds);
  }
  if (!status.ok()) {
    handlers_.take_back(*std::move(handover));
    return;
  }
  path_.clear();  // the name is the successor's
  handlers_.given(who.pid);
}

}  // namespace podfence
