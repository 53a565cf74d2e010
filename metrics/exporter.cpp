#include "metrics/exporter.h"

#include <prometheus/text_serializer.h>

#include <vector>

#include "metrics/catalogue.h"

namespace podfence {

std::string RenderMetrics(const Snapshot& snapshot, const ProcessUsage& process) {
  std::vector<prometheus::MetricFamily> families;
  const auto begin = [&](const char* name, const char* help, prometheus::MetricType type) -> auto& {
    prometheus::MetricFamily& family = families.emplace_back();
    family.name = name;
    family.help = help;
    family.type = type;
    return family;
  };
  for (const MetricDefinition& definition : Catalogue()) {
    prometheus::MetricFamily& family = begin(definition.name, definition.help, definition.type);
    Samples samples(family);
    definition.collect(snapshot, samples);
    if (family.metric.empty()) families.pop_back();
  }
  using prometheus::MetricType;
  Samples(begin("process_cpu_seconds_total", "CPU time of the agent.", MetricType::Counter)).Add(process.cpu_seconds);
  Samples(begin("process_resident_memory_bytes", "Resident memory of the agent.", MetricType::Gauge))
      .Add(static_cast<double>(process.resident_bytes));
  Samples(begin("process_open_fds", "Open file descriptors of the agent.", MetricType::Gauge))
      .Add(static_cast<double>(process.open_fds));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace podfence
