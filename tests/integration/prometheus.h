#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "agent/core/text.h"

namespace podfence {

inline constexpr char kPrometheus[] = "/usr/bin/prometheus";

inline int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

// Prometheus as a process of its own, on a folder that goes with it.
class Prometheus {
 public:
  explicit Prometheus(int target) : port_(FreePort()) {
    char name[] = "/tmp/podfence-prometheus.XXXXXX";
    folder_ = mkdtemp(name);
    std::ofstream(folder_ + "/prometheus.yml")
        << "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: podfence\n    static_configs:\n"
        << "      - targets: [\"127.0.0.1:" << target << "\"]\n";
    pid_ = fork();
    if (pid_ == 0) {
      const int log = open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT, 0600);
      dup2(log, STDERR_FILENO);
      execl(kPrometheus, kPrometheus, Cat("--config.file=", folder_, "/prometheus.yml").c_str(),
            Cat("--storage.tsdb.path=", folder_, "/data").c_str(),
            Cat("--web.listen-address=127.0.0.1:", port_).c_str(), nullptr);
      _exit(127);
    }
  }
  ~Prometheus() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(folder_);
  }

  // What Prometheus answers to an instant query, errors included; null where it does not answer yet.
  nlohmann::json Ask(const std::string& query) const {
    httplib::Client client("127.0.0.1", port_);
    const httplib::Result answer = client.Get("/api/v1/query", httplib::Params{{"query", query}}, httplib::Headers{});
    return answer ? nlohmann::json::parse(answer->body, nullptr, false) : nlohmann::json();
  }

  // The value of an instant query that has one result; polls, since a scrape must come first.
  double Query(const std::string& query) const {
    for (int tries = 0; tries < 120; ++tries) {
      const nlohmann::json answer = Ask(query);
      if (answer.is_object() && answer["status"] == "success") {
        const nlohmann::json& result = answer["data"]["result"];
        if (result.size() == 1) return std::stod(result[0]["value"][1].get<std::string>());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    std::ifstream log(folder_ + "/log");
    ADD_FAILURE() << query << ": no answer; Prometheus' log:\n" << log.rdbuf();
    return -1;
  }

 private:
  int port_;
  std::string folder_;
  pid_t pid_ = -1;
};

}  // namespace podfence
