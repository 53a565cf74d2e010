#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "agent/commands/api_client.h"
#include "agent/commands/commands.h"
#include "agent/commands/decision_view.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

struct ExplainFlags {
  std::string pod;
  std::string server = kDefaultServer;
  std::string output = "text";
};

// RFC 3986: everything but the unreserved characters as %XX.
std::string PercentEncode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte < 128 && std::isalnum(byte) != 0) || std::string_view("-._~").find(c) != text.npos;
    if (plain) {
      encoded += c;
    } else {
      char escape[4];
      std::snprintf(escape, sizeof(escape), "%%%02X", byte);
      encoded += escape;
    }
  }
  return encoded;
}

absl::StatusOr<nlohmann::json> FetchDecision(const ExplainFlags& flags) {
  const std::string path = Cat("/api/v1/explain?pod=", PercentEncode(flags.pod));
  const absl::StatusOr<std::string> body = FetchFromAgent(flags.server, path);
  if (!body.ok()) return body.status();
  nlohmann::json decision = nlohmann::json::parse(*body, nullptr, false);
  const bool known = decision.is_object() && decision.contains("admitted") && decision["admitted"].is_boolean();
  if (!known) {
    return absl::InvalidArgumentError(
        Cat("GET ", flags.server, path, ": the answer is not a decision: is this a podfence agent of this version?"));
  }
  return decision;
}

int RunExplain(const ExplainFlags& flags, Invocation& invocation) {
  const absl::StatusOr<nlohmann::json> decision = FetchDecision(flags);
  if (!decision.ok()) {
    invocation.err << "podfence explain: " << ToStd(decision.status().message()) << '\n';
    return 2;
  }
  if (flags.output == "json") {
    invocation.out << decision->dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  } else {
    const Terminal terminal = DetectTerminal(STDOUT_FILENO);
    invocation.out << RenderDecision(*decision, terminal);
    if (const std::string trace = RenderTrace(*decision, terminal); !trace.empty()) invocation.out << '\n' << trace;
  }
  return (*decision)["admitted"].get<bool>() ? 0 : 1;
}

}  // namespace

void AddExplainCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("explain", "Show why the agent placed a pod where it is, or refused it");
  const auto flags = std::make_shared<ExplainFlags>();
  command->add_option("POD", flags->pod, "Its name, namespace/name, or UID")->required();
  command->add_option("--server", flags->server, "Where the agent listens")->capture_default_str();
  command->add_option("-o,--output", flags->output, "text, or json: the decision as the agent's API gives it")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->footer(
      "Shows the hints of each provider, what they merged to, and the CPUs picked and why.\n\n"
      "Examples:\n"
      "  podfence explain default/database\n"
      "  podfence explain database --output json | jq .steps\n"
      "  podfence explain database --server http://node-a:9551\n"
      "Exit status: 0 it was admitted, 1 it was refused, 2 no answer could be had.");
  command->callback([flags, &invocation] { invocation.exit_code = RunExplain(*flags, invocation); });
}

}  // namespace podfence
