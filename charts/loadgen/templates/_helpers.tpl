{{- define "loadgen.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "loadgen.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "loadgen.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "loadgen.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: load-generator
app.kubernetes.io/part-of: vllm-simfleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "loadgen.selectorLabels" -}}
app.kubernetes.io/name: {{ include "loadgen.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "loadgen.meta" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "loadgen.labels" .root | nindent 2 }}
{{- end }}

{{- define "loadgen.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "loadgen.claim" -}}
{{- if .Values.results.existingClaim }}{{ .Values.results.existingClaim }}
{{- else if .Values.results.create }}{{ include "loadgen.fullname" . }}-results
{{- end }}
{{- end }}

{{- define "loadgen.args" -}}
- run
- {{ ternary "/etc/loadgen/scenario.yaml" .Values.scenario (ne .Values.scenarioFile "") | quote }}
- --target
- {{ required "target: the base URL to load is required, such as http://gateway-istio.istio-ingress:80" .Values.target | quote }}
- --processes
- {{ .Values.processes | quote }}
- --out
- {{ ternary "/results/$(RUN_NAME)/shard-$(JOB_COMPLETION_INDEX)" "/results/$(RUN_NAME)" (gt (int .Values.shards) 1) | quote }}
{{- if gt (int .Values.shards) 1 }}
- --slice
- {{ printf "$(JOB_COMPLETION_INDEX)/%v" .Values.shards | quote }}
{{- end }}
{{- range .Values.args }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "loadgen.imageNotes" -}}
{{- if and (hasPrefix "ghcr.io/vllm-simfleet/" .Values.image.repository) (not .Values.image.digest) }}

No image of vllm-simfleet has been published yet: {{ .Values.image.repository }} cannot be pulled. Build it (docker build),
bring it to the nodes, and name it: --set image.repository=... --set image.tag=... (docs/cluster-install.md).
{{- end }}
{{- end }}
