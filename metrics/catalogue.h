#pragma once

// metrics/ turns a Snapshot into the Prometheus exposition. The catalogue is the one list of every series: its name,
// type, help and where its values come from. Names resource_manager_* and their labels are the reference's
// (Kubernetes 1.36, KEP-5526); everything else is podfence_*, in base units, with bounded labels: no cpuset, container
// id or pid is ever a label, and series of single containers exist only where perPodMetrics is set.

#include <prometheus/metric_family.h>

#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>

#include "agent/server/snapshot.h"

namespace podfence {

// The samples of one family while a scrape is answered.
class Samples {
 public:
  explicit Samples(prometheus::MetricFamily& family) : family_(family) {}
  using Labels = std::initializer_list<std::pair<const char*, std::string_view>>;
  // Of a counter or a gauge.
  void Add(double value, Labels labels = {});
  // Of a histogram. One without values yet has all its buckets.
  void Add(const Histogram& histogram, Labels labels = {});

 private:
  prometheus::ClientMetric& Sample(Labels labels);

  prometheus::MetricFamily& family_;
};

struct MetricDefinition {
  const char* name;
  prometheus::MetricType type;  // Counter, Gauge or Histogram
  const char* help;
  void (*collect)(const Snapshot&, Samples&);
};

// Every series of the agent, in the order of the exposition.
std::span<const MetricDefinition> Catalogue();

}  // namespace podfence
