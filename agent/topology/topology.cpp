#include "agent/topology/topology.h"

#include <fcntl.h>
#include <hwloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "agent/core/text.h"
#include "agent/topology/hwloc_machine.h"
#include "agent/topology/isolation.h"
#include "agent/topology/xml_check.h"

namespace podfence {
namespace {

constexpr size_t kMaxXmlBytes = size_t{16} << 20;
constexpr size_t kMaxSyntheticBytes = 4096;
constexpr absl::Duration kLimit = absl::Seconds(20);

constexpr std::string_view kForms =
    "a machine is live, the path of an hwloc XML file (it has a / or ends in .xml), or a synthetic string such as "
    "\"numa:2 l3:1 core:6 pu:2\"";

constexpr std::string_view kAsLive = "the live machine";
constexpr std::string_view kAsXml = "an hwloc XML file";
constexpr std::string_view kAsSynthetic = "a synthetic string";

class Topology {
 public:
  Topology() { hwloc_topology_init(&topology_); }
  ~Topology() {
    if (topology_ != nullptr) hwloc_topology_destroy(topology_);
  }
  Topology(const Topology&) = delete;
  Topology& operator=(const Topology&) = delete;
  hwloc_topology_t get() const { return topology_; }

 private:
  hwloc_topology_t topology_ = nullptr;
};

// Loads what was set and converts it; refused says that hwloc would not have it.
absl::StatusOr<Machine> Finish(const Topology& topology, bool set, std::string name, absl::StatusCode refused) {
  if (!set || hwloc_topology_load(topology.get()) != 0) {
    return absl::Status(refused, Cat("hwloc refuses it: ", std::strerror(errno)));
  }
  return MachineFromHwloc(topology.get(), std::move(name));
}

absl::StatusOr<Machine> LoadLive(const std::string& root) {
  // Without these hwloc makes do with a guess: as many cores as CPUs, on one NUMA node.
  const std::string cpus = root + "/sys/devices/system/cpu";
  if (access(cpus.c_str(), R_OK | X_OK) != 0) {
    return absl::InternalError(Cat(cpus, ": ", std::strerror(errno), ": sysfs must be mounted there"));
  }
  if (root != "/") setenv("HWLOC_FSROOT", root.c_str(), 1);
  // The kubelet counts every NUMA node of sysfs, a GPU's memory too; hwloc leaves those out unless asked.
  setenv("HWLOC_KEEP_NVIDIA_GPU_NUMA_NODES", "1", 1);
  const Topology topology;
  // Denied CPUs are included, for the agent may itself be fenced in when it starts again; and the reader is never
  // bound to a CPU to question it, for that CPU may have an exclusive owner.
  const bool set = hwloc_topology_set_flags(topology.get(), HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED |
                                                                HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING) == 0;
  return Finish(topology, set, root == "/" ? "live" : root, absl::StatusCode::kInternal);
}

absl::StatusOr<Machine> LoadXml(const std::string& xml, const std::string& path) {
  setenv("HWLOC_XML_VERBOSE", "1", 1);
  const Topology topology;
  // hwloc wants the terminating null byte counted.
  const bool set = hwloc_topology_set_xmlbuffer(topology.get(), xml.c_str(), static_cast<int>(xml.size() + 1)) == 0;
  return Finish(topology, set, path, absl::StatusCode::kInvalidArgument);
}

absl::StatusOr<Machine> LoadSynthetic(const std::string& description) {
  setenv("HWLOC_SYNTHETIC_VERBOSE", "1", 1);
  const Topology topology;
  const bool set = hwloc_topology_set_synthetic(topology.get(), description.c_str()) == 0;
  return Finish(topology, set, description, absl::StatusCode::kInvalidArgument);
}

// The whole of a file, at most kMaxXmlBytes of it.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  // Without O_NONBLOCK a FIFO without a writer would hold the process here.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, "open");
  std::string text;
  absl::Status status;
  struct stat info;
  if (fstat(fd, &info) == 0 && !S_ISREG(info.st_mode)) status = absl::InvalidArgumentError("is no regular file");
  while (status.ok()) {
    char buffer[65536];
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      status = absl::ErrnoToStatus(errno, "read");
    } else if (text.size() + static_cast<size_t>(got) > kMaxXmlBytes) {
      status = absl::InvalidArgumentError(Cat("is larger than ", kMaxXmlBytes >> 20, " MiB"));
    } else {
      text.append(buffer, static_cast<size_t>(got));
    }
  }
  close(fd);
  if (!status.ok()) return status;
  return text;
}

// How many CPUs a synthetic string asks for: the product of its counts, which stand behind a ":" or alone, outside of
// (attributes) and [attached nodes]; at most limit + 1. hwloc would build a machine of any size.
size_t SyntheticCpus(const std::string& description, size_t limit) {
  size_t cpus = 1;
  bool count_may_begin = true;
  for (size_t i = 0; i < description.size();) {
    const char c = description[i];
    if (c == '(' || c == '[') {
      i = description.find(c == '(' ? ')' : ']', i);
      if (i == std::string::npos) break;  // hwloc refuses it
    } else if (count_may_begin && c >= '0' && c <= '9') {
      char* end = nullptr;
      const size_t count = std::strtoul(description.c_str() + i, &end, 0);  // as hwloc reads it, hexadecimal too
      cpus = std::min(cpus * std::clamp<size_t>(count, 1, limit + 1), limit + 1);
      i = static_cast<size_t>(end - description.c_str());
      continue;
    }
    count_may_begin = c == ':' || c == ' ' || c == '\n' || c == '(' || c == '[';
    ++i;
  }
  return cpus;
}

absl::Status CheckSynthetic(const std::string& description) {
  constexpr size_t kMaxCpus = CpuSet::kMaxCpu + 1;
  if (description.size() > kMaxSyntheticBytes) {
    return absl::InvalidArgumentError(Cat("is longer than ", kMaxSyntheticBytes, " bytes"));
  }
  if (SyntheticCpus(description, kMaxCpus) > kMaxCpus) {
    return absl::InvalidArgumentError(Cat("describes more than ", kMaxCpus, " CPUs"));
  }
  return absl::OkStatus();
}

// hwloc's own words, on one line; its banners are framed by asterisks.
std::string OneLine(const std::string& said) {
  std::string line = absl::StrReplaceAll(said, {{"*", ""}, {"\n", " "}});
  while (absl::StrReplaceAll({{"  ", " "}}, &line) > 0) {
  }
  while (line.ends_with(' ')) line.pop_back();
  while (line.starts_with(' ')) line.erase(0, 1);
  constexpr size_t kMaxShown = 500;
  if (line.size() > kMaxShown) line = line.substr(0, kMaxShown) + "…";
  return line;
}

// How the source is read, for messages, and its reading.
struct Reading {
  std::string_view as;
  Isolated result;
};

Reading Read(std::string_view source, const LoadOptions& options) {
  if (source.empty() || source == "live") {
    return {kAsLive, LoadIsolated([&] { return LoadLive(options.root); }, kLimit)};
  }
  const std::string text(source);
  if (source.find('/') != std::string_view::npos || source.ends_with(".xml")) {
    absl::StatusOr<std::string> xml = ReadFile(text);
    if (!xml.ok()) return {kAsXml, {xml.status(), ""}};
    if (absl::Status status = CheckXml(*xml, "topology"); !status.ok()) return {kAsXml, {status, ""}};
    return {kAsXml, LoadIsolated([&] { return LoadXml(*xml, text); }, kLimit)};
  }
  if (absl::Status status = CheckSynthetic(text); !status.ok()) return {kAsSynthetic, {status, ""}};
  return {kAsSynthetic, LoadIsolated([&] { return LoadSynthetic(text); }, kLimit)};
}

}  // namespace

absl::StatusOr<Machine> LoadMachine(std::string_view source, const LoadOptions& options) {
  auto [as, result] = Read(source, options);
  const std::string said = OneLine(result.said);
  if (result.machine.ok()) {
    if (options.notes != nullptr) *options.notes = said;
    return std::move(result.machine);
  }
  const absl::Status& status = result.machine.status();
  std::string message = Cat("machine \"", source, "\", read as ", as, ": ", status.message());
  if (!said.empty()) absl::StrAppend(&message, "; it says: ", said);
  // The source may have been meant as something else.
  if (as == kAsSynthetic || absl::IsNotFound(status)) absl::StrAppend(&message, "; ", ToAbsl(kForms));
  return absl::Status(status.code(), message);
}

}  // namespace podfence
