#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/pods/pod_object.h"

namespace podfence {

// A pod of this node as last told; immutable, so that threads share it.
using PodRecordPtr = std::shared_ptr<const PodObject>;

struct PodChange {
  enum class Kind { kAdded, kModified, kRemoved };
  Kind kind = Kind::kAdded;
  PodRecordPtr now;     // null: removed
  PodRecordPtr before;  // null: added
  const PodObject& record() const { return now != nullptr ? *now : *before; }
};

// What happened since the last look: first everything that is there, where a source read it anew, then what changed
// after that. At most one record a pod, however long nobody looked.
struct PodUpdates {
  std::optional<std::vector<PodRecordPtr>> all;
  std::map<std::string, PodRecordPtr> changed;  // by API UID; null: gone
};

// The pods of this node by the UID that the kubelet and the runtimes use. Of the loop's thread.
class PodCache {
 public:
  // The changes, in no particular order; none for what is as it was.
  std::vector<PodChange> Apply(const PodUpdates& updates);

  // Null: unknown. A pod that cannot be parsed is there, with its error.
  PodRecordPtr Find(std::string_view uid) const;
  PodRecordPtr FindByName(std::string_view ns, std::string_view name) const;
  size_t size() const { return by_uid_.size(); }
  // Oldest first, as pods are admitted on a node that already runs them: by creation, then UID; last those that do not
  // say when they were made, as the kubelet's own copies of static pods.
  std::vector<PodRecordPtr> ByAge() const;

 private:
  // What stands for a UID: the pod itself before any mirror that claims to stand for it, so that nobody can take
  // another pod's place by an annotation.
  PodRecordPtr Elect(const std::string& uid) const;

  void Take(const PodRecordPtr& record);
  // The UID it stood for; empty: it was not there.
  std::string Drop(const std::string& api_uid);

  std::map<std::string, PodRecordPtr> by_api_uid_;
  std::map<std::string, std::set<std::string>> mirrors_;  // by the UID they stand for: their own
  std::map<std::string, PodRecordPtr, std::less<>> by_uid_;
};

}  // namespace podfence
