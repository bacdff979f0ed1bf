{{/* Processes of a replica: the most ranks of any model */}}
{{- define "retake.ranks" -}}
{{- $ranks := 1 }}
{{- range .Values.workers.models }}{{ $ranks = max $ranks (int (default 1 .ranks)) }}{{ end }}
{{- $ranks }}
{{- end }}

{{/* Of each process of a replica. Without a GPU its CPUs bind it: a replica that asks for nothing may run on the head */}}
{{- define "retake.replicaEnv" -}}
{{- $ranks := int (include "retake.ranks" .) }}
{{- $whole := .Values.workers.gpus | default .Values.workers.cpus | int }}
{{- if mod $whole $ranks }}
{{- fail (printf "workers: %d do not divide among the %d ranks of a model" $whole $ranks) }}
{{- end }}
- {name: {{ gt (int .Values.workers.gpus) 0 | ternary "RETAKE_NUM_GPUS" "RETAKE_NUM_CPUS" }}, value: {{ div $whole $ranks | quote }}}
- {name: RETAKE_REPLICAS, value: {{ .Values.workers.minReplicas | quote }}}
- {name: RETAKE_MAX_REPLICAS, value: {{ .Values.workers.maxReplicas | quote }}}
{{- with .Values.workers.models }}
- {name: RETAKE_MODELS, value: {{ toJson . | quote }}}
{{- end }}
{{- end }}

{{/* A node that stops lets its job end: the longest one, then what follows it, then some room */}}
{{- define "retake.drainSeconds" -}}
{{ add .Values.workers.longestJobS 300 }}
{{- end }}

{{/* `dict "root" $ "name" "ray-head" "resources" {...} "drainS" 0`: the container that KubeRay starts Ray in */}}
{{- define "retake.rayContainer" -}}
name: {{ .name }}
image: {{ include "retake.image" (dict "root" .root "name" "worker") }}
env:
  {{- include "retake.storageEnv" .root | nindent 2 }}
  {{- include "retake.replicaEnv" .root | trim | nindent 2 }}
  - {name: RETAKE_DISPATCHERS, value: "2"}  # one is lost with its node
  - {name: RETAKE_LONGEST_JOB_S, value: {{ .root.Values.workers.longestJobS | quote }}}
  {{- with .root.Values.workers.settings }}
  {{- include "retake.settingsEnv" . | trim | nindent 2 }}
  {{- end }}
  - {name: RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS, value: "1"}
  # told to stop, a node takes no job more and ends the one that it runs; the head has none
  - {name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, value: {{ .drainS | quote }}}
  - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
  - {name: HOME, value: /tmp}  # the only folder that may be written: Triton's cache, Ray's own
resources: {{- toYaml .resources | nindent 2 }}
securityContext: {{- include "retake.containerSecurity" .root | nindent 2 }}
{{- end }}

{{- define "retake.rayVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.workers.scratch }}}
{{- end }}
