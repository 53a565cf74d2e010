#include "agent/runtime/manifest_watcher.h"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "absl/strings/str_join.h"
#include "agent/cgroup/files.h"
#include "agent/core/text.h"
#include "agent/pods/defaults.h"
#include "agent/pods/manifest.h"
#include "agent/pods/validation.h"
#include "agent/runtime/event_source.h"

namespace podfence {
namespace {

// Editors and copies make several events of one change.
constexpr uint64_t kSettleUsec = 50'000;
// A file's own changes reach us by its directory.
constexpr uint32_t kMask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
                           IN_CREATE | IN_MODIFY | IN_ATTRIB;

using Pods = std::vector<std::shared_ptr<const Pod>>;

bool IsManifest(std::string_view name) {
  return !name.starts_with(".") && (name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json"));
}

absl::StatusOr<Pods> LoadPods(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<Pod>> loaded = LoadManifests(*text, path);
  if (!loaded.ok()) return loaded.status();
  Pods pods;
  for (Pod& pod : *loaded) {
    DefaultPod(pod);
    const std::vector<PodProblem> problems = CheckPod(pod);
    if (!problems.empty()) {
      return absl::InvalidArgumentError(
          Cat(path, ": pod ", pod.FullName(), ": ",
              absl::StrJoin(problems, "; ",
                            [](std::string* out, const PodProblem& problem) { out->append(problem.Full()); })));
    }
    pods.push_back(std::make_shared<const Pod>(std::move(pod)));
  }
  return pods;
}

}  // namespace

struct ManifestWatcher::Impl {
  // A file as it was read last.
  struct File {
    ino_t inode = 0;
    off_t size = -1;
    timespec modified{};
    Pods pods;  // of its last good text
    bool was_good = false;
    absl::Status error;  // of its present text
  };

  std::string directory;
  Callback callback;
  std::map<std::string, File> files;
  absl::Status listing;  // the last look at the directory
  bool told = false;
  EventSource watch;
  EventSource timer;

  void Arm();
  void Look();
  bool Refresh(const std::string& name);
};

void ManifestWatcher::Impl::Arm() {
  sd_event_source_set_time_relative(timer.get(), kSettleUsec);
  sd_event_source_set_enabled(timer.get(), SD_EVENT_ONESHOT);
}

// Reads one file again where it changed; true where that changed anything worth telling.
bool ManifestWatcher::Impl::Refresh(const std::string& name) {
  const std::string path = Cat(directory, "/", name);
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return false;  // gone meanwhile: another event tells
  File& file = files[name];
  if (file.inode == info.st_ino && file.size == info.st_size && file.modified.tv_sec == info.st_mtim.tv_sec &&
      file.modified.tv_nsec == info.st_mtim.tv_nsec) {
    return false;
  }
  file.inode = info.st_ino;
  file.size = info.st_size;
  file.modified = info.st_mtim;
  absl::StatusOr<Pods> pods = LoadPods(path);
  file.error = pods.status();
  if (pods.ok()) {
    file.pods = *std::move(pods);
    file.was_good = true;
  }
  return true;
}

void ManifestWatcher::Impl::Look() {
  ManifestSet set;
  std::set<std::string> present;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (IsManifest(name)) present.insert(std::move(name));
  }
  if (error) {
    // Not the same as "no manifests": the pods stay as they are.
    const absl::Status status = absl::ErrnoToStatus(error.value(), Cat("list manifests in ", directory));
    if (listing == status) return;
    listing = status;
    set.errors.push_back(status);
    set.complete = told;
  } else {
    listing = absl::OkStatus();
    const bool removed = std::erase_if(files, [&](const auto& entry) { return !present.contains(entry.first); }) > 0;
    bool changed = removed || !told;
    for (const std::string& name : present) changed |= Refresh(name);
    if (!changed) return;
  }
  std::map<std::string_view, std::string_view> owners;  // pod uid to file
  for (const auto& [name, file] : files) {
    if (!file.error.ok()) {
      set.errors.push_back(file.error);
      set.complete = set.complete && file.was_good;
    }
    for (const std::shared_ptr<const Pod>& pod : file.pods) {
      const auto [owner, fresh] = owners.try_emplace(pod->uid, name);
      if (fresh) {
        set.pods.push_back(pod);
      } else {
        set.errors.push_back(
            absl::AlreadyExistsError(Cat(directory, "/", name, ": pod ", pod->FullName(), " (uid ", pod->uid,
                                         ") is already in ", owner->second, "; this one is passed over")));
      }
    }
  }
  told = true;
  callback(set);
}

ManifestWatcher::ManifestWatcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ManifestWatcher::~ManifestWatcher() = default;

absl::StatusOr<std::unique_ptr<ManifestWatcher>> ManifestWatcher::Create(sd_event* loop, const std::string& directory,
                                                                         Callback callback) {
  auto impl = std::make_unique<Impl>();
  impl->directory = directory;
  impl->callback = std::move(callback);
  sd_event_source* source = nullptr;
  const auto changed = [](sd_event_source*, const inotify_event* event, void* self) {
    Impl& watcher = *static_cast<Impl*>(self);
    const bool directory_event = event->len == 0;
    if (directory_event || IsManifest(event->name)) watcher.Arm();
    return 0;
  };
  int result = sd_event_add_inotify(loop, &source, directory.c_str(), kMask | IN_ONLYDIR, changed, impl.get());
  if (result < 0) {
    return absl::ErrnoToStatus(
        -result, Cat("watch the directory of manifests ", directory, "; make it, or name another one (staticPodPath)"));
  }
  impl->watch = EventSource(source);
  const auto settled = [](sd_event_source*, uint64_t, void* self) {
    static_cast<Impl*>(self)->Look();
    return 0;
  };
  result = sd_event_add_time_relative(loop, &source, CLOCK_MONOTONIC, 0, 1000, settled, impl.get());
  if (result < 0) return absl::ErrnoToStatus(-result, Cat("arm a timer for the manifests in ", directory));
  impl->timer = EventSource(source);
  return std::unique_ptr<ManifestWatcher>(new ManifestWatcher(std::move(impl)));
}

}  // namespace podfence
