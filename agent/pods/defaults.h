#pragma once

#include "agent/core/pod.h"

namespace podfence {

// Fills in what a Pod leaves open, as the kubelet does for a pod it reads itself (pkg/apis/core/v1/defaults.go, with
// the gates of Kubernetes 1.37 at their defaults):
// - requests of a container or init container that are not given become its limits, resource by resource; all amounts
//   are rounded up to thousandths;
// - the pod-level budget stays as written: since 1.37 completing it is the API server's part
//   (PodLevelResourcesFixDefaulting), done before a pod reaches a node;
// - a negative termination grace period becomes one second;
// - a pod without uid gets one from its content, as static pods do (pkg/kubelet/config/common.go): FNV-1a, 128 bits, in
//   hexadecimal. Unlike there the hash is over PodToJson of the pod as written, so comments, layout, spelling of
//   quantities and fields Podfence does not keep do not change the identity, nor do the node's name and the file's;
// - the QoS class is worked out anew (ComputeQos).
// Doing it twice changes nothing more.
void DefaultPod(Pod& pod);

// The QoS class (pkg/apis/core/v1/helper/qos ComputePodQOS): from the pod-level budget where there is one, else from
// all containers.
QosClass ComputeQos(const Pod& pod);

}  // namespace podfence
