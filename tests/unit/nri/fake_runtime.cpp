#include "tests/unit/nri/fake_runtime.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace podfence {

FakeRuntime::FakeRuntime(sd_event* loop) : loop_(loop) {
  std::string pattern = testing::TempDir() + "/nri.XXXXXX";
  directory_ = mkdtemp(pattern.data());
  socket_ = directory_ + "/nri.sock";
  answer = [](const TtrpcRequest&) { return std::string(); };
}

FakeRuntime::~FakeRuntime() { std::filesystem::remove_all(directory_); }

void FakeRuntime::Listen() {
  std::filesystem::remove(socket_);
  listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener_.get(), 8), 0);
}

void FakeRuntime::StopListening() { listener_.reset(); }

bool FakeRuntime::Accept() {
  connection_.reset();
  const bool accepted = Until([this] {
    connection_ = UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return static_cast<bool>(connection_);
  });
  closed_ = false;
  mux_ = {};
  requests_ = {};
  replies_ = {};
  server_ = std::make_unique<TtrpcServer>("nri.pkg.api.v1alpha1.Runtime", kTtrpcMaxMessage,
                                          [this](const TtrpcRequest& request) {
                                            calls.push_back(request.method + " " + request.payload);
                                            return answer(request);
                                          });
  client_ = std::make_unique<TtrpcClient>("nri.pkg.api.v1alpha1.Plugin");
  return accepted;
}

bool FakeRuntime::AcceptAndRegister(const std::string& configure, const std::string& synchronize) {
  const size_t before = calls.size();
  if (!Accept() || !Until([&] { return calls.size() > before; })) return false;
  return Call("Configure", configure).ok() && Call("Synchronize", synchronize).ok();
}

void FakeRuntime::Close() { connection_.reset(); }

bool FakeRuntime::Closed() {
  return Until([this] { return closed_; });
}

bool FakeRuntime::Until(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    sd_event_run(loop_, 1000);
    Read();
  }
  return true;
}

void FakeRuntime::Read() {
  std::array<char, 65536> buffer{};
  while (connection_) {
    const ssize_t got = recv(connection_.get(), buffer.data(), buffer.size(), 0);
    if (got == 0) closed_ = true;
    if (got <= 0) return;
    const absl::Status status = mux_.Feed(std::string_view(buffer.data(), static_cast<size_t>(got)),
                                          [this](uint32_t stream, std::string_view part) {
                                            if (stream == kMuxRuntimeService) {
                                              return requests_.Feed(part, [this](const TtrpcMessage& message) {
                                                std::string frames;
                                                AppendMuxFrames(kMuxRuntimeService, server_->Handle(message), frames);
                                                Write(frames);
                                                return absl::OkStatus();
                                              });
                                            }
                                            return replies_.Feed(part, [this](const TtrpcMessage& message) {
                                              client_->Handle(message);
                                              return absl::OkStatus();
                                            });
                                          });
    EXPECT_TRUE(status.ok()) << status;
  }
}

absl::StatusOr<std::string> FakeRuntime::Call(const std::string& method, const std::string& payload) {
  std::optional<absl::StatusOr<std::string>> answered;
  const absl::StatusOr<std::string> wire =
      client_->Call(method, payload, absl::ZeroDuration(), absl::InfiniteDuration(),
                    [&](absl::StatusOr<std::string> reply) { answered = std::move(reply); });
  if (!wire.ok()) return wire.status();
  std::string frames;
  AppendMuxFrames(kMuxPluginService, *wire, frames);
  Write(frames);
  Until([&] { return answered.has_value() || closed_; });
  if (!answered) {
    client_->Fail(absl::AbortedError("no answer"));
    return absl::AbortedError(closed_ ? "the plugin closed the connection" : "no answer within 5 s");
  }
  return *std::move(answered);
}

void FakeRuntime::Post(const std::string& method, const std::string& payload) {
  const absl::StatusOr<std::string> wire =
      client_->Call(method, payload, absl::ZeroDuration(), absl::InfiniteDuration(), [](const auto&) {});
  ASSERT_TRUE(wire.ok());
  std::string frames;
  AppendMuxFrames(kMuxPluginService, *wire, frames);
  Write(frames);
}

void FakeRuntime::Write(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t put = send(connection_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EAGAIN) {
      sd_event_run(loop_, 1000);
      continue;
    }
    if (put <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(put));
  }
}

}  // namespace podfence
