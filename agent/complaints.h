#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"

namespace podfence {

// What fails and goes on failing, so that each failure is logged once. Pure.
class Complaints {
 public:
  // what: the work that was tried; ok: it works. uid: the pod that it is about, if any. Whether to log it: it did not
  // fail before, or in another way.
  bool Note(const std::string& what, const absl::Status& status, const std::string& uid = "") {
    if (status.ok()) {
      failing_.erase(what);
      return false;
    }
    Failure now{uid, status.ToString()};
    Failure& last = failing_[what];
    if (last.text == now.text) return false;
    last = std::move(now);
    return true;
  }
  // The work for these pods will not be tried again.
  void Forget(const std::function<bool(const std::string& uid)>& gone) {
    std::erase_if(failing_, [&](const auto& entry) { return !entry.second.uid.empty() && gone(entry.second.uid); });
  }
  // Nothing fails.
  bool empty() const { return failing_.empty(); }

 private:
  struct Failure {
    std::string uid;
    std::string text;
  };
  std::map<std::string, Failure> failing_;
};

}  // namespace podfence
