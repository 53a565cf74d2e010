package main

import (
	v1 "k8s.io/api/core/v1"
)

// scenario is the input of a line of scenarios or asymmetric.
type scenario struct {
	Topology []numaNode `json:"topology"`
	Config   config     `json:"config"`
	Ops      []op       `json:"ops"`
}

type numaNode struct {
	ID        int         `json:"id"`
	Memory    uint64      `json:"memory"`
	Distances []uint64    `json:"distances"`
	HugePages []hugePages `json:"hugepages"`
	Cores     []core      `json:"cores"`
}

type hugePages struct {
	SizeKB uint64 `json:"page_size_kb"`
	Count  uint64 `json:"count"`
}

type core struct {
	Socket  int   `json:"socket"`
	L3      *int  `json:"l3"`
	Threads []int `json:"threads"`
}

type config struct {
	CPUManagerPolicy             string            `json:"cpuManagerPolicy"`
	CPUManagerPolicyOptions      map[string]string `json:"cpuManagerPolicyOptions"`
	MemoryManagerPolicy          string            `json:"memoryManagerPolicy"`
	TopologyManagerPolicy        string            `json:"topologyManagerPolicy"`
	TopologyManagerScope         string            `json:"topologyManagerScope"`
	TopologyManagerPolicyOptions map[string]string `json:"topologyManagerPolicyOptions"`
	ReservedSystemCPUs           string            `json:"reservedSystemCPUs"`
	Reserved                     v1.ResourceList   `json:"reserved"`
	ReservedMemory               []reservation     `json:"reservedMemory"`
}

type reservation struct {
	NUMANode int32           `json:"numaNode"`
	Limits   v1.ResourceList `json:"limits"`
}

type op struct {
	Op        string  `json:"op"`
	Pod       *v1.Pod `json:"pod"`
	UID       string  `json:"uid"`
	Container string  `json:"container"`
}

// decisions is the "expect" of a scenario.
type decisions struct {
	ConfigError string `json:"configError,omitempty"`
	Start       *state `json:"start,omitempty"`
	Steps       []step `json:"steps,omitempty"`
}

type step struct {
	Invalid     []string          `json:"invalid,omitempty"`
	Admitted    *bool             `json:"admitted,omitempty"`
	QOS         v1.PodQOSClass    `json:"qos,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Message     string            `json:"message,omitempty"`
	State       *state            `json:"state,omitempty"` // absent: as it was
	Metrics     map[string]uint64 `json:"metrics,omitempty"`
	ReferenceNS int64             `json:"reference_ns,omitempty"`
}

type state struct {
	SharedCPUs string                          `json:"shared_cpus"`
	CPUs       map[string]map[string]string    `json:"cpus,omitempty"`
	PodCPUs    map[string]string               `json:"pod_cpus,omitempty"`
	Memory     map[string]map[string][]block   `json:"memory,omitempty"`
	PodMemory  map[string][]block              `json:"pod_memory,omitempty"`
	Nodes      map[int]memoryNode              `json:"nodes,omitempty"`
	Containers map[string]map[string]placement `json:"containers,omitempty"`
}

type block struct {
	NUMA []int           `json:"numa"`
	Type v1.ResourceName `json:"type"`
	Size uint64          `json:"size"`
}

type memoryNode struct {
	Assignments int                        `json:"assignments"`
	Cells       []int                      `json:"cells"`
	Free        map[v1.ResourceName]uint64 `json:"free"`
	Reserved    map[v1.ResourceName]uint64 `json:"reserved"`
}

type placement struct {
	CPUs            string `json:"cpus"`
	Mems            string `json:"mems,omitempty"`
	CPUIsolation    string `json:"cpu_isolation"`
	MemoryIsolation string `json:"memory_isolation"`
}

// merge is the input of a line of merges.
type merge struct {
	Distances         [][]uint64 `json:"distances"`
	Policy            string     `json:"policy"`
	PreferClosestNUMA bool       `json:"preferClosestNuma"`
	Providers         []provider `json:"providers"`
}

// provider is what a provider of hints offers; empty: no preference.
type provider []resourceHints

type resourceHints struct {
	Resource string `json:"resource"`
	Hints    []hint `json:"hints"` // nil: no preference; empty: cannot be met
}

type hint struct {
	NUMA      []int `json:"numa"` // nil: any node
	Preferred bool  `json:"preferred"`
}

// merged is the "expect" of a merge.
type merged struct {
	hint
	Admit       bool  `json:"admit"`
	ReferenceNS int64 `json:"reference_ns,omitempty"`
}
