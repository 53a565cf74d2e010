#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/writer.h"
#include "agent/verifier/expectations.h"
#include "agent/verifier/observation.h"

namespace podfence {

// The verifier room: proves from inside the kernel that what was decided is what happens. It uses core/ and the
// programs of bpf/, changes nothing on the node, and decides nothing. Which of its probes run is found out once, by
// trying, at Start; what does not attach is said in Probes() and is no failure: without any, Read still reports
// bandwidth from cpu.stat.
struct VerifierOptions {
  std::string cgroup_root = "/sys/fs/cgroup";  // where cgroup v2 is mounted
  uint32_t max_fences = 1024;                  // fences at one moment; kernel memory is 280 bytes a CPU for each
  bool measure_wait = true;                    // fill FenceObservation::wait
  bool measure_interrupts = false;             // fill Observation::interrupts; 16 bytes a CPU more for each fence
  uint32_t ring_bytes = 65536;                 // room for findings until Poll takes them; a power of two of pages
};

// Belongs to one thread, the agent's loop.
class Verifier {
 public:
  // Loads and attaches what this kernel takes. Fails only where the arguments make no sense (InvalidArgument).
  static absl::StatusOr<std::unique_ptr<Verifier>> Start(const VerifierOptions& options);
  virtual ~Verifier() = default;

  // Replaces everything expected, atomically: a task is judged by the old fences or by the new ones. Counters go on
  // for a fence that stays the same cgroup. Call it between vacating and handing over: after the shared cgroups were
  // narrowed and read back and before the new owner starts; on release, before the shared cgroups are widened.
  // A fence whose cgroup is not there (any more, or under another inode) is expected all the same and observed as
  // gone: its CPUs stay its own, whoever runs there is foreign. InvalidArgument as ValidateExpectations and for a CPU
  // that this kernel does not have, ResourceExhausted beyond max_fences; after these what was expected before still is.
  virtual absl::Status Expect(const Expectations& expectations) = 0;

  // All counters now. Also compares with the call before and queues throttling and quota findings.
  virtual absl::StatusOr<Observation> Read() = 0;

  // Looks at every task of every fence, and queues affinities beyond its set as drift and, where moves are not seen as
  // they happen, processes that left their fence as escapes. O(tasks of the node) in the kernel; meant for every few
  // seconds. Unavailable with the reason where its probe does not run here.
  virtual absl::Status Sweep() = 0;

  // Takes what was found since the last call; also what Read and Sweep queued, of which fd() does not tell.
  virtual std::vector<KernelFinding> Poll() = 0;

  // Becomes readable (EPOLLIN) when Poll has something from the kernel; -1 where no probe can find anything.
  virtual int fd() const = 0;

  // The cgroups whose writers are remembered besides those of expected fences and above them: the host's own, which are
  // kept off exclusive CPUs too.
  virtual absl::Status RememberWriters(const std::set<uint64_t>& cgroup_ids) = 0;
  // The last process, other than this one, that wrote a control file of such a cgroup since it is remembered or since
  // ForgetWriter: who made a drift. None: nobody, or Probes() says why that is not known.
  virtual std::optional<Writer> WhoWrote(uint64_t cgroup_id, std::string_view file) const = 0;
  // The write is undone and told of: it is not named for what comes after it.
  virtual void ForgetWriter(uint64_t cgroup_id, std::string_view file) = 0;

  virtual ProbeReport Probes() const = 0;
};

}  // namespace podfence
