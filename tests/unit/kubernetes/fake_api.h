#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/kubernetes/certificate.h"

namespace httplib {
class Server;
}

namespace podfence {

// A pod of the API as the smallest thing that is one; patch is merged into it (RFC 7396).
nlohmann::json PodJson(const std::string& name, const std::string& uid, const std::string& version,
                       const nlohmann::json& patch = nlohmann::json::object());
std::string ListJson(const std::vector<nlohmann::json>& pods, const std::string& version, const std::string& next = "");
std::string EventLine(const std::string& type, const nlohmann::json& object);
// A v1.Status, as the API server answers errors.
std::string StatusJson(int code, const std::string& reason, const std::string& message);

// A server on 127.0.0.1 that plays an API server or a kubelet by a script.
class FakeApi {
 public:
  // A connection that nothing is asked on for so long is closed, as servers do.
  static constexpr int kIdleSeconds = 1;
  struct Seen {
    std::string method;
    std::string path;
    std::string body;
    std::string content_type;
    std::string authorization;
    std::multimap<std::string, std::string> query;
    std::string Query(const std::string& key) const;
  };
  struct Reply {
    int code = 200;
    std::string body;
  };
  // One watch: its pieces are sent as they are, then it is held, ended orderly, or cut off.
  struct Watch {
    int code = 200;
    std::vector<std::string> pieces;
    enum class End { kHold, kClose, kCut } end = End::kHold;
  };

  explicit FakeApi(const Certificate* certificate = nullptr, int port = 0);
  ~FakeApi();

  int port() const { return port_; }
  std::string url() const;

  // What is not a watch. On the server's threads.
  void Answer(std::function<Reply(const Seen&)> answer);
  void AddWatch(Watch watch);           // the next one; where none is left, an empty one is held
  void Send(const std::string& piece);  // on the watch that is held
  void EndHeld();                       // ends the watch that is held, orderly
  std::vector<Seen> seen() const;
  size_t watches() const;

 private:
  struct Held {
    std::vector<std::string> pieces;
    bool ended = false;
  };
  Reply Dispatch(const Seen& seen);

  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  bool tls_ = false;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::function<Reply(const Seen&)> answer_;
  std::deque<Watch> watches_;
  std::vector<Seen> seen_;
  std::shared_ptr<Held> held_;
  size_t watch_count_ = 0;
  bool stopping_ = false;
};

// A file of this process alone.
std::string TempPath(const std::string& name);

}  // namespace podfence
