{{- /* `helm test`: the target answers a short run of the page's scenario, and the verdict is good. */ -}}
{{- define "loadgen.test" -}}
{{- if .Values.tests.enabled }}
---
apiVersion: v1
kind: Pod
metadata:
  {{- include "loadgen.meta" (dict "root" . "name" (printf "%s-test" (include "loadgen.fullname" .))) | nindent 2 }}
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
    - name: loadgen
      image: {{ include "loadgen.image" . }}
      command: [loadgen]
      args: [run, page, --target, {{ .Values.target | quote }}, --duration, 5s, --out, /tmp/run]
      env:
        - {name: HOME, value: /tmp}
      resources:
        requests: {cpu: 100m, memory: 128Mi}
        limits: {memory: 512Mi}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: tmp
      emptyDir: {}
{{- end }}
{{- end }}
