{{- define "gateway.eppLabels" -}}
{{ include "gateway.selectorLabels" . }}
app.kubernetes.io/component: endpoint-picker
{{- end }}

{{- define "gateway.eppArgs" -}}
{{- $release := include "gateway.release" . | fromYaml }}
- --pool-name
- {{ include "gateway.poolName" . | quote }}
- --pool-namespace
- {{ .Release.Namespace | quote }}
- --grpc-port
- {{ .Values.epp.ports.grpc | quote }}
- --grpc-health-port
- {{ .Values.epp.ports.health | quote }}
- --metrics-port
- {{ .Values.epp.ports.metrics | quote }}
- --v
- {{ .Values.epp.logLevel | quote }}
- --zap-encoder
- json
- --config-file
- /config/plugins.yaml
- --secure-serving={{ .Values.epp.secureServing }}
- --metrics-endpoint-auth={{ .Values.epp.metricsAuth }}
- --tracing=false
{{- if gt (int .Values.epp.replicas) 1 }}
- --ha-enable-leader-election
{{- end }}
{{- if or $release.kvCacheFlag .Values.epp.kvCacheMetric }}
{{- if hasPrefix "llm-d" .Values.epp.release }}
{{- fail "epp.kvCacheMetric: llm-d's picker takes metric names from engineConfigs in epp.config.dataLayer, not from a flag; leave it empty" }}
{{- end }}
- --kv-cache-usage-percentage-metric
- {{ default "vllm:kv_cache_usage_perc" .Values.epp.kvCacheMetric | quote }}
{{- end }}
{{- range .Values.epp.args }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "gateway.eppProbe" -}}
grpc:
  port: {{ .root.Values.epp.ports.health }}
  # With leader election only the leader answers for the whole service.
  service: {{ ternary .ha "inference-extension" (gt (int .root.Values.epp.replicas) 1) }}
periodSeconds: {{ .period }}
{{- end }}

{{- define "gateway.eppConfig" -}}
{{- $release := include "gateway.release" . | fromYaml }}
{{- $head := dict "apiVersion" $release.configApiVersion "kind" "EndpointPickerConfig" }}
{{- merge $head .Values.epp.config | toYaml }}
{{- end }}

{{- define "gateway.eppDeployment" -}}
{{- $release := include "gateway.release" . | fromYaml }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.eppName" .)) | nindent 2 }}
data:
  plugins.yaml: |
    {{- include "gateway.eppConfig" . | nindent 4 }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.eppName" .)) | nindent 2 }}
spec:
  replicas: {{ .Values.epp.replicas }}
  strategy:
    type: Recreate
  selector:
    matchLabels:
      {{- include "gateway.eppLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "gateway.eppLabels" . | nindent 8 }}
      annotations:
        checksum/config: {{ include "gateway.eppConfig" . | sha256sum }}
        # Envoy's gRPC to the picker carries its own TLS; a sidecar would wrap it twice.
        sidecar.istio.io/inject: "false"
        {{- with .Values.epp.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "gateway.serviceAccountName" . }}
      terminationGracePeriodSeconds: 130
      securityContext:
        {{- toYaml .Values.epp.podSecurityContext | nindent 8 }}
      containers:
        - name: epp
          image: {{ printf "%s:%s" (default $release.image .Values.epp.image.repository) (default $release.tag .Values.epp.image.tag) }}
          imagePullPolicy: {{ .Values.epp.image.pullPolicy }}
          args:
            {{- include "gateway.eppArgs" . | nindent 12 }}
          ports:
            - {name: grpc, containerPort: {{ .Values.epp.ports.grpc }}, protocol: TCP}
            - {name: grpc-health, containerPort: {{ .Values.epp.ports.health }}, protocol: TCP}
            - {name: metrics, containerPort: {{ .Values.epp.ports.metrics }}, protocol: TCP}
          env:
            {{- range $name, $path := dict "NAMESPACE" "metadata.namespace" "POD_NAME" "metadata.name" }}
            - name: {{ $name }}
              valueFrom:
                fieldRef:
                  fieldPath: {{ $path }}
            {{- end }}
            {{- with .Values.epp.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          # The picker counts as live only once it has its pool: a startup probe gives it time for that.
          startupProbe:
            {{- include "gateway.eppProbe" (dict "root" . "ha" "liveness" "period" 2) | nindent 12 }}
            failureThreshold: 90
          livenessProbe:
            {{- include "gateway.eppProbe" (dict "root" . "ha" "liveness" "period" 10) | nindent 12 }}
          readinessProbe:
            {{- include "gateway.eppProbe" (dict "root" . "ha" "readiness" "period" 2) | nindent 12 }}
          resources:
            {{- toYaml .Values.epp.resources | nindent 12 }}
          securityContext:
            {{- toYaml .Values.epp.securityContext | nindent 12 }}
          volumeMounts:
            - {name: config, mountPath: /config, readOnly: true}
      volumes:
        - name: config
          configMap:
            name: {{ include "gateway.eppName" . }}
      {{- with .Values.epp.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.epp.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.epp.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.eppName" .)) | nindent 2 }}
spec:
  type: ClusterIP
  selector:
    {{- include "gateway.eppLabels" . | nindent 4 }}
  ports:
    - name: grpc-ext-proc
      port: {{ .Values.epp.ports.grpc }}
      targetPort: grpc
      protocol: TCP
      appProtocol: http2
    - name: http-metrics
      port: {{ .Values.epp.ports.metrics }}
      targetPort: metrics
      protocol: TCP
      appProtocol: http
{{- if .Values.epp.podMonitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.eppName" .)) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "gateway.eppLabels" . | nindent 6 }}
  podMetricsEndpoints:
    - port: metrics
      interval: {{ .Values.epp.podMonitor.interval }}
{{- end }}
{{- end }}

{{- define "gateway.rbac" -}}
{{- $subject := dict "kind" "ServiceAccount" "name" (include "gateway.serviceAccountName" .) "namespace" .Release.Namespace }}
{{- if .Values.epp.serviceAccount.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.serviceAccountName" .)) | nindent 2 }}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.eppName" .)) | nindent 2 }}
rules:
  - apiGroups: [inference.networking.k8s.io]
    resources: [inferencepools]
    verbs: [get, list, watch]
  - apiGroups: [""]
    resources: [pods]
    verbs: [get, list, watch]
  - apiGroups: [inference.networking.x-k8s.io]
    resources: [inferenceobjectives, inferencemodelrewrites]
    verbs: [get, list, watch]
  {{- if hasPrefix "llm-d" .Values.epp.release }}
  - apiGroups: [llm-d.ai]
    resources: [inferenceobjectives, inferencemodelrewrites]
    verbs: [get, list, watch]
  {{- end }}
  {{- if gt (int .Values.epp.replicas) 1 }}
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [get, list, watch, create, update, patch]
  - apiGroups: [""]
    resources: [events]
    verbs: [create, patch]
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.eppName" .)) | nindent 2 }}
subjects:
  - {{- toYaml $subject | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "gateway.eppName" . }}
{{- if .Values.epp.metricsAuth }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ printf "%s-%s-metrics-auth" .Release.Namespace (include "gateway.eppName" .) }}
  labels:
    {{- include "gateway.labels" . | nindent 4 }}
rules:
  - apiGroups: [authentication.k8s.io]
    resources: [tokenreviews]
    verbs: [create]
  - apiGroups: [authorization.k8s.io]
    resources: [subjectaccessreviews]
    verbs: [create]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ printf "%s-%s-metrics-auth" .Release.Namespace (include "gateway.eppName" .) }}
  labels:
    {{- include "gateway.labels" . | nindent 4 }}
subjects:
  - {{- toYaml $subject | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ printf "%s-%s-metrics-auth" .Release.Namespace (include "gateway.eppName" .) }}
{{- end }}
{{- end }}
