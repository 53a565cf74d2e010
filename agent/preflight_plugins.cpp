#include "agent/preflight_plugins.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/numbers.h"
#include "agent/cgroup/files.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;

// The path is the one that the runtime was given, and /var/run is a link to /run.
std::string_view WithoutVar(std::string_view path) {
  constexpr std::string_view kVar = "/var";
  return path.starts_with("/var/run/") ? path.substr(kVar.size()) : path;
}

// Of the network namespace of a process, which tells namespaces apart without the rights that /proc/PID/ns asks for;
// 0: the process is gone.
ino_t NamespaceOf(const std::string& proc, std::string_view pid) {
  struct stat status = {};
  return stat(Cat(proc, "/", pid, "/net/unix").c_str(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

int CountAccepted(std::istream& text, std::string_view path) {
  constexpr char kConnected[] = "03";  // SS_CONNECTED; a listener is 01, and what is not accepted yet 02
  int count = 0;
  std::string line;
  while (std::getline(text, line)) {
    // Num RefCount Protocol Flags Type St Inode Path
    std::istringstream words(line);
    std::string skipped;
    std::string state;
    std::string bound;
    words >> skipped >> skipped >> skipped >> skipped >> skipped >> state >> skipped >> std::ws;
    std::getline(words, bound);
    if (state == kConnected && WithoutVar(bound) == WithoutVar(path)) ++count;
  }
  return count;
}

int CountOtherPlugins(const std::string& proc, const std::string& nri_socket, pid_t agent) {
  // An accepted socket is in the network namespace of who has connected (net/unix/af_unix.c unix_stream_connect): that
  // of the plugin's pod. Where an agent was handed over the connection of another, it has none in its own.
  std::map<ino_t, int> connected;
  std::error_code error;
  for (fs::directory_iterator entry(proc, error), end; !error && entry != end; entry.increment(error)) {
    const std::string pid = entry->path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const ino_t space = NamespaceOf(proc, pid);
    if (space == 0 || connected.contains(space)) continue;
    std::ifstream text(Cat(proc, "/", pid, "/net/unix"));
    if (text) connected[space] = CountAccepted(text, nri_socket);
  }
  const ino_t own = agent == 0 ? 0 : NamespaceOf(proc, Cat(agent));
  int others = 0;
  for (const auto& [space, count] : connected) others += std::max(0, space == own ? count - 1 : count);
  return others;
}

pid_t FindAgent(const std::string& proc, const std::string& state_directory) {
  // Its lock names it, also when it has ended.
  const absl::StatusOr<std::string> holder = ReadSmallFile(Cat(state_directory, "/lock"));
  pid_t pid = 0;
  if (!holder.ok() || !absl::SimpleAtoi(*holder, &pid) || pid <= 0) return 0;
  const absl::StatusOr<std::string> name = ReadSmallFile(Cat(proc, "/", pid, "/comm"));
  return name.ok() && *name == "podfence\n" ? pid : 0;
}

}  // namespace podfence
