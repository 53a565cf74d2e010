#include "tests/unit/kubernetes/fake_api.h"

#include <httplib.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "agent/core/text.h"
#include "gtest/gtest.h"

namespace podfence {

using nlohmann::json;

json PodJson(const std::string& name, const std::string& uid, const std::string& version, const json& patch) {
  json pod = {{"metadata",
               {{"name", name},
                {"namespace", "default"},
                {"uid", uid},
                {"resourceVersion", version},
                {"creationTimestamp", "2026-05-01T11:00:00Z"}}},
              {"spec", {{"nodeName", "n1"}, {"containers", {{{"name", "app"}, {"image", "app:1"}}}}}},
              {"status", {{"phase", "Running"}}}};
  pod.merge_patch(patch);
  return pod;
}

std::string ListJson(const std::vector<json>& pods, const std::string& version, const std::string& next) {
  json metadata = {{"resourceVersion", version}};
  if (!next.empty()) metadata["continue"] = next;
  return json{{"kind", "PodList"}, {"apiVersion", "v1"}, {"metadata", metadata}, {"items", pods}}.dump();
}

std::string EventLine(const std::string& type, const json& object) {
  return json{{"type", type}, {"object", object}}.dump() + "\n";
}

std::string StatusJson(int code, const std::string& reason, const std::string& message) {
  return json{{"kind", "Status"}, {"apiVersion", "v1"}, {"code", code}, {"reason", reason}, {"message", message}}
      .dump();
}

std::string FakeApi::Seen::Query(const std::string& key) const {
  const auto found = query.find(key);
  return found == query.end() ? "" : found->second;
}

FakeApi::FakeApi(const Certificate* certificate, int port) : tls_(certificate != nullptr) {
  if (certificate != nullptr) {
    server_ = std::make_unique<httplib::SSLServer>(certificate->file.c_str(), certificate->key_file.c_str());
  } else {
    server_ = std::make_unique<httplib::Server>();
  }
  const auto handle = [this](const httplib::Request& request, httplib::Response& response) {
    Seen seen{.method = request.method,
              .path = request.path,
              .body = request.body,
              .content_type = request.get_header_value("Content-Type"),
              .authorization = request.get_header_value("Authorization"),
              .query = request.params};
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back(seen);
    }
    if (seen.Query("watch") != "1") {
      const Reply reply = Dispatch(seen);
      response.status = reply.code;
      response.set_content(reply.body, "application/json");
      return;
    }
    Watch watch;
    const auto held = std::make_shared<Held>();
    {
      const std::lock_guard lock(mutex_);
      ++watch_count_;
      if (!watches_.empty()) {
        watch = std::move(watches_.front());
        watches_.pop_front();
      }
      held->pieces = watch.pieces;
      held_ = held;
    }
    response.status = watch.code;
    if (watch.code != 200) {
      response.set_content(watch.pieces.empty() ? "" : watch.pieces.front(), "application/json");
      return;
    }
    const Watch::End end = watch.end;
    response.set_chunked_content_provider("application/json", [this, held, end](size_t, httplib::DataSink& sink) {
      std::vector<std::string> pieces;
      bool over = false;
      {
        const std::lock_guard lock(mutex_);
        pieces.swap(held->pieces);
        over = held->ended || stopping_;
      }
      for (const std::string& piece : pieces) sink.write(piece.data(), piece.size());
      if (!pieces.empty()) return true;
      if (end == Watch::End::kCut) return false;
      if (end == Watch::End::kClose || over) {
        sink.done();
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return sink.is_writable();
    });
  };
  server_->Get(".*", handle);
  server_->Post(".*", handle);
  server_->Patch(".*", handle);
  server_->set_keep_alive_max_count(10'000);
  server_->set_keep_alive_timeout(kIdleSeconds);
  server_->set_tcp_nodelay(true);
  if (port == 0) {
    port_ = server_->bind_to_any_port("127.0.0.1");
  } else if (server_->bind_to_port("127.0.0.1", port)) {
    port_ = port;
  }
  EXPECT_GT(port_, 0);
  thread_ = std::thread([this] { server_->listen_after_bind(); });
  while (!server_->is_running()) std::this_thread::yield();
}

FakeApi::~FakeApi() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  server_->stop();
  thread_.join();
}

std::string FakeApi::url() const { return Cat(tls_ ? "https" : "http", "://127.0.0.1:", port_); }

FakeApi::Reply FakeApi::Dispatch(const Seen& seen) {
  std::function<Reply(const Seen&)> answer;
  {
    const std::lock_guard lock(mutex_);
    answer = answer_;
  }
  return answer == nullptr ? Reply{.code = 404, .body = ""} : answer(seen);
}

void FakeApi::Answer(std::function<Reply(const Seen&)> answer) {
  const std::lock_guard lock(mutex_);
  answer_ = std::move(answer);
}

void FakeApi::AddWatch(Watch watch) {
  const std::lock_guard lock(mutex_);
  watches_.push_back(std::move(watch));
}

void FakeApi::Send(const std::string& piece) {
  const std::lock_guard lock(mutex_);
  ASSERT_NE(held_, nullptr);
  held_->pieces.push_back(piece);
}

void FakeApi::EndHeld() {
  const std::lock_guard lock(mutex_);
  ASSERT_NE(held_, nullptr);
  held_->ended = true;
}

std::vector<FakeApi::Seen> FakeApi::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

size_t FakeApi::watches() const {
  const std::lock_guard lock(mutex_);
  return watch_count_;
}

std::string TempPath(const std::string& name) { return Cat(testing::TempDir(), "podfence-", getpid(), "-", name); }

}  // namespace podfence
