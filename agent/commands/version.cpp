#include "agent/commands/version.h"

#include <bpf/libbpf.h>
#include <hwloc.h>
#include <sys/utsname.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "agent/commands/commands.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

std::string HwlocVersion() {
  const unsigned version = hwloc_get_api_version();
  return Cat(version >> 16, ".", (version >> 8) & 0xff, ".", version & 0xff);
}

std::string KernelVersion() {
  utsname name = {};
  if (uname(&name) != 0) return "unknown";
  return Cat(name.sysname, " ", name.release, " ", name.machine);
}

int RunVersion(const std::string& output, Invocation& invocation) {
  const std::vector<std::pair<const char*, std::string>> facts = {
      {"podfence", std::string(PodfenceVersion())},
      {"kernel", KernelVersion()},
      {"libbpf", libbpf_version_string()},
      {"hwloc_api", HwlocVersion()},
      {"compiler", __VERSION__},
  };
  if (output == "json") {
    nlohmann::ordered_json json;
    for (const auto& [name, value] : facts) json[name] = value;
    invocation.out << json.dump(2) << '\n';
    return 0;
  }
  for (const auto& [name, value] : facts) invocation.out << name << ' ' << value << '\n';
  return 0;
}

}  // namespace

std::string_view PodfenceVersion() { return PODFENCE_VERSION; }

void AddVersionCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("version", "Show the version of podfence, of its libraries and of the kernel");
  const auto output = std::make_shared<std::string>("text");
  command->add_option("-o,--output", *output, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  podfence version\n"
      "  podfence version --output json");
  command->callback([output, &invocation] { invocation.exit_code = RunVersion(*output, invocation); });
}

}  // namespace podfence
