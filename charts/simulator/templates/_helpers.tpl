{{- define "simulator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "simulator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "simulator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "simulator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: model-server
app.kubernetes.io/part-of: vllm-simfleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "simulator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "simulator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "simulator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "simulator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "simulator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- /* The command line: the values that have a name of their own, then .args, which may override them. */ -}}
{{- define "simulator.args" -}}
- --model
- {{ .Values.model | quote }}
{{- with .Values.servedModelName }}
- --served-model-name
{{- range . }}
- {{ . | quote }}
{{- end }}
{{- end }}
- --port
- {{ .Values.port | quote }}
- --max-loras
- {{ .Values.maxLoras | quote }}
{{- with .Values.loraModules }}
- --lora-modules
{{- range . }}
- {{ toJson . | quote }}
{{- end }}
{{- end }}
{{- with .Values.profile }}
- --profile
- {{ . | quote }}
{{- end }}
{{- with .Values.compat }}
- --compat
- {{ . | quote }}
{{- end }}
{{- if gt (int .Values.dataParallel) 1 }}
- --data-parallel-size
- {{ .Values.dataParallel | quote }}
- --data-parallel-multi-port-external-lb
{{- end }}
- --shutdown-mode
- kubernetes
- --shutdown-timeout
- {{ .Values.drainTimeoutSeconds | quote }}
{{- if .Values.config }}
- --config
- /etc/simfleet/config.yaml
{{- end }}
{{- range .Values.args }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "simulator.imageNotes" -}}
{{- if and (hasPrefix "ghcr.io/vllm-simfleet/" .Values.image.repository) (not .Values.image.digest) }}

No image of vllm-simfleet has been published yet: {{ .Values.image.repository }} cannot be pulled. Build it (docker build),
bring it to the nodes, and name it: --set {{ .prefix }}image.repository=... --set {{ .prefix }}image.tag=... (docs/cluster-install.md).
{{- end }}
{{- end }}
