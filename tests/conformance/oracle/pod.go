package main

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // registers the defaults and conversions of v1
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// throughAPI gives the pod as the v1 API defaults it, or what is invalid in it as sorted "field: reason". So does the
// kubelet with a static pod. An API server also fills in pod-level requests and limits (DefaultPodLevelResources in
// pkg/registry/core/pod/strategy.go); a vector's pod is one that nothing is filled into.
func throughAPI(written *v1.Pod) (pod *v1.Pod, invalid []string, err error) {
	defaulted := written.DeepCopy()
	legacyscheme.Scheme.Default(defaulted)
	internal := &api.Pod{}
	if err := legacyscheme.Scheme.Convert(defaulted, internal, nil); err != nil {
		return nil, nil, fmt.Errorf("pod %s to the internal version: %w", written.Name, err)
	}

	options := podutil.GetValidationOptionsFromPodSpecAndMeta(&internal.Spec, nil, &internal.ObjectMeta, nil)
	options.ResourceIsPod = true
	for _, problem := range validation.ValidatePodCreate(internal, options) {
		invalid = append(invalid, problem.Field+": "+problem.Type.String())
	}
	if len(invalid) > 0 {
		slices.Sort(invalid)
		return nil, invalid, nil
	}
	pod = &v1.Pod{}
	if err := legacyscheme.Scheme.Convert(internal, pod, nil); err != nil {
		return nil, nil, fmt.Errorf("pod %s from the internal version: %w", written.Name, err)
	}
	return pod, nil, nil
}
