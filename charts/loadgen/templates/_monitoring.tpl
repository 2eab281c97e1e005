{{- /* Dashboards as Grafana's sidecar takes them. */ -}}
{{- define "loadgen.monitoring" -}}
{{- $root := . }}
{{- if .Values.grafanaDashboards.enabled }}
{{- range $path, $_ := .Files.Glob "files/dashboards/*.json" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "loadgen.fullname" $root }}-{{ base $path | trimSuffix ".json" }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "loadgen.labels" $root | nindent 4 }}
    {{- with $root.Values.grafanaDashboards.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
data:
  {{ base $path }}: |
    {{- $root.Files.Get $path | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}
