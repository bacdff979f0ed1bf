{{- define "retake.dnsEgress" -}}
- to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ .Values.network.dnsNamespace }}}}}]
  ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
{{- end }}

{{- define "retake.valkeyEgress" -}}
{{- if .Values.valkey.enabled }}
- to:
    - podSelector:
        matchLabels: {{- include "retake.selector" (dict "root" . "component" "valkey") | nindent 10 }}
  ports: [{port: 6379}]
{{- else }}
{{- range .Values.network.valkeyCidrs }}
- to: [{ipBlock: {cidr: {{ . }}}}]
  ports: [{port: {{ $.Values.valkey.port }}}]
{{- end }}
{{- end }}
{{- end }}

{{- define "retake.blocksEgress" -}}
- to: [{{- range $i, $cidr := .cidrs }}{{ if $i }}, {{ end }}{ipBlock: {cidr: {{ $cidr }}}}{{ end }}]
  ports: [{{- range $i, $port := .ports }}{{ if $i }}, {{ end }}{port: {{ $port }}}{{ end }}]
{{- end }}
