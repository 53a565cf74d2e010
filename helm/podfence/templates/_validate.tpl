{{/* The seconds of a duration as Go, absl and Prometheus write it (1m30s, 250ms); empty for what is none. */}}
{{- define "podfence.seconds" -}}
{{- $units := dict "us" 0.000001 "ms" 0.001 "s" 1 "m" 60 "h" 3600 "d" 86400 "w" 604800 "y" 31536000 }}
{{- $sum := 0 }}
{{- if regexMatch "^([0-9]+([.][0-9]+)?(us|ms|[smhdwy]))+$" . }}
{{- range regexFindAll "[0-9.]+[a-z]+" . -1 }}
{{- $sum = addf $sum (mulf (regexFind "[0-9.]+" .) (get $units (regexFind "[a-z]+" .))) }}
{{- end }}
{{- $sum }}
{{- end }}
{{- end }}

{{/* Everything that the schema cannot see and that cannot work: the list of what is wrong, one on a line. */}}
{{- define "podfence.problems" -}}
{{- $config := .Values.config }}
{{- $options := $config.cpuManagerPolicyOptions | default dict }}
{{- $on := list }}
{{- range $name, $value := $options }}{{ if eq $value "true" }}{{ $on = append $on $name }}{{ end }}{{ end }}
{{- $problems := list }}

{{- /* What the allocator refuses: agent/allocator/cpu_manager.cpp, cpu_options.cpp, as the kubelet does. */}}
{{- $zero := list "" "0" "0m" }}
{{- $system := get ($config.systemReserved | default dict) "cpu" | toString }}
{{- $kube := get ($config.kubeReserved | default dict) "cpu" | toString }}
{{- if eq $config.cpuManagerPolicy "static" }}
{{- if and (has $system $zero) (has $kube $zero) (not $config.reservedSystemCPUs) }}
{{- $problems = append $problems "config.cpuManagerPolicy static needs a reservation of CPUs: set config.reservedSystemCPUs, or cpu in config.systemReserved or config.kubeReserved" }}
{{- end }}
{{- range list (list "full-pcpus-only" "distribute-cpus-across-cores") (list "distribute-cpus-across-numa" "distribute-cpus-across-cores") (list "prefer-align-cpus-by-uncorecache" "distribute-cpus-across-cores") (list "prefer-align-cpus-by-uncorecache" "distribute-cpus-across-numa") }}
{{- if and (has (first .) $on) (has (last .) $on) }}
{{- $problems = append $problems (printf "config.cpuManagerPolicyOptions: %s and %s exclude each other" (first .) (last .)) }}
{{- end }}
{{- end }}
{{- if and (has "align-by-socket" $on) (eq $config.topologyManagerPolicy "single-numa-node") }}
{{- $problems = append $problems "config.cpuManagerPolicyOptions: align-by-socket and config.topologyManagerPolicy single-numa-node exclude each other" }}
{{- end }}
{{- else if $options }}
{{- $problems = append $problems "config.cpuManagerPolicyOptions are options of cpuManagerPolicy static, not of none" }}
{{- end }}
{{- range regexFindAll "[0-9]+-[0-9]+" ($config.reservedSystemCPUs | default "") -1 }}
{{- if gt (splitList "-" . | first | atoi) (splitList "-" . | last | atoi) }}
{{- $problems = append $problems (printf "config.reservedSystemCPUs: %s runs backwards; write it as LOWEST-HIGHEST" .) }}
{{- end }}
{{- end }}
{{- $nodes := list }}
{{- range $config.reservedMemory }}
{{- $node := .numaNode }}
{{- range $name, $amount := .limits }}
{{- if not (regexMatch "^[0-9.]*[1-9]" ($amount | toString)) }}
{{- $problems = append $problems (printf "config.reservedMemory: %s %v of NUMA node %v is nothing; leave it out" $name $amount $node) }}
{{- end }}
{{- end }}
{{- if has .numaNode $nodes }}
{{- $problems = append $problems (printf "config.reservedMemory names NUMA node %v twice" .numaNode) }}
{{- end }}
{{- $nodes = append $nodes .numaNode }}
{{- end }}

{{- /* What the agent's own configuration refuses: agent/config/config.cpp, eviction.cpp. */}}
{{- range $signal, $value := $config.evictionHard }}
{{- $share := regexMatch "^[0-9]+([.][0-9]+)?%$" $value }}
{{- $amount := and (regexMatch "^[0-9]+([.][0-9]+)?(m|k|[MGTPE]|[KMGTPE]i)?$" $value) (regexMatch "[1-9]" $value) }}
{{- if not (or $amount (and $share (le (trimSuffix "%" $value | float64) 100.0))) }}
{{- $problems = append $problems (printf "config.evictionHard: %s %q: write an amount above 0 (100Mi), or a percentage from 0%% to 100%% (5%%)" $signal $value) }}
{{- end }}
{{- end }}
{{- $durations := dict "driftSweepInterval" (list 1.0 86400.0 "1s to 24h, as 10s or 1m30s") "cpuCFSQuotaPeriod" (list 0.001 1.0 "1ms to 1s, as 100ms") }}
{{- range $key, $range := $durations }}
{{- $value := get $config $key | toString }}
{{- /* The agent knows no days. */}}
{{- $seconds := ternary "" (include "podfence.seconds" $value) (regexMatch "[dwy]" $value) }}
{{- if and (hasKey $config $key) (or (not $seconds) (lt (float64 $seconds) (index $range 0)) (gt (float64 $seconds) (index $range 1))) }}
{{- $problems = append $problems (printf "config.%s %q: write a duration from %s" $key $value (index $range 2)) }}
{{- end }}
{{- end }}

{{- /* How the agent reaches others, and they it. */}}
{{- if and (eq $config.podSource "podsapi") (semverCompare "<1.37.0-0" .Capabilities.KubeVersion.Version) }}
{{- $problems = append $problems (printf "config.podSource podsapi needs Kubernetes 1.37, and this is %s: use auto, apiserver or kubelet" .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if has $config.podSource (list "auto" "kubelet") }}
{{- if not (regexMatch "^https?://(127\\.|localhost[:/]|\\[::1\\])" $config.kubeletPodsURL) }}
{{- $problems = append $problems (printf "config.kubeletPodsURL: every node would read the pods of %s: name loopback, with hostNetwork, or use another podSource" $config.kubeletPodsURL) }}
{{- else if and (eq $config.podSource "kubelet") (not .Values.hostNetwork) }}
{{- $problems = append $problems (printf "config.podSource kubelet: %s is the pod's own loopback without hostNetwork: set hostNetwork, or another podSource" $config.kubeletPodsURL) }}
{{- end }}
{{- end }}
{{- $port := include "podfence.port" . | int }}
{{- if or (lt $port 1) (gt $port 65535) }}
{{- $problems = append $problems "config.listenAddress: the port must be from 1 to 65535, since probes and monitors name it" }}
{{- end }}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" $config.listenAddress }}
{{- $problems = append $problems (printf "config.listenAddress %s: the kubelet's probes and Prometheus cannot reach loopback: use 0.0.0.0 or [::]" $config.listenAddress) }}
{{- end }}
{{- if and .Values.networkPolicy.enabled .Values.hostNetwork }}
{{- $problems = append $problems "networkPolicy.enabled: a NetworkPolicy does not apply to pods with hostNetwork" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- $problems = append $problems "serviceMonitor.enabled and podMonitor.enabled: every node would be scraped twice; enable one" }}
{{- end }}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- $monitor := get $.Values $name }}
{{- if $monitor.enabled }}
{{- if gt (include "podfence.seconds" $monitor.scrapeTimeout | float64) (include "podfence.seconds" $monitor.interval | float64) }}
{{- $problems = append $problems (printf "%s.scrapeTimeout %s is longer than its interval %s, and the operator takes no such monitor: set both" $name $monitor.scrapeTimeout $monitor.interval) }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.prometheusRule.enabled }}
{{- $left := ternary 1 0 .Values.prometheusRule.recordingRules }}
{{- range .Values.prometheusRule.alerts }}{{ if ne .enabled false }}{{ $left = add1 $left }}{{ end }}{{ end }}
{{- if not $left }}
{{- $problems = append $problems "prometheusRule.enabled, but every alert and the recording rules are switched off" }}
{{- end }}
{{- end }}

{{- /* What would work against itself. */}}
{{- $limits := .Values.resources.limits | default dict }}
{{- $requests := .Values.resources.requests | default dict }}
{{- if and $limits.cpu $limits.memory (eq ($requests.cpu | default $limits.cpu | toString) ($limits.cpu | toString)) (eq ($requests.memory | default $limits.memory | toString) ($limits.memory | toString)) }}
{{- $problems = append $problems "resources: with limits equal to requests the agent's pod is Guaranteed, outside the slices that Podfence keeps off exclusive CPUs, and in its own cgroup namespace it may not move itself: leave the CPU limit out" }}
{{- end }}
{{- $rolling := .Values.updateStrategy.rollingUpdate | default dict }}
{{- if and (eq .Values.updateStrategy.type "OnDelete") $rolling }}
{{- $problems = append $problems "updateStrategy: rollingUpdate goes with type RollingUpdate only: set it to null" }}
{{- end }}
{{- if and .Values.hostNetwork (not (has ($rolling.maxSurge | default 0 | toString) (list "0" "0%"))) }}
{{- $problems = append $problems "updateStrategy.rollingUpdate.maxSurge: with hostNetwork two agents cannot have one port: leave rollingUpdate empty" }}
{{- end }}
{{- $own := include "podfence.ownLabels" . | fromYaml }}
{{- range $name := list "extraLabels" "podLabels" }}
{{- range $label := keys (get $.Values $name) | sortAlpha }}
{{- if hasKey $own $label }}
{{- $problems = append $problems (printf "%s: %s is the chart's own label" $name $label) }}
{{- else if and (eq $name "podLabels") (hasKey $.Values.extraLabels $label) }}
{{- $problems = append $problems (printf "podLabels: %s stands in extraLabels too" $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- $none := list "0" "0%" }}
{{- $surges := not (has ($rolling.maxSurge | default 0 | toString) $none) }}
{{- if and $surges (not (has ($rolling.maxUnavailable | default 0 | toString) $none)) }}
{{- $problems = append $problems "updateStrategy.rollingUpdate: the API takes either maxSurge or maxUnavailable, the other 0: leave one out" }}
{{- end }}
{{- if and (not $surges) (hasKey $rolling "maxUnavailable") (has (toString $rolling.maxUnavailable) $none) }}
{{- $problems = append $problems "updateStrategy.rollingUpdate: with maxUnavailable 0 and no maxSurge nothing could be updated: set one of them" }}
{{- end }}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
{{- $problems = append $problems "serviceAccount.name: name the existing account, since serviceAccount.create is off" }}
{{- end }}
{{- range $profile := list "seccompProfile" "appArmorProfile" }}
{{- $value := get $.Values $profile }}
{{- if ne (eq $value.type "Localhost") (not (empty $value.localhostProfile)) }}
{{- $problems = append $problems (printf "%s: localhostProfile goes with type Localhost, and only with it" $profile) }}
{{- end }}
{{- end }}
{{- join "\n" $problems }}
{{- end }}

{{- define "podfence.validate" -}}
{{- with include "podfence.problems" . }}
{{- fail (printf "these values cannot work:\n%s" .) }}
{{- end }}
{{- end }}
