{{/* What the agent and preflight have in common: preflight tries what the agent will do, with the same rights. */}}
{{- define "podfence.container" -}}
image: {{ include "podfence.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: NODE_NAME
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
securityContext:
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  # Cgroup files, /sys/devices/virtual/workqueue/cpumask and the NRI socket are root's, without capabilities.
  runAsUser: 0
  runAsGroup: 0
  runAsNonRoot: false
  capabilities:
    drop: [ALL]
    add:
      # bpf(): loads the probes and their maps.
      - BPF
      # Attaches them to sched_switch and other points of the kernel, and lets them read kernel structures.
      - PERFMON
      {{- if not (include "podfence.audit" .) }}
      {{- if .Values.config.fenceHost }}
      # sched_setaffinity() on host processes and kernel threads (fenceHost).
      - SYS_NICE
      {{- end }}
      {{- if .Values.cpusetPartitions }}
      # A cpuset partition below cgroups that are none: the kernel asks for this (kernel/cgroup/cpuset.c,
      # remote_partition_enable), and says "Enable partition not permitted" without it.
      - SYS_ADMIN
      {{- end }}
      # Cgroups that are not root's, as those of pods with a user namespace, and the root of the hierarchy, mode 0555.
      - DAC_OVERRIDE
      {{- end }}
  seccompProfile:
    {{- toYaml .Values.seccompProfile | nindent 4 }}
  {{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
  appArmorProfile:
    {{- toYaml .Values.appArmorProfile | nindent 4 }}
  {{- end }}
  {{- with .Values.seLinuxOptions }}
  seLinuxOptions:
    {{- toYaml . | nindent 4 }}
  {{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end }}

{{/* What lies on a read-only mount is not read-only by itself; before Kubernetes 1.30 it cannot be asked for. */}}
{{- define "podfence.readOnly" -}}
readOnly: true{{ if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}, recursiveReadOnly: IfPossible{{ end }}
{{- end }}

{{/*
The kubelet's folder, in which pods' volumes are mounted: those that are there already come along, and without
HostToContainer they would stay mounted here, their devices in use, when the kubelet has unmounted them. The API has
recursiveReadOnly only without it.
*/}}
{{- define "podfence.kubeletMount" -}}
- {name: kubelet, mountPath: {{ .Values.kubeletDirectory }}, readOnly: true, mountPropagation: HostToContainer}
{{- end }}

{{- define "podfence.mounts" -}}
- {name: config, mountPath: /etc/podfence, readOnly: true}
{{- $readOnly := include "podfence.readOnly" . }}
{{- if include "podfence.audit" . }}
- {name: cgroup, mountPath: {{ .Values.config.cgroupHierarchy }}, {{ $readOnly }}}
# The folder, since the kubelet makes its state files anew.
{{ include "podfence.kubeletMount" . }}
{{- else }}
- {name: state, mountPath: {{ .Values.config.stateDirectory }}}
# The host's whole hierarchy over the container's own view of it.
- {name: cgroup, mountPath: {{ .Values.config.cgroupHierarchy }}}
{{- if .Values.config.fenceHost }}
# /sys is read-only in a container; this one folder has the mask of unbound workqueues.
- {name: workqueues, mountPath: /sys/devices/virtual/workqueue}
{{- end }}
# The folder, since a restarted runtime makes its socket anew.
- {name: nri, mountPath: {{ dir .Values.config.nriSocketPath }}, {{ $readOnly }}}
{{- if .Values.systemdBus }}
# The folder, since a restarted bus makes its socket anew; unused with the cgroupfs driver.
- {name: dbus, mountPath: /run/dbus, {{ $readOnly }}}
{{- end }}
{{- end }}
{{- if eq (include "podfence.podsAPI" .) "true" }}
- {name: pods-api, mountPath: {{ dir .Values.config.podsAPISocket }}, {{ $readOnly }}}
{{- end }}
{{- end }}

{{/* Before Kubernetes 1.30 the profile is named in an annotation. */}}
{{- define "podfence.appArmorAnnotation" -}}
{{- $profile := .Values.appArmorProfile }}
{{- if eq $profile.type "Localhost" }}localhost/{{ $profile.localhostProfile }}
{{- else if eq $profile.type "RuntimeDefault" }}runtime/default
{{- else }}unconfined{{ end }}
{{- end }}
