#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

// glibc 2.36 leaves these C declarations to C.
extern "C" {
#include <sys/pidfd.h>
}

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/time/clock.h"
#include "agent/cgroup/control.h"
#include "agent/cgroup/task_stat.h"
#include "agent/core/text.h"
#include "agent/runtime/local_pod.h"
#include "spdlog/spdlog.h"

namespace podfence {
namespace {

constexpr int kStartErrorCode = 128;  // containerd's StartError, as the kubelet shows it

// The lowest process id of the subtree; 0: none.
pid_t LowestProcess(const Cgroup& cgroup) {
  pid_t lowest = 0;
  const auto take = [&](pid_t pid) {
    if (pid > 0 && (lowest == 0 || pid < lowest)) lowest = pid;
  };
  if (const absl::StatusOr<std::vector<pid_t>> pids = ReadProcs(cgroup); pids.ok()) {
    for (pid_t pid : *pids) take(pid);
  }
  if (const absl::StatusOr<std::vector<std::string>> names = cgroup.Children(); names.ok()) {
    for (const std::string& name : *names) {
      if (const absl::StatusOr<Cgroup> child = cgroup.OpenChild(name); child.ok()) take(LowestProcess(*child));
    }
  }
  return lowest;
}

}  // namespace

LocalContainer::LocalContainer(LocalContext& context, const Pod& pod, const Container& container, bool init,
                               std::function<void()> on_change)
    : context_(context),
      pod_(pod),
      container_(container),
      init_(init),
      on_change_(std::move(on_change)),
      log_(Cat(LogDirectory(context, pod), "/", container.name, ".log"), context.options.max_log_bytes),
      back_off_(context.options.backoff_base, context.options.backoff_max, context.options.backoff_reset) {
  status_.uid = pod.uid;
  status_.name = container.name;
  status_.started = absl::InfinitePast();
}

std::string LocalContainer::Name() const { return Cat("container ", container_.name, " of pod ", pod_.FullName()); }

ContainerProgress LocalContainer::Progress() const {
  ContainerProgress progress;
  progress.phase = status_.phase;
  progress.ever_started = status_.started != absl::InfinitePast();
  progress.failed = status_.phase == ContainerPhase::kTerminated && !(status_.last_exit && status_.last_exit->ok());
  progress.due = due_;
  progress.asked_to_end = asked_to_end_;
  return progress;
}

absl::Status LocalContainer::Restore() {
  absl::StatusOr<std::optional<ContainerRecord>> loaded = context_.records.Load(pod_.uid, container_.name);
  if (!loaded.ok()) {
    spdlog::error("{}: its record is lost, what runs is taken as it is: {}", Name(),
                  std::string(loaded.status().message()));
  }
  const std::optional<ContainerRecord> record = loaded.ok() ? *std::move(loaded) : std::nullopt;
  if (record) {
    status_.restarts = record->restarts;
    status_.started = record->started;
    status_.last_exit = record->exit;
  }
  absl::StatusOr<Cgroup> cgroup = context_.callbacks.find_cgroup(pod_.uid, container_.name);
  if (!cgroup.ok() && !absl::IsNotFound(cgroup.status())) return cgroup.status();
  bool populated = false;
  if (cgroup.ok()) {
    const absl::StatusOr<bool> answer = IsPopulated(*cgroup);
    if (!answer.ok()) return answer.status();
    populated = *answer;
  }
  if (!populated) {
    if (record && record->process) {
      SetPhase(ExitStatus{false, 0, 0, "ended while no agent ran"});
      SaveRecord(std::nullopt);
    } else if (record && record->exit) {
      SetPhase(*record->exit);
    }
    return absl::OkStatus();
  }
  cgroup_ = *std::move(cgroup);
  status_.phase = ContainerPhase::kRunning;
  status_.cgroup_id = cgroup_->id();
  status_.cgroup_path = cgroup_->path();
  const pid_t pid = FindMainProcess(record ? &*record : nullptr);
  UniqueFd pidfd(pid > 0 ? pidfd_open(pid, 0) : -1);
  if (!pidfd) {
    exit_ = ExitStatus{false, 0, 0, "its main process ended while no agent ran"};
    EndLeftovers();
    return absl::OkStatus();
  }
  if (!record || !record->process) status_.started = absl::Now();
  spdlog::info("{}: adopted, main process {}", Name(), pid);
  if (absl::Status status = Watch(pid, std::move(pidfd)); !status.ok()) return status;
  const absl::StatusOr<TaskStat> stat = ReadTaskStat(context_.options.proc_root, pid);
  if (stat.ok()) SaveRecord(ContainerRecord::Process{pid, stat->start_time});
  return absl::OkStatus();
}

// The recorded process where it is still the same one. Without a record of a running process the agent died between
// the start and the record: the lowest id is the first process of the cgroup then. 0: the main process is gone.
pid_t LocalContainer::FindMainProcess(const ContainerRecord* record) const {
  if (record == nullptr || !record->process) return LowestProcess(*cgroup_);
  const absl::StatusOr<TaskStat> stat = ReadTaskStat(context_.options.proc_root, record->process->pid);
  return stat.ok() && stat->start_time == record->process->start_time ? record->process->pid : 0;
}

void LocalContainer::Start() {
  const absl::Time now = absl::Now();
  if (status_.phase == ContainerPhase::kBackOff) back_off_.Restarted(run_end_, now);
  due_ = false;
  asked_to_end_ = false;
  timer_.reset();
  absl::StatusOr<Command> command = BuildCommand(pod_, container_);
  if (!command.ok()) {
    // As a runtime's failed start counts as a failed run, the restart policy decides.
    status_.started = now;
    exit_ = ExitStatus{true, kStartErrorCode, 0, std::string(command.status().message())};
    FinishRun();
    return;
  }
  command_ = *std::move(command);
  const bool again = status_.started != absl::InfinitePast();
  if (absl::Status status = TryStart(); !status.ok()) {
    FailStart(status);
    return;
  }
  if (again) ++status_.restarts;
  status_.started = now;
  const absl::StatusOr<TaskStat> stat = ReadTaskStat(context_.options.proc_root, status_.pid);
  SaveRecord(ContainerRecord::Process{status_.pid, stat.ok() ? stat->start_time : 0});
  spdlog::info("{}: started, process {}", Name(), status_.pid);
  context_.callbacks.on_started(pod_.uid, container_.name);
  on_change_();
}

absl::Status LocalContainer::TryStart() {
  absl::StatusOr<Cgroup> cgroup = context_.callbacks.prepare_cgroup(pod_.uid, container_.name);
  if (!cgroup.ok()) return cgroup.status();
  if (absl::Status status = log_.Bound(); !status.ok()) return status;
  const absl::StatusOr<UniqueFd> log = log_.Open();
  if (!log.ok()) return log.status();
  absl::StatusOr<Launched> launched = Launch(command_, *cgroup, log->get());
  if (!launched.ok()) return launched.status();
  cgroup_ = *std::move(cgroup);
  error_pipe_ = std::move(launched->error_pipe);
  status_.phase = ContainerPhase::kRunning;
  status_.message.clear();
  status_.cgroup_id = cgroup_->id();
  status_.cgroup_path = cgroup_->path();
  return Watch(launched->pid, std::move(launched->pidfd));
}

absl::Status LocalContainer::Watch(pid_t pid, UniqueFd pidfd) {
  status_.pid = pid;
  pidfd_ = std::move(pidfd);
  sd_event_source* source = nullptr;
  const auto handler = [](sd_event_source*, int, uint32_t, void* self) {
    static_cast<LocalContainer*>(self)->OnProcessEnd();
    return 0;
  };
  const int result = sd_event_add_io(context_.loop, &source, pidfd_.get(), EPOLLIN, handler, this);
  if (result < 0) return absl::ErrnoToStatus(-result, Cat("watch process ", pid, " of ", Name()));
  exit_source_ = EventSource(source);
  return absl::OkStatus();
}

void LocalContainer::OnProcessEnd() {
  siginfo_t info{};
  ExitStatus exit;
  if (waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG) != 0) {
    exit.known = false;  // ECHILD: an earlier agent's child
  } else if (info.si_pid == 0) {
    return;  // not yet
  } else if (info.si_code == CLD_EXITED) {
    exit.code = info.si_status;
  } else {
    exit.signal = info.si_status;
    exit.code = 128 + info.si_status;
  }
  exit.detail = StartError(error_pipe_, command_);
  exit_source_.reset();
  exit_ = std::move(exit);
  EndLeftovers();
}

// A container ends with its main process, as it does where that is process 1 of a namespace: what else lives in the
// cgroup is killed, and the run is over when the kernel says that the cgroup is empty.
void LocalContainer::EndLeftovers() {
  if (!events_) {
    absl::StatusOr<UniqueFd> events = cgroup_->OpenFile("cgroup.events");
    if (events.ok()) events_ = *std::move(events);
  }
  // Read through the watched descriptor: the kernel raises EPOLLPRI for changes since that one's last read.
  std::array<char, 256> text{};
  if (events_ && pread(events_.get(), text.data(), text.size() - 1, 0) > 0 &&
      std::string_view(text.data()).find("populated 1") != std::string_view::npos) {
    if (!events_source_) {
      Kill();
      sd_event_source* source = nullptr;
      const auto handler = [](sd_event_source*, int, uint32_t, void* self) {
        static_cast<LocalContainer*>(self)->EndLeftovers();
        return 0;
      };
      const int result = sd_event_add_io(context_.loop, &source, events_.get(), EPOLLPRI, handler, this);
      if (result < 0) spdlog::error("{}: watch cgroup.events: {}", Name(), strerror(-result));
      events_source_ = EventSource(source);
    }
    if (events_source_) return;
  }
  FinishRun();
}

void LocalContainer::FinishRun() {
  const ExitStatus exit = *std::exchange(exit_, std::nullopt);
  events_source_.reset();
  exit_source_.reset();
  events_.reset();
  pidfd_.reset();
  error_pipe_.reset();
  cgroup_.reset();
  status_.pid = 0;
  status_.cgroup_id = 0;
  status_.cgroup_path.clear();
  SetPhase(exit);
  SaveRecord(std::nullopt);
  spdlog::info("{}: {}", Name(), status_.message);
  context_.callbacks.on_exited(pod_.uid, container_.name, exit);
  on_change_();
}

void LocalContainer::FailStart(const absl::Status& status) {
  cgroup_.reset();
  pidfd_.reset();
  error_pipe_.reset();
  status_.phase = ContainerPhase::kBackOff;
  status_.message = Cat("could not be started: ", ToStd(status.message()));
  spdlog::error("{}: {}", Name(), status_.message);
  WaitForRestart();
  on_change_();
}

void LocalContainer::SetPhase(const ExitStatus& exit) {
  status_.last_exit = exit;
  status_.phase = PhaseAfterExit(pod_, container_, init_, exit);
  status_.message = !exit.known       ? std::string("ended; its exit code is not known")
                    : exit.signal > 0 ? Cat("ended by signal ", exit.signal)
                                      : Cat("exited with code ", exit.code);
  if (!exit.detail.empty()) status_.message += Cat(": ", exit.detail);
  if (status_.phase == ContainerPhase::kBackOff) WaitForRestart();
}

void LocalContainer::WaitForRestart() {
  run_end_ = absl::Now();
  const absl::Duration wait = back_off_.WaitAfter(run_end_);
  due_ = wait <= absl::ZeroDuration();
  if (due_) return;
  sd_event_source* source = nullptr;
  const auto handler = [](sd_event_source*, uint64_t, void* self) {
    LocalContainer& container = *static_cast<LocalContainer*>(self);
    container.due_ = true;
    container.on_change_();
    return 0;
  };
  const uint64_t usec = static_cast<uint64_t>(absl::ToInt64Microseconds(wait));
  const int result =
      sd_event_add_time_relative(context_.loop, &source, CLOCK_MONOTONIC, usec, usec / 20 + 1, handler, this);
  if (result < 0) {
    spdlog::error("{}: arm back-off timer: {}; starting at once", Name(), strerror(-result));
    due_ = true;
  }
  timer_ = EventSource(source);
  status_.message += Cat("; started again in ", absl::FormatDuration(wait));
}

void LocalContainer::AskToEnd() {
  asked_to_end_ = true;
  if (pidfd_ && pidfd_send_signal(pidfd_.get(), SIGTERM, nullptr, 0) != 0 && errno != ESRCH) {
    spdlog::error("{}: SIGTERM to process {}: {}", Name(), status_.pid, strerror(errno));
  }
}

void LocalContainer::Kill() {
  if (!cgroup_) return;
  if (const absl::Status status = cgroup_->Kill(); !status.ok() && !absl::IsNotFound(status)) {
    spdlog::error("{}: kill: {}", Name(), std::string(status.message()));
  }
}

void LocalContainer::GiveUp() {
  timer_.reset();
  due_ = false;
  if (!running()) status_.phase = ContainerPhase::kTerminated;
}

void LocalContainer::BoundLog() {
  if (!running()) return;
  if (const absl::Status status = log_.Bound(); !status.ok()) {
    spdlog::warn("{}: {}", Name(), std::string(status.message()));
  }
}

void LocalContainer::SaveRecord(std::optional<ContainerRecord::Process> process) {
  const ContainerRecord record{status_.restarts, status_.started, process, status_.last_exit};
  if (const absl::Status status = context_.records.Save(pod_.uid, container_.name, record); !status.ok()) {
    spdlog::error("{}: its state could not be recorded, a restart of the agent would not know it: {}", Name(),
                  std::string(status.message()));
  }
}

}  // namespace podfence
