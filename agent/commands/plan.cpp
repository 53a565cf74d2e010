#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "agent/allocator/allocator.h"
#include "agent/commands/commands.h"
#include "agent/commands/decision_view.h"
#include "agent/commands/node_map.h"
#include "agent/commands/policy_flags.h"
#include "agent/core/text.h"
#include "agent/pods/defaults.h"
#include "agent/pods/manifest.h"
#include "agent/pods/validation.h"
#include "agent/server/decision_json.h"
#include "agent/state/adopt.h"
#include "agent/state/store.h"

namespace podfence {
namespace {

using nlohmann::json;

struct PlanFlags {
  PolicyFlags policy;
  std::string state_file;
  std::vector<std::string> manifests;
  std::string output = "text";
};

// What became of the pods, in the order they were named.
struct Plan {
  std::vector<json> decisions;
  std::vector<json> invalid;  // {file, pod, problems}; pod is empty where the file could not be read
  size_t admitted = 0;
  size_t refused = 0;
};

absl::StatusOr<Allocator> MakeAllocator(const PlanFlags& flags) {
  const absl::StatusOr<Config> config = ConfigFromFlags(flags.policy);
  if (!config.ok()) return config.status();
  return AllocatorFor(*config);
}

// The node as it is: without pods, or as a checkpoint has it.
absl::StatusOr<AdoptedState> StartingState(const PlanFlags& flags, const Allocator& allocator) {
  if (flags.state_file.empty()) return AdoptedState{.state = allocator.InitialState(), .misfits = {}};
  const absl::StatusOr<NodeState> committed = ReadCheckpoint(flags.state_file);
  if (!committed.ok()) return committed.status();
  return AdoptState(*committed, allocator.InitialState(), allocator.machine(), allocator.reserved_cpus());
}

absl::StatusOr<std::vector<Pod>> ReadManifests(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  // One byte more than a document may have: the reader of documents says that it is too large.
  std::string text(DocumentLimits().bytes + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad() || (file.fail() && !file.eof())) {
    return absl::ErrnoToStatus(errno == 0 ? EIO : errno, Cat("read manifest ", path));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return LoadManifests(text, path);
}

void AddInvalid(const std::string& file, std::string pod, json problems, Plan& plan) {
  plan.invalid.push_back({{"file", file}, {"pod", std::move(pod)}, {"problems", std::move(problems)}});
}

// Decides on one pod as the agent does, and brings what that changes into state.
void PlanPod(const Allocator& allocator, const std::string& file, Pod parsed, NodeState& state, Plan& plan) {
  DefaultPod(parsed);
  if (const std::vector<PodProblem> problems = CheckPod(parsed); !problems.empty()) {
    json list = json::array();
    for (const PodProblem& problem : problems) list.push_back(problem.Full());
    AddInvalid(file, parsed.FullName(), std::move(list), plan);
    return;
  }
  const auto pod = std::make_shared<const Pod>(std::move(parsed));
  Trace trace;
  const AdmitResult result = allocator.Admit(state, pod, {}, &trace);
  plan.decisions.push_back(DecisionToJson(*pod, result, trace));
  if (const auto* change = std::get_if<StateChange>(&result.outcome)) {
    Apply(*change, state);
    ++plan.admitted;
    return;
  }
  if (result.books_after_refusal) Apply(*result.books_after_refusal, state);
  ++plan.refused;
}

Plan MakePlan(const PlanFlags& flags, const Allocator& allocator, NodeState& state) {
  Plan plan;
  for (const std::string& file : flags.manifests) {
    absl::StatusOr<std::vector<Pod>> pods = ReadManifests(file);
    if (!pods.ok()) {
      AddInvalid(file, "", json::array({std::string(ToStd(pods.status().message()))}), plan);
      continue;
    }
    for (Pod& pod : *pods) PlanPod(allocator, file, std::move(pod), state, plan);
  }
  return plan;
}

json PlanToJson(const Plan& plan) {
  return {{"pods", plan.decisions},
          {"invalid", plan.invalid},
          {"summary", {{"admitted", plan.admitted}, {"refused", plan.refused}, {"invalid", plan.invalid.size()}}}};
}

std::string Summary(const Plan& plan) {
  const size_t pods = plan.admitted + plan.refused;
  std::string text = Cat(plan.admitted, " of ", pods, pods == 1 ? " pod fits" : " pods fit");
  if (!plan.invalid.empty()) absl::StrAppend(&text, "; ", plan.invalid.size(), " invalid, see above");
  return text + "\n";
}

std::string RenderPlan(const Plan& plan, const Allocator& allocator, const NodeState& state, const Terminal& terminal) {
  std::string text;
  for (const json& decision : plan.decisions) absl::StrAppend(&text, RenderDecision(decision, terminal), "\n");
  absl::StrAppend(&text, RenderNodeMap(allocator.machine(), state, allocator.reserved_cpus(), terminal), "\n",
                  Paint(Summary(plan), plan.refused == 0 ? Colour::kGreen : Colour::kRed, terminal));
  return text;
}

void Complain(const Plan& plan, std::ostream& err) {
  for (const json& invalid : plan.invalid) {
    const std::string pod = invalid["pod"].get<std::string>();
    const std::string where = pod.empty() ? "" : Cat(invalid["file"].get<std::string>(), ": pod ", pod, ": ");
    for (const json& problem : invalid["problems"]) {
      err << "podfence plan: " << where << problem.get<std::string>() << '\n';
    }
  }
}

int RunPlan(const PlanFlags& flags, Invocation& invocation) {
  const auto fail = [&](const absl::Status& status) {
    invocation.err << "podfence plan: " << ToStd(status.message()) << '\n';
    return 2;
  };
  const absl::StatusOr<Allocator> allocator = MakeAllocator(flags);
  if (!allocator.ok()) return fail(allocator.status());
  absl::StatusOr<AdoptedState> start = StartingState(flags, *allocator);
  if (!start.ok()) return fail(start.status());
  for (const std::string& misfit : start->misfits) invocation.err << "podfence plan: " << misfit << '\n';

  const Plan plan = MakePlan(flags, *allocator, start->state);
  Complain(plan, invocation.err);
  if (flags.output == "json") {
    invocation.out << PlanToJson(plan).dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  } else if (!plan.decisions.empty()) {
    invocation.out << RenderPlan(plan, *allocator, start->state, DetectTerminal(STDOUT_FILENO));
  }
  if (!plan.invalid.empty()) return 2;
  return plan.refused == 0 ? 0 : 1;
}

}  // namespace

void AddPlanCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("plan", "Show whether pods would fit and where, without touching anything");
  const auto flags = std::make_shared<PlanFlags>();
  command->add_option("POD.yaml", flags->manifests, "Manifests, each of one or more pods; decided on in this order")
      ->required();
  AddPolicyFlags(*command, flags->policy);
  command->add_option("--state", flags->state_file, "Checkpoint of an agent: the pods that are there already")
      ->type_name("FILE");
  command->add_option("-o,--output", flags->output, "text, or json: every decision with its trace, and a summary")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->footer(
      "Decides as the agent would, each pod beside those before it.\n\n"
      "Examples:\n"
      "  podfence plan database.yaml\n"
      "  podfence plan --machine \"numa:2(memory=64GiB) core:8 pu:2\" --topology-manager-scope pod *.yaml\n"
      "  podfence plan --config /etc/podfence/podfence.yaml --state /var/lib/podfence/state.json database.yaml\n"
      "  podfence plan --output json *.yaml | jq '.pods[] | select(.admitted | not) | .remedy'\n"
      "Exit status: 0 all fit, 1 some do not, 2 bad input (the other pods are shown all the same).");
  command->callback([flags, &invocation] { invocation.exit_code = RunPlan(*flags, invocation); });
}

}  // namespace podfence
