#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "agent/verifier/observation.h"

namespace podfence {

// Collects what libbpf and the kernel's verifier say while it lives, on this thread; nothing of it is printed.
// libbpf has one print function for the process: it is installed with the first of these.
class LibbpfLog {
 public:
  LibbpfLog();
  ~LibbpfLog();
  LibbpfLog(const LibbpfLog&) = delete;
  LibbpfLog& operator=(const LibbpfLog&) = delete;

  // "load program sched_switch: Operation not permitted: <the words that matter>". error: -errno.
  absl::Status Error(std::string_view operation, int error) const;

 private:
  std::string text_;
  std::string* outer_;
};

// The lines of a libbpf log that say why something failed: the verifier's last words before its statistics, else the
// last line. Pure.
std::string ReasonInLog(std::string_view log);

// Adds run count, run time and missed runs of a loaded program.
void ReadProgramStatistics(const bpf_program* program, Probe& probe);

// Frees any libbpf or skeleton object with its own function.
template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using LinkPtr = std::unique_ptr<bpf_link, FreeWith<bpf_link__destroy>>;

}  // namespace podfence
