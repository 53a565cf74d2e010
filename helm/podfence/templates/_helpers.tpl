{{- define "podfence.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name where it says podfence itself, else with podfence behind it. */}}
{{- define "podfence.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "podfence.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "podfence.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "podfence.selectorLabels" -}}
app.kubernetes.io/name: {{ include "podfence.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "podfence.ownLabels" -}}
{{ include "podfence.selectorLabels" . }}
{{- /* A version may have a "+", a label may not. */}}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "podfence.labels" -}}
{{ include "podfence.ownLabels" . }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "podfence.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "podfence.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "podfence.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "podfence.port" -}}
{{- regexFind "[0-9]+$" .Values.config.listenAddress }}
{{- end }}

{{/* "true" where the kubelet decides and Podfence only verifies: nothing on the node is written. */}}
{{- define "podfence.audit" -}}
{{- if eq .Values.config.mode "audit" }}true{{ end }}
{{- end }}

{{/* podfence.yaml: the values under config, what of those beside it the agent must know, and where the API server is. */}}
{{- define "podfence.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $_ := set $config "kubeletStateDirectory" .Values.kubeletDirectory }}
{{- $_ := set $config "cpusetPartitions" .Values.cpusetPartitions }}
{{- with .Values.apiServer.host }}
{{- $host := trimAll "[]" . }}
{{- if contains ":" $host }}{{ $host = printf "[%s]" $host }}{{ end }}
{{- $_ := set $config "apiServer" (printf "https://%s:%d" $host (int $.Values.apiServer.port)) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* "true" where the kubelet's local Pods API is to be reached; in auto where the cluster's version has it. */}}
{{- define "podfence.podsAPI" -}}
{{- $source := .Values.config.podSource }}
{{- if or (eq $source "podsapi") (and (eq $source "auto") (semverCompare ">=1.37.0-0" .Capabilities.KubeVersion.Version)) }}true{{ end }}
{{- end }}

{{/* What the agent asks of the API server and of the kubelet, as rules of a ClusterRole; empty where it asks nothing. */}}
{{- define "podfence.rules" -}}
{{- $config := .Values.config }}
{{- $rules := list }}
{{- if has $config.podSource (list "auto" "apiserver") }}
{{- $rules = append $rules (dict "apiGroups" (list "") "resources" (list "pods") "verbs" (list "list" "watch")) }}
{{- end }}
{{- if and (has $config.podSource (list "auto" "kubelet")) (hasPrefix "https:" $config.kubeletPodsURL) }}
{{- /* Fine-grained authorization of the kubelet is on from 1.33; before, only nodes/proxy opens /pods. */}}
{{- $resource := ternary "nodes/pods" "nodes/proxy" (semverCompare ">=1.33.0-0" .Capabilities.KubeVersion.Version) }}
{{- $rules = append $rules (dict "apiGroups" (list "") "resources" (list $resource) "verbs" (list "get")) }}
{{- end }}
{{- /* Where the kubelet decides, nobody is refused here. */}}
{{- $audit := include "podfence.audit" . }}
{{- if and .Values.rbac.podStatus (not $audit) }}
{{- $rules = append $rules (dict "apiGroups" (list "") "resources" (list "pods/status") "verbs" (list "patch")) }}
{{- end }}
{{- if and .Values.rbac.events (not $audit) }}
{{- $rules = append $rules (dict "apiGroups" (list "") "resources" (list "events") "verbs" (list "create" "patch")) }}
{{- end }}
{{- if $rules }}{{ toYaml $rules }}{{ end }}
{{- end }}
