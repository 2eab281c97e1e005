{{- /* Dashboards as Grafana's sidecar takes them, and rules as the Prometheus operator does. */ -}}
{{- define "gateway.monitoring" -}}
{{- $root := . }}
{{- if .Values.grafanaDashboards.enabled }}
{{- range $path, $_ := .Files.Glob "files/dashboards/*.json" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "gateway.fullname" $root }}-{{ base $path | trimSuffix ".json" }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "gateway.labels" $root | nindent 4 }}
    {{- with $root.Values.grafanaDashboards.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
data:
  {{ base $path }}: |
    {{- $root.Files.Get $path | nindent 4 }}
{{- end }}
{{- end }}
{{- if .Values.prometheusRule.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ include "gateway.fullname" $root }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "gateway.labels" $root | nindent 4 }}
    {{- with $root.Values.prometheusRule.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- .Files.Get "files/rules.yaml" | nindent 2 }}
{{- end }}
{{- end }}
