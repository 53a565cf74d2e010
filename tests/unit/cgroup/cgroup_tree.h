#pragma once

// Builds a cgroup tree on any file system from one nested literal, for the logic that needs no kernel:
//   CgroupTree tree({File("cgroup.controllers", "cpuset cpu memory"), Dir("podfence", {File("cpu.max", "max
//   100000")})});

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace podfence {

struct TreeEntry {
  enum class Kind { kFile, kLink, kDirectory };
  Kind kind = Kind::kFile;
  std::string name;
  std::string text;  // of a file; of a link, where it leads
  std::vector<TreeEntry> children;
};

inline TreeEntry File(std::string name, std::string text) {
  return {TreeEntry::Kind::kFile, std::move(name), std::move(text), {}};
}
inline TreeEntry Dir(std::string name, std::vector<TreeEntry> children) {
  return {TreeEntry::Kind::kDirectory, std::move(name), "", std::move(children)};
}
// A file that shows another one's text.
inline TreeEntry Link(std::string name, std::string target) {
  return {TreeEntry::Kind::kLink, std::move(name), std::move(target), {}};
}

inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

class CgroupTree {
 public:
  explicit CgroupTree(const std::vector<TreeEntry>& entries) {
    std::string pattern = testing::TempDir() + "cgroup-tree-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp " + pattern);
    path_ = pattern;
    Add(path_, entries);
  }
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;
  ~CgroupTree() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_.string(); }
  void Add(const std::filesystem::path& where, const std::vector<TreeEntry>& entries) {
    for (const TreeEntry& entry : entries) {
      const std::filesystem::path path = where / entry.name;
      switch (entry.kind) {
        case TreeEntry::Kind::kFile: Write(path, entry.text); break;
        case TreeEntry::Kind::kLink: std::filesystem::create_symlink(entry.text, path); break;
        case TreeEntry::Kind::kDirectory:
          std::filesystem::create_directory(path);
          Add(path, entry.children);
          break;
      }
    }
  }
  void Set(const std::string& path, const std::string& text) { Write(path_ / path, text); }
  std::string Get(const std::string& path) const {
    std::ifstream in(path_ / path);
    std::stringstream text;
    text << in.rdbuf();
    std::string result = text.str();
    while (!result.empty() && result.back() == '\n') result.pop_back();
    return result;
  }
  void Remove(const std::string& path) { std::filesystem::remove_all(path_ / path); }
  // Everything in it, with the time of its last change: another answer after any write, even of the same text.
  std::map<std::string, std::string> Contents() const {
    std::map<std::string, std::string> contents;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) {
      const std::string path = entry.path().lexically_relative(path_).string();
      const auto changed = std::filesystem::last_write_time(entry.path()).time_since_epoch().count();
      contents[path] = std::to_string(changed) + (entry.is_directory() ? "" : " " + Get(path));
    }
    return contents;
  }

 private:
  static void Write(const std::filesystem::path& path, const std::string& text) {
    std::ofstream out(path);
    out << text << "\n";
    if (!out.flush()) throw std::runtime_error("write " + path.string());
  }
  std::filesystem::path path_;
};

}  // namespace podfence
