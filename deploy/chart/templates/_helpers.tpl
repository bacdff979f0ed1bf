{{- define "retake.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Labels that select: never app.kubernetes.io/name on Ray's pods, which KubeRay's services select by */}}
{{- define "retake.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: retake
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "retake.labels" -}}
{{ include "retake.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* `dict "root" $ "name" "service"`: by digest, else by tag */}}
{{- define "retake.image" -}}
{{- $image := index .root.Values.images .name -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else if .root.Values.images.requireDigests -}}
{{ fail (printf "images.%s.digest: images.requireDigests is on; give it as sha256:..." .name) }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "retake.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "retake.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "retake.valkeyHost" -}}
{{ .Values.valkey.enabled | ternary (printf "%s-valkey" (include "retake.name" .)) .Values.valkey.host }}
{{- end }}

{{/* The address with its scheme, without the password */}}
{{- define "retake.valkeyAddress" -}}
{{ .Values.valkey.tls | ternary "rediss" "redis" }}://{{ include "retake.valkeyHost" . }}:{{ .Values.valkey.port }}
{{- end }}

{{- define "retake.secretEnv" -}}
- name: {{ .env }}
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secret }}, key: {{ .key }}}}
{{- end }}

{{/* Where state lives, for every process of ours. The password is hexadecimal: a URL holds it as it is */}}
{{- define "retake.redisEnv" -}}
{{ include "retake.secretEnv" (dict "root" . "env" "VALKEY_PASSWORD" "key" "valkey-password") }}
- name: RETAKE_REDIS_URL
  value: {{ .Values.valkey.tls | ternary "rediss" "redis" }}://:$(VALKEY_PASSWORD)@{{ include "retake.valkeyHost" . }}:{{ .Values.valkey.port }}/0
{{- end }}

{{- define "retake.storageEnv" -}}
{{ include "retake.redisEnv" . }}
- {name: RETAKE_OBJECT_URL, value: {{ .Values.objectStore.url | quote }}}
{{- with .Values.objectStore.endpointUrl }}
- {name: RETAKE_S3_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with .Values.objectStore.publicEndpointUrl }}
- {name: RETAKE_PUBLIC_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
- {name: RETAKE_S3_REGION, value: {{ .Values.objectStore.region | quote }}}
{{ include "retake.secretEnv" (dict "root" . "env" "AWS_ACCESS_KEY_ID" "key" "s3-access-key") }}
{{ include "retake.secretEnv" (dict "root" . "env" "AWS_SECRET_ACCESS_KEY" "key" "s3-secret-key") }}
{{- end }}

{{- define "retake.settingsEnv" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* One pod of a kind a node, one zone like another, where there are so many */}}
{{- define "retake.spread" -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "retake.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
