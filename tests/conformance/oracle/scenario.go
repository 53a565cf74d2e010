package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	memorystate "k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"
	"k8s.io/utils/cpuset"
)

// decide runs a scenario on the managers.
func (r *reference) decide(inputs []byte) (*decisions, error) {
	var given scenario
	if err := json.Unmarshal(inputs, &given); err != nil {
		return nil, err
	}
	node, err := newNode(r, given.Topology, given.Config)
	if err != nil {
		return &decisions{ConfigError: err.Error()}, nil
	}
	defer node.close()

	last := node.state()
	decided := &decisions{Start: last}
	for i, op := range given.Ops {
		step, err := node.step(op)
		if err != nil {
			return nil, fmt.Errorf("ops[%d]: %w", i, err)
		}
		if now := node.state(); !reflect.DeepEqual(now, last) {
			step.State = now
			last = now
		}
		decided.Steps = append(decided.Steps, step)
	}
	return decided, nil
}

func (n *node) step(op op) (step, error) {
	if op.Op == "admit" {
		if op.Pod == nil {
			return step{}, fmt.Errorf("admit without a pod")
		}
		return n.stepAdmit(op.Pod)
	}
	pod := n.pod(op.UID)
	switch {
	case op.Op != "start" && op.Op != "remove":
		return step{}, fmt.Errorf("unknown op %q: it is admit, start or remove", op.Op)
	case pod == nil: // it was refused
		return step{}, nil
	case op.Op == "remove":
		return step{}, n.remove(pod)
	}
	for _, container := range containers(pod) {
		if container.Name == op.Container {
			n.start(pod, container)
			return step{}, nil
		}
	}
	return step{}, fmt.Errorf("pod %s has no container %q", op.UID, op.Container)
}

func (n *node) stepAdmit(written *v1.Pod) (step, error) {
	pod, invalid, err := throughAPI(written)
	if err != nil || invalid != nil {
		return step{Invalid: invalid}, err
	}
	n.reference.counters.reset()
	result, took, err := n.admit(pod)
	if err != nil {
		return step{}, err
	}
	grown, err := n.reference.counters.grown()
	return step{
		Admitted:    &result.Admit,
		QOS:         qos.GetPodQOS(pod),
		Reason:      result.Reason,
		Message:     result.Message,
		Metrics:     grown,
		ReferenceNS: took.Nanoseconds(),
	}, err
}

// state is what the managers hold now, and where that puts every container.
func (n *node) state() *state {
	cpus, memory := n.cpu.State(), n.memory.State()
	now := &state{
		SharedCPUs: cpus.GetDefaultCPUSet().String(),
		CPUs:       map[string]map[string]string{},
		PodCPUs:    map[string]string{},
		Memory:     map[string]map[string][]block{},
		PodMemory:  map[string][]block{},
		Nodes:      map[int]memoryNode{},
		Containers: map[string]map[string]placement{},
	}
	for uid, assigned := range cpus.GetCPUAssignments() {
		now.CPUs[uid] = map[string]string{}
		for container, set := range assigned {
			now.CPUs[uid][container] = set.String()
		}
	}
	for uid, entry := range cpus.GetPodCPUAssignments() {
		now.PodCPUs[uid] = entry.CPUSet.String()
	}
	for uid, assigned := range memory.GetMemoryAssignments() {
		now.Memory[uid] = map[string][]block{}
		for container, given := range assigned {
			now.Memory[uid][container] = blocks(given)
		}
	}
	for uid, entry := range memory.GetPodMemoryAssignments() {
		now.PodMemory[uid] = blocks(entry.MemoryBlocks)
	}
	for id, told := range memory.GetMachineState() {
		of := memoryNode{told.NumberOfAssignments, told.Cells, map[v1.ResourceName]uint64{}, map[v1.ResourceName]uint64{}}
		for resource, table := range told.MemoryMap {
			of.Free[resource] = table.Free
			of.Reserved[resource] = table.Reserved
		}
		now.Nodes[id] = of
	}
	for _, pod := range n.activePods() {
		placed := map[string]placement{}
		for _, container := range containers(pod) {
			placed[container.Name] = n.placement(pod, container)
		}
		now.Containers[string(pod.UID)] = placed
	}
	return now
}

// placement is what the container is created with (internal_container_lifecycle_linux.go), and how isolated that is.
func (n *node) placement(pod *v1.Pod, container *v1.Container) placement {
	mems := n.memory.GetMemoryNUMANodes(n.reference.logger, pod, container)
	return placement{
		CPUs:            n.cpu.GetCPUAffinity(string(pod.UID), container.Name).String(),
		Mems:            cpuset.New(mems.UnsortedList()...).String(),
		CPUIsolation:    string(n.cpu.GetResourceIsolationLevel(pod, container)),
		MemoryIsolation: string(n.memory.GetResourceIsolationLevel(pod, container)),
	}
}

// blocks are in the order of their types: the managers walk a map.
func blocks(given []memorystate.Block) []block {
	all := []block{}
	for _, one := range given {
		all = append(all, block{one.NUMAAffinity, one.Type, one.Size})
	}
	slices.SortStableFunc(all, func(a, b block) int { return strings.Compare(string(a.Type), string(b.Type)) })
	return all
}
