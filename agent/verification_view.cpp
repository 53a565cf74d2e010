#include "agent/verification_view.h"

#include "agent/core/text.h"
#include "agent/server/snapshot_json.h"

namespace podfence {
namespace {

using nlohmann::json;

std::string Count(size_t count, std::string_view one) { return Cat(count, " ", one, count == 1 ? "" : "s"); }

std::string RenderFaults(const Verification& verification, const Terminal& terminal) {
  Table table({{"Finding"}, {"Where"}, {"What"}});
  for (const FindingView& fault : verification.findings) {
    std::string where = fault.pod.empty() ? "node" : fault.pod;
    if (!fault.container.empty()) absl::StrAppend(&where, " ", fault.container);
    table.AddRow({Table::Cell(fault.kind, Colour::kRed), where, fault.message});
  }
  return table.Render(terminal);
}

std::string RenderNotRunning(const Verification& verification, const Terminal& terminal) {
  Table table({{"Pod"}, {"Container"}});
  for (const Verification::NotRunning& each : verification.not_running) table.AddRow({each.pod, each.container});
  return table.Render(terminal);
}

std::string RenderUnknown(const Verification& verification, const Terminal& terminal) {
  Table table({{"What"}, {"Why"}});
  for (const Unseen& unseen : verification.unknown) {
    table.AddRow({Table::Cell(unseen.what, Colour::kYellow), unseen.reason});
  }
  return table.Render(terminal);
}

std::string LastLine(const Verification& verification) {
  const std::string verified = Cat("verified ", Count(verification.containers, "container"), ": ");
  const std::string unseen = Cat(Count(verification.unknown.size(), "thing"), " could not be looked at");
  if (!verification.findings.empty()) {
    return Cat(verified, Count(verification.findings.size(), "finding"),
               verification.unknown.empty() ? "" : Cat("; ", unseen));
  }
  return Cat(verified, verification.unknown.empty() ? "clean" : Cat("unknown: ", unseen));
}

}  // namespace

std::string RenderVerification(const Verification& verification, const Terminal& terminal) {
  std::string text;
  AddSection(text, "Findings", RenderFaults(verification, terminal), terminal);
  AddSection(text, "Not running", RenderNotRunning(verification, terminal), terminal);
  AddSection(text, "Not known", RenderUnknown(verification, terminal), terminal);
  if (!text.empty()) text = Cat(text.substr(1), "\n");  // the first section needs no blank line above it
  static constexpr Colour kColours[] = {Colour::kGreen, Colour::kRed, Colour::kPlain, Colour::kYellow};
  return Cat(text, Paint(LastLine(verification), kColours[verification.ExitCode()], terminal), "\n");
}

json VerificationToJson(const Verification& verification) {
  json findings = json::array();
  for (const FindingView& finding : verification.findings) findings.push_back(FindingToJson(finding));
  json unknown = json::array();
  for (const Unseen& unseen : verification.unknown) {
    unknown.push_back({{"what", unseen.what}, {"reason", unseen.reason}});
  }
  json not_running = json::array();
  for (const Verification::NotRunning& each : verification.not_running) {
    not_running.push_back({{"pod", each.pod}, {"container", each.container}});
  }
  return {{"result", std::string(verification.Result())},
          {"containers", verification.containers},
          {"findings", std::move(findings)},
          {"unknown", std::move(unknown)},
          {"not_running", std::move(not_running)}};
}

}  // namespace podfence
