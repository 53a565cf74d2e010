#include <limits>
#include <string>
#include <utility>

#include "metrics/catalogue.h"

namespace podfence {

prometheus::ClientMetric& Samples::Sample(Labels labels) {
  prometheus::ClientMetric& metric = family_.metric.emplace_back();
  for (const auto& [name, text] : labels) metric.label.push_back({name, std::string(text)});
  return metric;
}

void Samples::Add(double value, Labels labels) {
  prometheus::ClientMetric& metric = Sample(labels);
  if (family_.type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
}

void Samples::Add(const Histogram& histogram, Labels labels) {
  prometheus::ClientMetric::Histogram& filled = Sample(labels).histogram;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    filled.sample_count += histogram.counts[i];
    const bool last = i == histogram.bounds.size();
    filled.bucket.push_back({.cumulative_count = filled.sample_count,
                             .upper_bound = last ? std::numeric_limits<double>::infinity() : histogram.bounds[i]});
  }
  filled.sample_sum = histogram.sum;
}

}  // namespace podfence
