package main

import "github.com/google/cadvisor/lib/model"

// machineInfo is the topology as cAdvisor would have told it to the kubelet, which takes no notice of cores' ids.
func machineInfo(nodes []numaNode) *model.MachineInfo {
	info := &model.MachineInfo{}
	sockets := map[int]bool{}
	for _, node := range nodes {
		info.MemoryCapacity += node.Memory
		told := model.Node{Id: node.ID, Memory: node.Memory, Distances: node.Distances}
		for _, pages := range node.HugePages {
			told.HugePages = append(told.HugePages, model.HugePagesInfo{PageSize: pages.SizeKB, NumPages: pages.Count})
		}
		for _, core := range node.Cores {
			sockets[core.Socket] = true
			info.NumCores += len(core.Threads) // cAdvisor's "cores" are logical CPUs
			info.NumPhysicalCores++
			toldCore := model.Core{Threads: core.Threads, SocketID: core.Socket}
			if core.L3 != nil {
				toldCore.UncoreCaches = []model.Cache{{Id: *core.L3, Level: 3, Type: "Unified"}}
			}
			told.Cores = append(told.Cores, toldCore)
		}
		info.Topology = append(info.Topology, told)
	}
	info.NumSockets = len(sockets)
	return info
}
