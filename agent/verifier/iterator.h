#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/cgroup/unique_fd.h"
#include "agent/core/text.h"
#include "agent/verifier/libbpf.h"

namespace podfence {

// Runs an attached BPF iterator once over everything and gives the binary records it wrote.
template <typename Record>
absl::StatusOr<std::vector<Record>> RunIterator(const bpf_link* link, std::string_view name) {
  const UniqueFd fd(bpf_iter_create(bpf_link__fd(link)));
  if (!fd) return absl::ErrnoToStatus(errno, ToAbsl(Cat("start BPF iterator ", name)));
  std::string bytes;
  char chunk[8192];
  for (;;) {
    const ssize_t got = read(fd.get(), chunk, sizeof(chunk));
    if (got == 0) break;
    if (got < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return absl::ErrnoToStatus(errno, ToAbsl(Cat("read BPF iterator ", name)));
    }
    bytes.append(chunk, static_cast<size_t>(got));
  }
  if (bytes.size() % sizeof(Record) != 0) {
    return absl::DataLossError(Cat("BPF iterator ", name, " wrote ", bytes.size(), " bytes, no multiple of a record"));
  }
  std::vector<Record> records(bytes.size() / sizeof(Record));
  if (!records.empty()) std::memcpy(records.data(), bytes.data(), bytes.size());
  return records;
}

}  // namespace podfence
