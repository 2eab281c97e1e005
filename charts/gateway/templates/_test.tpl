{{- define "gateway.test" -}}
{{- if .Values.tests.enabled }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (printf "%s-test" (include "gateway.fullname" .))) | nindent 2 }}
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
  {{- include "gateway.meta" (dict "root" . "name" (printf "%s-test" (include "gateway.fullname" .))) | nindent 2 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    sidecar.istio.io/inject: "false"
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext:
    {{- toYaml .Values.epp.podSecurityContext | nindent 4 }}
  containers:
    - name: checks
      image: {{ default (printf "ghcr.io/vllm-simfleet/vllm-simfleet:%s" .Chart.AppVersion) .Values.tests.image }}
      command: [python3, /checks/checks.py]
      args:
        - {{ include "gateway.url" . | quote }}
        - --model
        - {{ .Values.tests.model | quote }}
        - --pods
        - {{ .Values.tests.pods | quote }}
        - --server
        - istio-envoy
        - --unrouted
        - /no/such/path
      resources:
        requests: {cpu: 10m, memory: 32Mi}
        limits: {memory: 64Mi}
      securityContext:
        {{- toYaml .Values.epp.securityContext | nindent 8 }}
      volumeMounts:
        - {name: checks, mountPath: /checks, readOnly: true}
  volumes:
    - name: checks
      configMap:
        name: {{ include "gateway.fullname" . }}-test
{{- end }}
{{- end }}

{{- /* Istio names the Service of a Gateway <gateway>-<class>. */ -}}
{{- define "gateway.url" -}}
{{- $listener := first .Values.gateway.listeners }}
{{- printf "http://%s-%s.%s.svc.%s:%v" (include "gateway.gatewayName" .) .Values.gateway.className (include "gateway.gatewayNamespace" .) .Values.clusterDomain $listener.port }}
{{- end }}
