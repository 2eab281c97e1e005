{{- define "simulator.workload" -}}
apiVersion: apps/v1
kind: {{ .Values.kind }}
metadata:
  name: {{ include "simulator.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicaCount }}
  {{- end }}
  {{- if eq .Values.kind "StatefulSet" }}
  serviceName: {{ include "simulator.fullname" . }}
  podManagementPolicy: Parallel
  {{- with .Values.updateStrategy }}
  updateStrategy:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- else }}
  {{- with .Values.updateStrategy }}
  strategy:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "simulator.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "simulator.selectorLabels" . | nindent 8 }}
        {{- with .Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if or .Values.podAnnotations .Values.config }}
      annotations:
        {{- if .Values.config }}
        checksum/config: {{ toYaml .Values.config | sha256sum }}
        {{- end }}
        {{- with .Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "simulator.serviceAccountName" . }}
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.podSecurityContext | nindent 8 }}
      containers:
        - name: vllm-sim
          image: {{ include "simulator.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            {{- include "simulator.args" . | nindent 12 }}
          ports:
            {{- include "simulator.ports" . | nindent 12 }}
          env:
            {{- include "simulator.env" . | nindent 12 }}
          startupProbe:
            httpGet: {path: /health, port: http}
            {{- toYaml .Values.startupProbe | nindent 12 }}
          livenessProbe:
            httpGet: {path: /health, port: http}
            {{- toYaml .Values.livenessProbe | nindent 12 }}
          readinessProbe:
            httpGet: {path: /health/ready, port: http}
            {{- toYaml .Values.readinessProbe | nindent 12 }}
          resources:
            {{- toYaml .Values.resources | nindent 12 }}
          securityContext:
            {{- toYaml .Values.securityContext | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .Values.config }}
            - {name: config, mountPath: /etc/simfleet, readOnly: true}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {}
        {{- if .Values.config }}
        - name: config
          configMap:
            name: {{ include "simulator.fullname" . }}
        {{- end }}
      {{- include "simulator.placement" . | nindent 6 }}
{{- end }}

{{- define "simulator.ports" -}}
{{- range $rank := until (int .Values.dataParallel) }}
- name: {{ ternary "http" (printf "http-%d" $rank) (eq $rank 0) }}
  containerPort: {{ add $.Values.port $rank }}
  protocol: TCP
{{- end }}
{{- end }}

{{- define "simulator.env" -}}
{{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "POD_IP" "status.podIP" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "simulator.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.topologySpread.enabled }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ .Values.topologySpread.topologyKey }}
    whenUnsatisfiable: {{ .Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "simulator.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end }}
