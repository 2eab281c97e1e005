{{- define "gateway.notes" -}}
{{- $gateway := include "gateway.gatewayName" . }}
{{- $namespace := include "gateway.gatewayNamespace" . }}
{{- $listener := first .Values.gateway.listeners }}
Wait:
  kubectl -n {{ .Release.Namespace }} rollout status deployment/{{ include "gateway.eppName" . }} --timeout=180s
  kubectl -n {{ $namespace }} wait --for=condition=programmed gateways.gateway.networking.k8s.io/{{ $gateway }} --timeout=180s

Address, with a load balancer:
  export INGRESS_HOST=$(kubectl -n {{ $namespace }} get gateways.gateway.networking.k8s.io/{{ $gateway }} -o jsonpath='{.status.addresses[0].value}'):{{ $listener.port }}
With a node port (gateway.serviceType=NodePort):
  export INGRESS_HOST=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[0].address}'):$(kubectl -n {{ $namespace }} get service {{ $gateway }}-{{ .Values.gateway.className }} -o jsonpath='{.spec.ports[?(@.port=={{ $listener.port }})].nodePort}')
With neither (kind, minikube; gateway.serviceType=ClusterIP):
  kubectl -n {{ $namespace }} port-forward service/{{ $gateway }}-{{ .Values.gateway.className }} 8080:{{ $listener.port }} &
  export INGRESS_HOST=127.0.0.1:8080

Ask:
  curl -s -i "http://$INGRESS_HOST/v1/completions" -d '{"model": "{{ .Values.tests.model }}", "prompt": "What do reviewers think about The Comedy of Errors?", "max_tokens": 100, "temperature": 0}'

Test:
  helm test {{ .Release.Name }} -n {{ .Release.Namespace }}
{{- end }}
