package main

import (
	"fmt"
	"strings"

	"k8s.io/component-base/metrics"
	kubeletmetrics "k8s.io/kubernetes/pkg/kubelet/metrics"
)

// counters are the three counters of the resource managers, in a registry of their own.
type counters struct {
	registry metrics.KubeRegistry
}

func newCounters() *counters {
	registry := metrics.NewKubeRegistry()
	registry.MustRegister(kubeletmetrics.ResourceManagerAllocationsTotal,
		kubeletmetrics.ResourceManagerAllocationErrorsTotal, kubeletmetrics.ResourceManagerContainerAssignments)
	return &counters{registry}
}

func (c *counters) reset() {
	kubeletmetrics.ResourceManagerAllocationsTotal.Reset()
	kubeletmetrics.ResourceManagerAllocationErrorsTotal.Reset()
	kubeletmetrics.ResourceManagerContainerAssignments.Reset()
}

// grown is what the counters grew by since reset, as "name{label=value,…}", without those that did not grow.
func (c *counters) grown() (map[string]uint64, error) {
	families, err := c.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering the managers' counters: %w", err)
	}
	grown := map[string]uint64{}
	for _, family := range families {
		name := strings.TrimSuffix(strings.TrimPrefix(family.GetName(), "kubelet_"), "_total")
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			if value := metric.GetCounter().GetValue(); value != 0 {
				grown[name+"{"+strings.Join(labels, ",")+"}"] = uint64(value)
			}
		}
	}
	return grown, nil
}
