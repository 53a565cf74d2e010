#pragma once

#include <sys/types.h>

#include <istream>
#include <string>
#include <string_view>

namespace podfence {

// In a text of /proc/net/unix: how many connections the listener on `path` has accepted. Their sockets carry its path.
int CountAccepted(std::istream& text, std::string_view path);

// How many plugins besides the agent's are connected to the runtime's NRI socket, of those that /proc shows: without
// the host's PID namespace none. agent: the process of the agent that runs, 0 where none does.
int CountOtherPlugins(const std::string& proc, const std::string& nri_socket, pid_t agent);

// The process of the agent whose state directory this is; 0: none runs.
pid_t FindAgent(const std::string& proc, const std::string& state_directory);

}  // namespace podfence
