package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	kubeletsources "k8s.io/kubernetes/pkg/kubelet/config"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/utils/cpuset"
)

// node is a kubelet's three managers, made and joined as container_manager_linux.go does it, and the pods on it.
type node struct {
	reference *reference
	topology  topologymanager.Manager
	cpu       cpumanager.Manager
	memory    memorymanager.Manager
	directory string

	// The managers look the containers up that they are to remove. The memory manager shares this map with the node,
	// which enters containers into it at admission; at the start of a container, the manager frees memory as well.
	memoryContainers containermap.ContainerMap

	lock sync.Mutex // the CPU manager's reconciliation reads pods from a goroutine of its own
	pods []*v1.Pod
}

func newNode(reference *reference, topology []numaNode, config config) (*node, error) {
	n := &node{reference: reference, memoryContainers: containermap.NewContainerMap()}
	info := machineInfo(topology)
	reserved, err := cpuset.Parse(config.ReservedSystemCPUs)
	if err != nil {
		return nil, err
	}
	n.directory, err = os.MkdirTemp(reference.scratch, "node-")
	if err != nil {
		return nil, err
	}
	n.topology, err = topologymanager.NewManager(reference.logger, info.Topology, config.TopologyManagerPolicy,
		config.TopologyManagerScope, config.TopologyManagerPolicyOptions)
	if err != nil {
		return nil, err
	}
	// The state is written by nothing but the operations: no reconciliation after the one at the start.
	const period = 1000 * time.Hour
	n.cpu, err = cpumanager.NewManager(reference.logger, config.CPUManagerPolicy, config.CPUManagerPolicyOptions, period,
		info, reserved, config.Reserved, n.directory, n.topology)
	if err != nil {
		return nil, err
	}
	n.topology.AddHintProvider(reference.logger, n.cpu)
	var reservations []kubeletconfig.MemoryReservation
	for _, one := range config.ReservedMemory {
		reservations = append(reservations, kubeletconfig.MemoryReservation{NumaNode: one.NUMANode, Limits: one.Limits})
	}
	n.memory, err = memorymanager.NewManager(reference.logger, config.MemoryManagerPolicy, info, config.Reserved,
		reservations, n.directory, n.topology)
	if err != nil {
		return nil, err
	}
	n.topology.AddHintProvider(reference.logger, n.memory)

	ready := kubeletsources.NewSourcesReady(func(sets.Set[string]) bool { return true })
	err = n.cpu.Start(reference.ctx, n.activePods, ready, nothingRuns{}, nothingRuns{}, containermap.NewContainerMap())
	if err != nil {
		return nil, err
	}
	err = n.memory.Start(reference.ctx, n.activePods, ready, nothingRuns{}, nothingRuns{}, n.memoryContainers)
	return n, err
}

func (n *node) close() {
	os.RemoveAll(n.directory)
}

func (n *node) activePods() []*v1.Pod {
	n.lock.Lock()
	defer n.lock.Unlock()
	return append([]*v1.Pod(nil), n.pods...)
}

// admit lets the topology manager decide on a pod, which is active meanwhile, as it is in the kubelet. A refused pod is
// removed at once; the kubelet does that before it looks at the next pod.
func (n *node) admit(pod *v1.Pod) (lifecycle.PodAdmitResult, time.Duration, error) {
	others := n.activePods()
	n.lock.Lock()
	n.pods = append(n.pods, pod)
	n.lock.Unlock()

	attributes := &lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others, Operation: lifecycle.AddOperation}
	began := time.Now()
	result := n.topology.Admit(n.reference.ctx, attributes)
	took := time.Since(began)
	if !result.Admit {
		return result, took, n.remove(pod)
	}
	return result, took, nil
}

// start is what the kubelet does before a container starts (internal_container_lifecycle.go).
func (n *node) start(pod *v1.Pod, container *v1.Container) {
	id := containerID(pod, container)
	n.cpu.AddContainer(n.reference.logger, pod, container, id)
	n.memory.AddContainer(n.reference.logger, pod, container, id)
	n.topology.AddContainer(n.reference.logger, pod, container, id)
}

// remove takes a pod and all that it holds from the node. The kubelet's own sweep over containers without a pod does
// the same in an order that differs from run to run; here it is the pod's.
func (n *node) remove(pod *v1.Pod) error {
	for _, container := range containers(pod) {
		id := containerID(pod, container)
		n.cpu.AddContainer(n.reference.logger, pod, container, id)
		n.memoryContainers.Add(string(pod.UID), container.Name, id)
		if err := n.cpu.RemoveContainer(n.reference.logger, id); err != nil {
			return err
		}
		if err := n.memory.RemoveContainer(n.reference.logger, id); err != nil {
			return err
		}
		if err := n.topology.RemoveContainer(n.reference.logger, id); err != nil {
			return err
		}
	}
	n.lock.Lock()
	defer n.lock.Unlock()
	for i := range n.pods {
		if n.pods[i].UID == pod.UID {
			n.pods = append(n.pods[:i], n.pods[i+1:]...)
			return nil
		}
	}
	return fmt.Errorf("pod %s is not on the node", pod.UID)
}

// pod is the active pod with this UID, nil if there is none.
func (n *node) pod(uid string) *v1.Pod {
	for _, pod := range n.activePods() {
		if string(pod.UID) == uid {
			return pod
		}
	}
	return nil
}

// containers are a pod's init containers and then the others, each in the pod's order.
func containers(pod *v1.Pod) []*v1.Container {
	var all []*v1.Container
	for i := range pod.Spec.InitContainers {
		all = append(all, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		all = append(all, &pod.Spec.Containers[i])
	}
	return all
}

func containerID(pod *v1.Pod, container *v1.Container) string {
	return string(pod.UID) + "/" + container.Name
}

// nothingRuns is a container runtime without containers and a source of pod statuses without pods.
type nothingRuns struct{}

func (nothingRuns) GetPodStatus(types.UID) (v1.PodStatus, bool) {
	return v1.PodStatus{}, false
}

func (nothingRuns) UpdateContainerResources(context.Context, string, *runtimeapi.ContainerResources) error {
	return nil
}
