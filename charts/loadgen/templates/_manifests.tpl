{{- /* Everything this chart renders: called by all.yaml when it stands alone, by charts/lab with .Subcharts.loadgen. */ -}}
{{- define "loadgen.manifests" -}}
{{- if .Values.scenarioFile }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "loadgen.meta" (dict "root" . "name" (include "loadgen.fullname" .)) | nindent 2 }}
data:
  scenario.yaml: |
    {{- .Values.scenarioFile | nindent 4 }}
{{- end }}
{{- if and .Values.results.create (not .Values.results.existingClaim) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "loadgen.meta" (dict "root" . "name" (include "loadgen.claim" .)) | nindent 2 }}
  annotations:
    helm.sh/resource-policy: keep
spec:
  accessModes: [{{ .Values.results.accessMode }}]
  {{- with .Values.results.storageClassName }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .Values.results.size }}
{{- end }}
---
apiVersion: batch/v1
{{- if .Values.schedule }}
kind: CronJob
metadata:
  {{- include "loadgen.meta" (dict "root" . "name" (include "loadgen.fullname" .)) | nindent 2 }}
spec:
  schedule: {{ .Values.schedule | quote }}
  concurrencyPolicy: Forbid
  jobTemplate:
    metadata:
      labels:
        {{- include "loadgen.labels" . | nindent 8 }}
    spec:
      {{- include "loadgen.jobSpec" . | nindent 6 }}
{{- else }}
kind: Job
metadata:
  # A Job cannot be changed, so each revision has its own.
  {{- include "loadgen.meta" (dict "root" . "name" (printf "%s-%d" (include "loadgen.fullname" .) .Release.Revision)) | nindent 2 }}
spec:
  {{- include "loadgen.jobSpec" . | nindent 2 }}
{{- end }}
{{ include "loadgen.monitoring" . }}
{{- end }}

{{- define "loadgen.jobSpec" -}}
backoffLimit: {{ .Values.backoffLimit }}
activeDeadlineSeconds: {{ .Values.activeDeadlineSeconds }}
ttlSecondsAfterFinished: {{ .Values.ttlSecondsAfterFinished }}
{{- if gt (int .Values.shards) 1 }}
completionMode: Indexed
completions: {{ .Values.shards }}
parallelism: {{ .Values.shards }}
{{- end }}
template:
  metadata:
    labels:
      {{- include "loadgen.selectorLabels" . | nindent 6 }}
      {{- with .Values.podLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    annotations:
      sidecar.istio.io/inject: "false"
      {{- with .Values.podAnnotations }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  spec:
    restartPolicy: Never
    automountServiceAccountToken: false
    {{- with .Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- toYaml .Values.podSecurityContext | nindent 6 }}
    containers:
      - name: loadgen
        image: {{ include "loadgen.image" . }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        command: [loadgen]
        args:
          {{- include "loadgen.args" . | nindent 10 }}
        env:
          - name: RUN_NAME
            value: {{ printf "%s-%d" (include "loadgen.fullname" .) .Release.Revision }}
          - name: HOME
            value: /tmp
          {{- with .Values.env }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        resources:
          {{- toYaml .Values.resources | nindent 10 }}
        securityContext:
          {{- toYaml .Values.securityContext | nindent 10 }}
        volumeMounts:
          - {name: tmp, mountPath: /tmp}
          - {name: results, mountPath: /results}
          {{- if .Values.scenarioFile }}
          - {name: scenario, mountPath: /etc/loadgen, readOnly: true}
          {{- end }}
    volumes:
      - name: tmp
        emptyDir: {}
      - name: results
        {{- if include "loadgen.claim" . }}
        persistentVolumeClaim:
          claimName: {{ include "loadgen.claim" . }}
        {{- else }}
        emptyDir: {}
        {{- end }}
      {{- if .Values.scenarioFile }}
      - name: scenario
        configMap:
          name: {{ include "loadgen.fullname" . }}
      {{- end }}
    {{- with .Values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
