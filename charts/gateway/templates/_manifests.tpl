{{- /* Everything this chart renders: called by all.yaml when it stands alone, by charts/lab with .Subcharts.gateway. */ -}}
{{- define "gateway.manifests" -}}
{{- include "gateway.gateway" . }}
{{- include "gateway.httpRoute" . }}
{{ include "gateway.pool" . }}
{{- include "gateway.objectives" . }}
{{ include "gateway.rbac" . }}
{{ include "gateway.eppDeployment" . }}
{{- include "gateway.trust" . }}
{{- include "gateway.monitoring" . }}
{{- include "gateway.test" . }}
{{- end }}
