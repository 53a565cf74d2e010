#include "agent/commands/decision_view.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "agent/core/numa_set.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

using nlohmann::json;
using enum Table::Align;

constexpr size_t kMaxShownHints = 8;
constexpr size_t kMaxShownNotes = 32;

std::string Text(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool Flag(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

uint64_t AsNumber(const json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  return value.is_number_integer() ? static_cast<uint64_t>(std::max<int64_t>(value.get<int64_t>(), 0)) : 0;
}

uint64_t Number(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() ? AsNumber(*found) : 0;
}

// An array or an object; an empty array where there is none.
const json& Items(const json& object, const char* key) {
  static const json kNone = json::array();
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_structured() ? *found : kNone;
}

// "0", "0-1"; "any" of an empty set.
std::string Nodes(const json& object, const char* key) {
  NumaSet nodes;
  for (const json& id : Items(object, key)) {
    if (id.is_number_integer() && AsNumber(id) <= NumaSet::kMaxNode) nodes.Add(static_cast<int>(AsNumber(id)));
  }
  return nodes.empty() ? "any" : nodes.ToString();
}

// Untrusted text in lines of the terminal's width.
std::string Paragraph(std::string text, std::string_view indent, Colour colour, const Terminal& terminal) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 127; }, '?');
  std::string paragraph;
  for (const std::string& line : Wrap(Cat(indent, text), terminal.width)) {
    absl::StrAppend(&paragraph, Paint(line, colour, terminal), "\n");
  }
  return paragraph;
}

std::string Amount(std::string_view resource, uint64_t amount) {
  return resource == "cpu" ? Cat(amount) : FormatBytes(amount);
}

// "12.0 GiB on NUMA node 0", a kind of page at a time.
std::string Memory(const json& blocks) {
  std::vector<std::string> parts;
  for (const json& block : blocks) {
    const std::string type = Text(block, "type");
    parts.push_back(Cat(FormatBytes(Number(block, "size")), type == "memory" ? "" : Cat(" ", type), " on NUMA ",
                        Nodes(block, "numa")));
  }
  return parts.empty() ? "any" : absl::StrJoin(parts, ", ");
}

// Whose limits hold it, which says to whom its CPUs belong (Isolation).
std::string Held(const json& container) {
  const std::string isolation = Text(container, "cpu_isolation");
  if (isolation == "container") return "its own";
  if (isolation == "pod") return "the pod's";
  return "the node's";
}

std::string Containers(const json& decision, const Terminal& terminal) {
  Table table({{"  Container"}, {"CPUs"}, {"Whose"}, {"Memory"}});
  const std::string bubble = Text(decision, "cpus");
  const json& blocks = Items(decision, "memory");
  if (!bubble.empty() || !blocks.empty()) {
    table.AddRow({{"  (the whole pod)", Colour::kDim}, bubble.empty() ? "any" : bubble, "", Memory(blocks)});
  }
  for (const json& container : Items(decision, "containers")) {
    const std::string cpus = Text(container, "cpus");
    const bool own = Text(container, "cpu_isolation") == "container";
    table.AddRow(
        {Cat("  ", Text(container, "name")),
         cpus.empty() ? Table::Cell("shared", Colour::kDim) : Table::Cell(cpus, own ? Colour::kGreen : Colour::kPlain),
         Held(container), Memory(Items(container, "memory"))});
  }
  return table.Render(terminal);
}

// The facts are shown as a table of their own, so the sentences about them are left out of the message.
std::string Cause(const json& decision) {
  std::string message = Text(decision, "message");
  if (const std::string tail = Cat(" ", Text(decision, "remedy"), "."); message.ends_with(tail)) {
    message.resize(message.size() - tail.size());
  }
  const size_t facts = message.rfind(" Free: ");
  if (facts != std::string::npos && !Items(decision, "nodes").empty()) message.resize(facts);
  return message;
}

std::string Shortages(const json& decision, const Terminal& terminal) {
  Table table({{"  Resource"}, {"NUMA node", kRight}, {"Asked", kRight}, {"Free", kRight}, {"Allocatable", kRight}});
  const json& asked = Items(decision, "asked");
  for (const json& node : Items(decision, "nodes")) {
    const std::string type = Text(node, "type");
    const uint64_t amount = Number(asked, type.c_str());
    const uint64_t free = Number(node, "free");
    table.AddRow({Cat("  ", type == "cpu" ? "CPUs" : type), Cat(Number(node, "numa")), Amount(type, amount),
                  Table::Cell(Amount(type, free), free < amount ? Colour::kRed : Colour::kGreen),
                  Amount(type, Number(node, "capacity"))});
  }
  return table.Render(terminal);
}

// "{0} {1} and 5 more"
std::string HintList(const json& hints, bool preferred, uint64_t total) {
  std::vector<std::string> shown;
  size_t count = 0;
  for (const json& hint : hints) {
    if (Flag(hint, "preferred") != preferred) continue;
    if (count++ < kMaxShownHints) shown.push_back(Cat("{", Nodes(hint, "numa"), "}"));
  }
  // What the agent left out of the list may be of either kind.
  const bool cut = total > hints.size();
  if (shown.empty()) return cut ? "none listed" : "none";
  const size_t more = count - shown.size();
  return Cat(absl::StrJoin(shown, " "), more > 0 ? Cat(" and ", more, " more") : "", cut ? " …" : "");
}

std::string Hints(const json& step, const Terminal& terminal) {
  Table table({{"  Hints for"}, {"Count", kRight}, {"Preferred"}, {"Others"}});
  for (const json& shown : Items(step, "hints")) {
    const uint64_t total = Number(shown, "total");
    const std::string name = Cat("  ", Text(shown, "resource"));
    if (Flag(shown, "no_preference")) {
      table.AddRow({name, "-", {"no preference", Colour::kDim}});
    } else if (total == 0) {
      table.AddRow({name, "0", {"no set of NUMA nodes can serve it", Colour::kRed}});
    } else {
      const json& hints = Items(shown, "hints");
      table.AddRow({name, Cat(total), HintList(hints, true, total), HintList(hints, false, total)});
    }
  }
  return table.Render(terminal);
}

std::string Step(const json& step, const Terminal& terminal) {
  const std::string container = Text(step, "container");
  std::string text =
      Paragraph(container.empty() ? "The whole pod" : Cat("Container ", container), "", Colour::kBold, terminal);
  const std::string hints = Hints(step, terminal);
  const bool admitted = Flag(step, "admitted");
  const std::string merged = Nodes(step, "merged");
  text += hints;
  text += Paragraph(Cat(hints.empty() ? "No hints: " : "Merged: ", merged == "any" ? "any NUMA node" : "NUMA " + merged,
                        Flag(step, "preferred") ? ", preferred" : ", not preferred",
                        admitted ? "; the policy admits it" : "; the policy refuses it"),
                    "  ", admitted ? Colour::kPlain : Colour::kRed, terminal);
  const json& notes = Items(step, "notes");
  size_t count = 0;
  for (const json& note : notes) {
    if (count++ == kMaxShownNotes) break;
    if (note.is_string()) text += Paragraph(note.get<std::string>(), "  ", Colour::kPlain, terminal);
  }
  if (notes.size() > kMaxShownNotes) absl::StrAppend(&text, "  and ", notes.size() - kMaxShownNotes, " notes more\n");
  return text;
}

}  // namespace

std::string RenderDecision(const json& decision, const Terminal& terminal) {
  const std::string pod = Text(decision, "pod");
  if (Flag(decision, "admitted")) {
    return Cat(Paragraph(Cat(pod, ": fits"), "", Colour::kGreen, terminal), Containers(decision, terminal));
  }
  std::string text = Paragraph(Cat(pod, ": does not fit: ", Text(decision, "reason")), "", Colour::kRed, terminal);
  text += Paragraph(Cause(decision), "  ", Colour::kPlain, terminal);
  text += Shortages(decision, terminal);
  if (const std::string remedy = Text(decision, "remedy"); !remedy.empty()) {
    text += Paragraph(Cat(remedy, "."), "  ", Colour::kYellow, terminal);
  }
  return text;
}

std::string RenderTrace(const json& decision, const Terminal& terminal) {
  std::vector<std::string> steps;
  for (const json& step : Items(decision, "steps")) steps.push_back(Step(step, terminal));
  return absl::StrJoin(steps, "\n");
}

}  // namespace podfence
