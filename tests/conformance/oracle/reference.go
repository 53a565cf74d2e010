package main

import (
	"context"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
)

// The feature gates the vectors are recorded with, all others at the release's default.
var gates = map[string]bool{
	"PodLevelResources":            true,
	"PodLevelResourceManagers":     true,
	"CPUManagerPolicyAlphaOptions": true,
	"CPUManagerPolicyBetaOptions":  true,
}

// reference is what all vectors share: the gates, the counters, and a directory for the managers' checkpoints.
type reference struct {
	ctx      context.Context
	logger   klog.Logger
	counters *counters
	scratch  string
}

func newReference() (*reference, error) {
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(gates); err != nil {
		return nil, fmt.Errorf("feature gates %v: %w; a gate that this release no longer has leaves reference.go", gates, err)
	}
	// The managers sync their checkpoints to disk many times an admission; memory spares it.
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	scratch, err := os.MkdirTemp(parent, "podfence-oracle-")
	if err != nil {
		return nil, fmt.Errorf("directory for the managers' checkpoints: %w", err)
	}
	logger := logr.Discard()
	return &reference{
		ctx:      klog.NewContext(context.Background(), logger),
		logger:   logger,
		counters: newCounters(),
		scratch:  scratch,
	}, nil
}

func (r *reference) close() {
	os.RemoveAll(r.scratch)
}
