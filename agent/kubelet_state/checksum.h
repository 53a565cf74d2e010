#pragma once

// The checksums of the kubelet's checkpoints: FNV-1a of 32 bits over a dump of the Go value
// (checkpointmanager/checksum/checksum.go, k8s.io/utils/dump ForHash: spew's "%#v" with sorted keys and without
// addresses). The dump names Go's types and fields, so each version of the format has its own. Pure.

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/pods/document.h"

namespace podfence {

uint32_t Fnv1a(std::string_view text);

// Of the string in `data`, from version 4 of the CPU manager's and 3 of the Memory manager's on.
uint32_t DataChecksum(std::string_view data);

// What older versions hash: the whole checkpoint, its checksum 0, as the struct `type` of the package state. pods: a
// version that has podEntries. The document's kinds have been checked.
std::string DumpCpuCheckpoint(const Node& checkpoint, std::string_view type, bool pods);
std::string DumpMemoryCheckpoint(const Node& checkpoint, std::string_view type, bool pods);

}  // namespace podfence
