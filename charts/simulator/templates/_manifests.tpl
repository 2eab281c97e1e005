{{- /* Everything this chart renders: called by all.yaml when it stands alone, by charts/lab with .Subcharts.simulator. */ -}}
{{- define "simulator.manifests" -}}
{{- if .Values.serviceAccount.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "simulator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- if .Values.config }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "simulator.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
data:
  config.yaml: |
    {{- toYaml .Values.config | nindent 4 }}
{{- end }}
---
{{ include "simulator.workload" . }}
{{- if .Values.service.create }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "simulator.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
  {{- with .Values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if eq .Values.kind "StatefulSet" }}
  clusterIP: None
  {{- end }}
  selector:
    {{- include "simulator.selectorLabels" . | nindent 4 }}
  ports:
    - name: http
      port: {{ .Values.port }}
      targetPort: http
      protocol: TCP
      appProtocol: http
{{- end }}
{{- include "simulator.operations" . }}
{{- include "simulator.test" . }}
{{- end }}

{{- define "simulator.operations" -}}
{{- if .Values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "simulator.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "simulator.selectorLabels" . | nindent 6 }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- include "simulator.autoscaling" . }}
{{- end }}
{{- if .Values.podMonitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "simulator.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
    {{- with .Values.podMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "simulator.selectorLabels" . | nindent 6 }}
  podMetricsEndpoints:
    {{- range $rank := until (int .Values.dataParallel) }}
    - port: {{ ternary "http" (printf "http-%d" $rank) (eq $rank 0) }}
      path: /metrics
      interval: {{ $.Values.podMonitor.interval }}
    {{- end }}
{{- end }}
{{- include "simulator.monitoring" . }}
{{- if .Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "simulator.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "simulator.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - from:
        - podSelector: {}
        {{- with .Values.networkPolicy.from }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- range $rank := until (int .Values.dataParallel) }}
        - port: {{ add $.Values.port $rank }}
          protocol: TCP
        {{- end }}
  # A simulator calls nobody.
  egress: []
{{- end }}
{{- end }}
