#pragma once

#include <systemd/sd-event.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/pod.h"

namespace podfence {

// What the directory of manifests says now.
struct ManifestSet {
  // Every pod of every good file, in file name order. Of a file that became bad the last good pods stay: a slip of an
  // editor ends nothing.
  std::vector<std::shared_ptr<const Pod>> pods;
  // What is wrong with files now.
  std::vector<absl::Status> errors;
  // False where a file cannot be read and never could be: which pods it holds is not known, so that a pod that no
  // other file names may still be wanted.
  bool complete = true;
};

// Watches a directory of Pod manifests (*.yaml, *.yml, *.json; hidden files are passed over) through inotify, and
// tells the whole set at the start and after each change. Bursts of changes are told once. Files may be replaced by
// rename, as editors and `kubectl`-like tools do.
class ManifestWatcher {
 public:
  using Callback = std::function<void(const ManifestSet& set)>;
  // Errors: no such directory, or no inotify watch left. The first set is told from the loop, not from here.
  static absl::StatusOr<std::unique_ptr<ManifestWatcher>> Create(sd_event* loop, const std::string& directory,
                                                                 Callback callback);
  ~ManifestWatcher();

 private:
  struct Impl;
  explicit ManifestWatcher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podfence
