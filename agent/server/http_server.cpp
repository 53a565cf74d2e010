#include "agent/server/http_server.h"

#include <httplib.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "agent/core/text.h"
#include "agent/server/bounded_pool.h"
#include "agent/server/snapshot_json.h"

namespace podfence {
namespace {

constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kJson[] = "application/json";
constexpr int kFirstByteSeconds = 1;
constexpr int kReadTimeoutSeconds = 2;  // between two parts of a request
constexpr int kWriteTimeoutSeconds = 5;

// The page holds no value of the node's, so nothing in it needs escaping.
constexpr char kLandingPage[] = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Podfence</title>
<style>body{font-family:sans-serif;max-width:40em;margin:2em auto;line-height:1.5}</style></head>
<body><h1>Podfence</h1>
<p>Exclusive CPUs and memory for containers, decided, fenced and verified on this node.</p>
<ul>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/api/v1/state">/api/v1/state</a>: everything decided and seen, as JSON</li>
<li><a href="/api/v1/findings">/api/v1/findings</a>: what is not as decided, or not known</li>
<li>/api/v1/explain?pod=NAMESPACE/NAME: why a pod landed where it did, or was refused</li>
<li><a href="/-/healthy">/-/healthy</a>, <a href="/-/ready">/-/ready</a>: probes</li>
</ul></body></html>
)";

// Task and file names, which findings and refusals cite, are any bytes; JSON is UTF-8.
std::string Dump(const nlohmann::json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

void Fail(httplib::Response& response, int code, std::string_view message) {
  response.status = code;
  response.set_content(Cat(message, "\n"), kText);
}

}  // namespace

struct HttpServer::Impl {
  httplib::Server server;
  ServerSources sources;
  std::thread thread;
  int port = 0;
  bool listening = true;

  void Route() {
    server.Get("/", [](const httplib::Request&, httplib::Response& response) {
      response.set_content(kLandingPage, "text/html; charset=utf-8");
    });
    server.Get("/-/healthy", [](const httplib::Request&, httplib::Response& response) {
      response.set_content("Podfence is healthy.\n", kText);
    });
    server.Get("/-/ready", [this](const httplib::Request&, httplib::Response& response) {
      WithSnapshot(response, [&](const Snapshot&) { response.set_content("Podfence is ready.\n", kText); });
    });
    server.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      WithSnapshot(response, [&](const Snapshot& snapshot) {
        response.set_content(sources.render_metrics(snapshot), kMetricsType);
      });
    });
    server.Get("/api/v1/state", [this](const httplib::Request&, httplib::Response& response) {
      WithSnapshot(response,
                   [&](const Snapshot& snapshot) { response.set_content(Dump(SnapshotToJson(snapshot)), kJson); });
    });
    server.Get("/api/v1/findings", [this](const httplib::Request&, httplib::Response& response) {
      WithSnapshot(response,
                   [&](const Snapshot& snapshot) { response.set_content(Dump(FindingsToJson(snapshot)), kJson); });
    });
    server.Get("/api/v1/explain", [this](const httplib::Request& request, httplib::Response& response) {
      if (!request.has_param("pod")) {
        Fail(response, 400, "name the pod: /api/v1/explain?pod=NAMESPACE/NAME");
        return;
      }
      const absl::StatusOr<nlohmann::json> trace = sources.explain(request.get_param_value("pod"));
      if (!trace.ok()) {
        Fail(response, absl::IsNotFound(trace.status()) ? 404 : 503, ToStd(trace.status().message()));
        return;
      }
      response.set_content(Dump(*trace), kJson);
    });
  }

  template <typename Answer>
  void WithSnapshot(httplib::Response& response, Answer answer) {
    const std::shared_ptr<const Snapshot> snapshot = sources.snapshot();
    if (snapshot == nullptr) {
      Fail(response, 503, "Podfence is starting.");
      return;
    }
    answer(*snapshot);
  }
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& host, int port,
                                                              ServerSources sources) {
  auto impl = std::make_unique<Impl>();
  impl->sources = std::move(sources);
  impl->Route();
  // httplib polls idle kept-alive connections every 10 ms, which an idle agent does not want, so each connection serves
  // one request, which has to come at once.
  impl->server.new_task_queue = [] { return new BoundedPool; };
  impl->server.set_keep_alive_max_count(1);
  impl->server.set_keep_alive_timeout(kFirstByteSeconds);
  // Without httplib's SO_REUSEPORT, which lets two servers have one port and each get some of the requests.
  impl->server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  impl->server.set_read_timeout(kReadTimeoutSeconds);
  impl->server.set_write_timeout(kWriteTimeoutSeconds);
  impl->server.set_payload_max_length(0);
  if (port == 0) {
    impl->port = impl->server.bind_to_any_port(host);
  } else {
    impl->port = impl->server.bind_to_port(host, port) ? port : -1;
  }
  if (impl->port < 0) {
    return absl::UnavailableError(Cat("cannot listen on ", host, " port ", port, ": ", std::strerror(errno),
                                      "; set listenAddress (--listen) to a free one"));
  }
  impl->thread = std::thread([server = &impl->server] { server->listen_after_bind(); });
  // A stop before the thread listens would be lost, and its end awaited for ever.
  while (!impl->server.is_running()) std::this_thread::yield();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

void HttpServer::StopListening() {
  if (std::exchange(impl_->listening, false)) impl_->server.stop();
}

HttpServer::~HttpServer() {
  StopListening();
  if (impl_->thread.joinable()) impl_->thread.join();
}

int HttpServer::port() const { return impl_->port; }

}  // namespace podfence
