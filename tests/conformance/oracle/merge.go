package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/cadvisor/lib/model"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager/bitmask"
)

// merge lets a policy of the topology manager merge hints.
func (r *reference) merge(inputs []byte) (*merged, error) {
	var given merge
	if err := json.Unmarshal(inputs, &given); err != nil {
		return nil, err
	}
	policy, err := given.policy()
	if err != nil {
		return nil, err
	}
	var offered []map[string][]topologymanager.TopologyHint
	for _, provider := range given.Providers {
		hints, err := provider.hints()
		if err != nil {
			return nil, err
		}
		offered = append(offered, hints)
	}
	began := time.Now()
	best, admit := policy.Merge(r.logger, offered)
	took := time.Since(began)

	result := &merged{hint: hint{Preferred: best.Preferred}, Admit: admit, ReferenceNS: took.Nanoseconds()}
	if best.NUMANodeAffinity != nil {
		result.NUMA = best.NUMANodeAffinity.GetBits()
	}
	return result, nil
}

func (m merge) policy() (topologymanager.Policy, error) {
	var nodes []model.Node
	for id, distances := range m.Distances {
		nodes = append(nodes, model.Node{Id: id, Distances: distances})
	}
	options := topologymanager.PolicyOptions{PreferClosestNUMA: m.PreferClosestNUMA}
	info, err := topologymanager.NewNUMAInfo(nodes, options)
	if err != nil {
		return nil, err
	}
	switch m.Policy {
	case topologymanager.PolicyBestEffort:
		return topologymanager.NewBestEffortPolicy(info, options), nil
	case topologymanager.PolicyRestricted:
		return topologymanager.NewRestrictedPolicy(info, options), nil
	case topologymanager.PolicySingleNumaNode:
		return topologymanager.NewSingleNumaNodePolicy(info, options), nil
	}
	return nil, fmt.Errorf("policy %q merges no hints", m.Policy)
}

func (p provider) hints() (map[string][]topologymanager.TopologyHint, error) {
	offered := map[string][]topologymanager.TopologyHint{}
	for _, resource := range p {
		if resource.Hints == nil {
			offered[resource.Resource] = nil
			continue
		}
		hints := []topologymanager.TopologyHint{}
		for _, hint := range resource.Hints {
			told := topologymanager.TopologyHint{Preferred: hint.Preferred}
			if hint.NUMA != nil {
				mask, err := bitmask.NewBitMask(hint.NUMA...)
				if err != nil {
					return nil, fmt.Errorf("hint of %s: %w", resource.Resource, err)
				}
				told.NUMANodeAffinity = mask
			}
			hints = append(hints, told)
		}
		offered[resource.Resource] = hints
	}
	return offered, nil
}
