{{- define "simulator.test" -}}
{{- if .Values.tests.enabled }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "simulator.fullname" . }}-test
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-weight: "-1"
    helm.sh/hook-delete-policy: before-hook-creation
data:
  checks.py: |
    {{- .Files.Get "files/checks.py" | nindent 4 }}
---
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "simulator.fullname" . }}-test
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "simulator.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    sidecar.istio.io/inject: "false"
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: checks
      image: {{ include "simulator.image" . }}
      command: [python3, /checks/checks.py]
      args:
        - {{ printf "http://%s.%s:%v" (include "simulator.fullname" .) .Release.Namespace .Values.port | quote }}
        - --model
        - {{ include "simulator.testModel" . | quote }}
      resources:
        requests: {cpu: 10m, memory: 32Mi}
        limits: {memory: 64Mi}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: checks, mountPath: /checks, readOnly: true}
  volumes:
    - name: checks
      configMap:
        name: {{ include "simulator.fullname" . }}-test
{{- end }}
{{- end }}

{{- /* An adapter where there is one, else the model's served name. */ -}}
{{- define "simulator.testModel" -}}
{{- if .Values.loraModules }}
{{- (first .Values.loraModules).name }}
{{- else if .Values.servedModelName }}
{{- first .Values.servedModelName }}
{{- else }}
{{- .Values.model }}
{{- end }}
{{- end }}
