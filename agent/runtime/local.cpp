#include "agent/runtime/local.h"

#include <signal.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <system_error>

#include "absl/strings/str_join.h"
#include "agent/cgroup/files.h"
#include "agent/core/text.h"
#include "agent/runtime/local_pod.h"
#include "spdlog/spdlog.h"

namespace podfence {

struct LocalRuntime::Impl {
  LocalContext context;
  std::map<std::string, std::unique_ptr<LocalPod>, std::less<>> pods;
  EventSource log_timer;

  absl::Status WatchLogs();
  void BoundLogs();
  void PodOver(const std::string& uid);
};

absl::Status LocalRuntime::Impl::WatchLogs() {
  sd_event_source* source = nullptr;
  const auto handler = [](sd_event_source*, uint64_t, void* self) {
    static_cast<Impl*>(self)->BoundLogs();
    return 0;
  };
  const uint64_t usec = static_cast<uint64_t>(absl::ToInt64Microseconds(context.options.log_check_period));
  const int result =
      sd_event_add_time_relative(context.loop, &source, CLOCK_MONOTONIC, usec, usec / 4 + 1, handler, this);
  if (result < 0) return absl::ErrnoToStatus(-result, "arm the timer that bounds the containers' logs");
  log_timer = EventSource(source);
  return absl::OkStatus();
}

void LocalRuntime::Impl::BoundLogs() {
  for (const auto& [uid, pod] : pods) pod->BoundLogs();
  const uint64_t usec = static_cast<uint64_t>(absl::ToInt64Microseconds(context.options.log_check_period));
  sd_event_source_set_time_relative(log_timer.get(), usec);
  sd_event_source_set_enabled(log_timer.get(), SD_EVENT_ONESHOT);
}

void LocalRuntime::Impl::PodOver(const std::string& uid) {
  // As the kubelet does, its logs go with the pod.
  std::error_code error;
  const std::string logs = LogDirectory(context, pods.at(uid)->pod());
  std::filesystem::remove_all(logs, error);
  if (error) spdlog::warn("remove the logs {}: {}", logs, error.message());
  pods.erase(uid);
  if (const absl::Status status = context.records.Drop(uid); !status.ok()) {
    spdlog::error("pod {}: {}", uid, std::string(status.message()));
  }
  context.callbacks.on_pod_stopped(uid);
}

LocalRuntime::LocalRuntime(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LocalRuntime::~LocalRuntime() = default;

absl::StatusOr<std::unique_ptr<LocalRuntime>> LocalRuntime::Create(sd_event* loop, LocalRuntimeOptions options,
                                                                   RuntimeCallbacks callbacks) {
  const std::string records = Cat(options.state_dir, "/containers");
  for (const std::string& directory : {records, options.log_dir}) {
    if (absl::Status status = MakeDirectories(directory); !status.ok()) return status;
  }
  absl::StatusOr<std::string> boot = ReadSmallFile(Cat(options.proc_root, "/sys/kernel/random/boot_id"));
  if (!boot.ok()) return boot.status();
  while (!boot->empty() && boot->back() == '\n') boot->pop_back();
  std::unique_ptr<Impl> impl(
      new Impl{{loop, std::move(options), std::move(callbacks), RecordStore(records, *std::move(boot)), {}}, {}, {}});
  signal(SIGCHLD, SIG_DFL);  // inherited as ignored, the kernel would reap the containers and forget their exit codes
  impl->context.pod_over = [raw = impl.get()](const std::string& uid) { raw->PodOver(uid); };
  if (absl::Status status = impl->WatchLogs(); !status.ok()) return status;
  return std::unique_ptr<LocalRuntime>(new LocalRuntime(std::move(impl)));
}

absl::Status LocalRuntime::Check(const Pod& pod) {
  std::vector<std::string> without;
  ForEachContainer(pod, [&](const Container& container, bool) {
    if (container.command.empty()) without.push_back(container.name);
  });
  if (without.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Cat("pod ", pod.FullName(), " cannot run here: no command in ", absl::StrJoin(without, ", "),
          ". Images are not pulled in local mode, so their entrypoint is not known; give each container a command"));
}

std::string LocalRuntime::Notice(const Pod& pod) {
  std::vector<std::string> images;
  ForEachContainer(pod, [&](const Container& container, bool) {
    if (!container.image.empty()) images.push_back(Cat(container.name, " (", container.image, ")"));
  });
  if (images.empty()) return "";
  return Cat("pod ", pod.FullName(), ": local mode has no images and no namespaces; the commands run as plain ",
             "processes of this host instead of the images of ", absl::StrJoin(images, ", "));
}

absl::Status LocalRuntime::AddPod(std::shared_ptr<const Pod> pod) {
  if (absl::Status status = Check(*pod); !status.ok()) return status;
  const std::string& uid = pod->uid;
  for (const std::string& part : {uid, pod->ns, pod->name}) {
    if (part.empty() || part == "." || part == ".." || part.find('/') != std::string::npos) {
      return absl::InvalidArgumentError(
          Cat("pod ", pod->FullName(), " (", uid, "): \"", part, "\" is no name of a directory"));
    }
  }
  auto [entry, fresh] = impl_->pods.try_emplace(uid);
  if (!fresh) return absl::AlreadyExistsError(Cat("pod ", pod->FullName(), " (", uid, ") runs already"));
  entry->second = std::make_unique<LocalPod>(impl_->context, std::move(pod));
  absl::Status status = entry->second->Begin();
  if (!status.ok()) impl_->pods.erase(entry);
  return status;
}

absl::Status LocalRuntime::StopPod(std::string_view uid) {
  const auto found = impl_->pods.find(uid);
  if (found == impl_->pods.end()) return absl::NotFoundError(Cat("no pod with uid ", uid, " runs here"));
  found->second->Stop();
  return absl::OkStatus();
}

absl::StatusOr<std::optional<PodResult>> LocalRuntime::EndedAs(const Pod& pod) const {
  std::vector<ContainerProgress> containers;
  absl::Status first;
  bool over = true;
  ForEachContainer(pod, [&](const Container& container, bool init) {
    const absl::StatusOr<std::optional<ContainerRecord>> record = impl_->context.records.Load(pod.uid, container.name);
    if (!record.ok() && first.ok()) first = record.status();
    ContainerProgress& progress = containers.emplace_back();
    if (!record.ok() || !*record) return;
    progress.ever_started = true;
    if ((*record)->process) over = false;
    if (!(*record)->exit) return;
    progress.phase = PhaseAfterExit(pod, container, init, *(*record)->exit);
    progress.failed = progress.phase == ContainerPhase::kTerminated && !(*record)->exit->ok();
  });
  if (!first.ok()) return first;
  if (!over) return std::optional<PodResult>();
  return NextStep(pod, containers, false).terminal;
}

absl::Status LocalRuntime::DropOldRecords(const std::vector<std::string>& uids) {
  return impl_->context.records.KeepOnly(uids);
}

std::vector<ContainerRun> LocalRuntime::Containers() const {
  std::vector<ContainerRun> statuses;
  for (const auto& [uid, pod] : impl_->pods) pod->AppendStatus(statuses);
  return statuses;
}

}  // namespace podfence
