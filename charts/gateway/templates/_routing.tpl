{{- define "gateway.gateway" -}}
{{- if .Values.gateway.create }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.gatewayName" .) "namespace" (include "gateway.gatewayNamespace" .)) | nindent 2 }}
  {{- $annotations := dict }}
  {{- with .Values.gateway.serviceType }}
  {{- $_ := set $annotations "networking.istio.io/service-type" . }}
  {{- end }}
  {{- with merge $annotations .Values.gateway.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  gatewayClassName: {{ .Values.gateway.className }}
  listeners:
    {{- range .Values.gateway.listeners }}
    - name: {{ .name }}
      port: {{ .port }}
      protocol: {{ .protocol }}
      {{- with .hostname }}
      hostname: {{ . | quote }}
      {{- end }}
      {{- with .tls }}
      tls:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      allowedRoutes:
        namespaces:
          from: {{ default "Same" .allowedNamespaces }}
          {{- with .allowedSelector }}
          selector:
            {{- toYaml . | nindent 12 }}
          {{- end }}
        kinds:
          - group: gateway.networking.k8s.io
            kind: HTTPRoute
    {{- end }}
{{- end }}
{{- end }}

{{- define "gateway.httpRoute" -}}
{{- if .Values.httpRoute.create }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (default (include "gateway.fullname" .) .Values.httpRoute.name)) | nindent 2 }}
spec:
  parentRefs:
    - group: gateway.networking.k8s.io
      kind: Gateway
      name: {{ include "gateway.gatewayName" . }}
      namespace: {{ include "gateway.gatewayNamespace" . }}
      {{- with .Values.httpRoute.sectionName }}
      sectionName: {{ . }}
      {{- end }}
  {{- with .Values.httpRoute.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        {{- range .Values.httpRoute.paths }}
        - path:
            type: PathPrefix
            value: {{ . | quote }}
          {{- with $.Values.httpRoute.headers }}
          headers:
            {{- toYaml . | nindent 12 }}
          {{- end }}
        {{- end }}
      {{- with .Values.httpRoute.filters }}
      filters:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      backendRefs:
        {{- include "gateway.backend" (dict "name" (include "gateway.poolName" .) "weight" .Values.httpRoute.weight) | nindent 8 }}
        {{- range .Values.httpRoute.extraBackends }}
        {{- include "gateway.backend" . | nindent 8 }}
        {{- end }}
      {{- with .Values.httpRoute.timeouts }}
      timeouts:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{- end }}

{{- define "gateway.backend" -}}
- group: inference.networking.k8s.io
  kind: InferencePool
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  weight: {{ default 1 .weight }}
{{- end }}

{{- define "gateway.pool" -}}
{{- $crds := include "gateway.crds" . }}
{{- if and (eq $crds "v1.0.1") (gt (len .Values.inferencePool.targetPorts) 1) }}
{{- fail "inferencePool.targetPorts: the CRDs of v1.0.1 allow one port; set crds.inferenceExtension to v1.5.0 or later, or name one port" }}
{{- end }}
{{- if and (eq $crds "v1.0.1") .Values.inferencePool.appProtocol }}
{{- fail "inferencePool.appProtocol: the CRDs of v1.0.1 have no such field; leave it empty or set crds.inferenceExtension to v1.5.0 or later" }}
{{- end }}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.poolName" .)) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- toYaml .Values.inferencePool.matchLabels | nindent 6 }}
  targetPorts:
    {{- range .Values.inferencePool.targetPorts }}
    - number: {{ . }}
    {{- end }}
  {{- with .Values.inferencePool.appProtocol }}
  appProtocol: {{ . }}
  {{- end }}
  endpointPickerRef:
    group: ""
    kind: Service
    name: {{ include "gateway.eppName" . }}
    port:
      number: {{ .Values.epp.ports.grpc }}
    failureMode: {{ .Values.inferencePool.failureMode }}
{{- end }}

{{- define "gateway.objectives" -}}
{{- $group := include "gateway.objectiveGroup" . | trim }}
{{- if and (or .Values.objectives .Values.modelRewrites) (not $group) }}
{{- fail "objectives, modelRewrites: the CRDs of v1.6.0 have neither InferenceObjective nor InferenceModelRewrite; set crds.inferenceExtension to v1.0.1, v1.5.0 or llm-d" }}
{{- end }}
{{- $release := include "gateway.release" . | fromYaml }}
{{- if and .Values.modelRewrites (or (not $release.rewrites) (eq (include "gateway.crds" .) "v1.0.1")) }}
{{- fail (printf "modelRewrites: the picker %s with CRDs %s does not read InferenceModelRewrite; use epp.release gie-v1.3 or later and crds.inferenceExtension v1.5.0 or llm-d" .Values.epp.release (include "gateway.crds" .)) }}
{{- end }}
{{- range .Values.objectives }}
---
apiVersion: {{ $group }}/v1alpha2
kind: InferenceObjective
metadata:
  {{- include "gateway.meta" (dict "root" $ "name" .name) | nindent 2 }}
spec:
  priority: {{ default 0 .priority }}
  poolRef:
    group: inference.networking.k8s.io
    kind: InferencePool
    name: {{ include "gateway.poolName" $ }}
{{- end }}
{{- range .Values.modelRewrites }}
---
apiVersion: {{ $group }}/v1alpha2
kind: InferenceModelRewrite
metadata:
  {{- include "gateway.meta" (dict "root" $ "name" .name) | nindent 2 }}
spec:
  poolRef:
    group: inference.networking.k8s.io
    kind: InferencePool
    name: {{ include "gateway.poolName" $ }}
  rules:
    {{- toYaml .rules | nindent 4 }}
{{- end }}
{{- end }}

{{- define "gateway.trust" -}}
{{- if .Values.destinationRule.create }}
---
apiVersion: {{ .Values.destinationRule.apiVersion }}
kind: DestinationRule
metadata:
  {{- include "gateway.meta" (dict "root" . "name" (include "gateway.eppName" .)) | nindent 2 }}
  {{- with .Values.destinationRule.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  host: {{ printf "%s.%s.svc.%s" (include "gateway.eppName" .) .Release.Namespace .Values.clusterDomain }}
  trafficPolicy:
    tls:
      {{- if .Values.epp.secureServing }}
      # The picker signs its own certificate.
      mode: SIMPLE
      insecureSkipVerify: true
      {{- else }}
      mode: DISABLE
      {{- end }}
{{- end }}
{{- with .Values.referenceGrant.fromNamespaces }}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata:
  {{- include "gateway.meta" (dict "root" $ "name" (include "gateway.fullname" $)) | nindent 2 }}
spec:
  from:
    {{- range . }}
    - group: gateway.networking.k8s.io
      kind: HTTPRoute
      namespace: {{ . }}
    {{- end }}
  to:
    - group: inference.networking.k8s.io
      kind: InferencePool
      name: {{ include "gateway.poolName" $ }}
{{- end }}
{{- end }}
