{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: vllm-simfleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gateway.meta" -}}
name: {{ .name }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- include "gateway.labels" .root | nindent 2 }}
{{- end }}

{{- define "gateway.gatewayName" -}}
{{- default (include "gateway.fullname" .) .Values.gateway.name }}
{{- end }}
{{- define "gateway.gatewayNamespace" -}}
{{- default .Release.Namespace .Values.gateway.namespace }}
{{- end }}
{{- define "gateway.poolName" -}}
{{- default (printf "%s-pool" (include "gateway.fullname" .)) .Values.inferencePool.name }}
{{- end }}
{{- define "gateway.eppName" -}}
{{- printf "%s-epp" (include "gateway.fullname" .) }}
{{- end }}
{{- define "gateway.serviceAccountName" -}}
{{- if .Values.epp.serviceAccount.create }}
{{- default (include "gateway.eppName" .) .Values.epp.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.epp.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* v1.0.1, v1.5.0, v1.6.0 or llm-d: as set, else by what the cluster serves, else what the picker needs. */ -}}
{{- define "gateway.crds" -}}
{{- if .Values.crds.inferenceExtension -}}
{{ .Values.crds.inferenceExtension }}
{{- else if .Capabilities.APIVersions.Has "llm-d.ai/v1alpha2/InferenceObjective" -}}
llm-d
{{- else if .Capabilities.APIVersions.Has "inference.networking.x-k8s.io/v1alpha2/InferenceModelRewrite" -}}
v1.5.0
{{- else if .Capabilities.APIVersions.Has "inference.networking.x-k8s.io/v1alpha2/InferenceObjective" -}}
v1.0.1
{{- else if .Capabilities.APIVersions.Has "inference.networking.k8s.io/v1/InferencePool" -}}
v1.6.0
{{- else if hasPrefix "llm-d" .Values.epp.release -}}
llm-d
{{- else -}}
v1.5.0
{{- end }}
{{- end }}

{{- /* What differs between EPP releases: one table. */ -}}
{{- define "gateway.releases" -}}
page:
  image: us-central1-docker.pkg.dev/k8s-staging-images/gateway-api-inference-extension/epp
  tag: v20251119-2aaf2a6
  configApiVersion: inference.networking.x-k8s.io/v1alpha1
  kvCacheFlag: true
  objectives: required
  rewrites: false
gie-v1.2:
  image: registry.k8s.io/gateway-api-inference-extension/epp
  tag: v1.2.0
  configApiVersion: inference.networking.x-k8s.io/v1alpha1
  kvCacheFlag: true
  objectives: required
  rewrites: false
gie-v1.3:
  image: registry.k8s.io/gateway-api-inference-extension/epp
  tag: v1.3.1
  configApiVersion: inference.networking.x-k8s.io/v1alpha1
  kvCacheFlag: false
  objectives: optional
  rewrites: true
gie-v1.4:
  image: registry.k8s.io/gateway-api-inference-extension/epp
  tag: v1.4.0
  configApiVersion: inference.networking.x-k8s.io/v1alpha1
  kvCacheFlag: false
  objectives: optional
  rewrites: true
gie-v1.5:
  image: registry.k8s.io/gateway-api-inference-extension/epp
  tag: v1.5.0
  configApiVersion: inference.networking.x-k8s.io/v1alpha1
  kvCacheFlag: false
  objectives: optional
  rewrites: true
llm-d-v0.9:
  image: ghcr.io/llm-d/llm-d-router-endpoint-picker
  tag: v0.9.0
  configApiVersion: llm-d.ai/v1alpha1
  kvCacheFlag: false
  objectives: optional
  rewrites: true
llm-d-v0.10:
  image: ghcr.io/llm-d/llm-d-router-endpoint-picker
  tag: v0.10.0
  configApiVersion: llm-d.ai/v1alpha1
  kvCacheFlag: false
  objectives: optional
  rewrites: true
{{- end }}

{{- define "gateway.release" -}}
{{- $releases := include "gateway.releases" . | fromYaml }}
{{- if not (hasKey $releases .Values.epp.release) }}
{{- fail (printf "epp.release %q is not one of %s" .Values.epp.release (keys $releases | sortAlpha | join ", ")) }}
{{- end }}
{{- get $releases .Values.epp.release | toYaml }}
{{- end }}

{{- /* API group of InferenceObjective and InferenceModelRewrite; empty where the cluster has none. */ -}}
{{- define "gateway.objectiveGroup" -}}
{{- $crds := include "gateway.crds" . }}
{{- if eq $crds "llm-d" }}llm-d.ai
{{- else if ne $crds "v1.6.0" }}inference.networking.x-k8s.io
{{- end }}
{{- end }}
