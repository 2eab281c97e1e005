{{- /* One of two: a HorizontalPodAutoscaler over prometheus-adapter's metric, or KEDA, which makes one of its own. */ -}}
{{- define "simulator.autoscaling" -}}
{{- if not (or .Values.autoscaling.targetCPU .Values.autoscaling.targetRequestsWaiting) }}
{{- fail "autoscaling.enabled needs autoscaling.targetRequestsWaiting or autoscaling.targetCPU above 0" }}
{{- end }}
{{- if .Values.autoscaling.keda.enabled }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ include "simulator.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .Values.kind }}
    name: {{ include "simulator.fullname" . }}
  minReplicaCount: {{ .Values.autoscaling.minReplicas }}
  maxReplicaCount: {{ .Values.autoscaling.maxReplicas }}
  pollingInterval: {{ .Values.autoscaling.keda.pollingInterval }}
  cooldownPeriod: {{ .Values.autoscaling.keda.cooldownPeriod }}
  triggers:
    {{- with .Values.autoscaling.targetRequestsWaiting }}
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ required "autoscaling.keda.enabled needs autoscaling.keda.serverAddress, the URL of a Prometheus" $.Values.autoscaling.keda.serverAddress | quote }}
        query: {{ include "simulator.waitingQuery" $ | quote }}
        threshold: {{ . | quote }}
    {{- end }}
    {{- with .Values.autoscaling.targetCPU }}
    - type: cpu
      metricType: Utilization
      metadata:
        value: {{ . | quote }}
    {{- end }}
{{- else }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "simulator.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .Values.kind }}
    name: {{ include "simulator.fullname" . }}
  minReplicas: {{ .Values.autoscaling.minReplicas }}
  maxReplicas: {{ .Values.autoscaling.maxReplicas }}
  metrics:
    {{- with .Values.autoscaling.targetRequestsWaiting }}
    - type: Pods
      pods:
        metric:
          name: {{ $.Values.autoscaling.metricName }}
        target:
          type: AverageValue
          averageValue: {{ . | quote }}
    {{- end }}
    {{- with .Values.autoscaling.targetCPU }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ . }}
    {{- end }}
{{- end }}
{{- if .Values.autoscaling.adapterRule.enabled }}
---
# A configuration of prometheus-adapter (its chart takes the ConfigMap's name as rules.existing).
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "simulator.fullname" . }}-adapter
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
data:
  config.yaml: |
    rules:
      - seriesQuery: 'vllm:num_requests_waiting{namespace!="",pod!=""}'
        resources:
          overrides:
            namespace: {resource: namespace}
            pod: {resource: pod}
        name:
          as: {{ .Values.autoscaling.metricName | quote }}
        metricsQuery: 'sum by (<<.GroupBy>>) (<<.Series>>{<<.LabelMatchers>>})'
{{- end }}
{{- end }}

{{- /* Requests that wait on the pods of this release: KEDA divides them by the target for the number of pods. */ -}}
{{- define "simulator.waitingQuery" -}}
sum(vllm:num_requests_waiting{namespace="{{ .Release.Namespace }}",pod=~"{{ include "simulator.fullname" . }}-.+"})
{{- end }}
