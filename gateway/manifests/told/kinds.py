"""Kinds that have no part in the lab: those that change no request, and those that would, with what follows.

A kind that stands in neither table and is not read is told as unknown.
"""

from __future__ import annotations

Kind = tuple[str, str]  # (API group, kind)

_ISTIO, _SECURITY = "networking.istio.io", "security.istio.io"
_ENVOY_GATEWAY = "it is Envoy Gateway's; the lab runs gateways as Istio does"
_NOT_SENT = "requests take the Gateway API's routes alone"
_PODS = "its pods are not run: "
_ITS_CONTROLLER = (
    "its controller does not run here, so its pods are missing; give what it makes of it "
    "(`kubectl get deployments,services,inferencepools,httproutes -o yaml`)"
)

# What would change requests, pods or numbers in a cluster, and does not here.
CHANGING: dict[Kind, str] = {
    (_ISTIO, "EnvoyFilter"): "Envoy's configuration is as it is without its patches",
    (_ISTIO, "VirtualService"): f"{_NOT_SENT}; its faults, timeouts and destinations do nothing",
    (_ISTIO, "Gateway"): "it is Istio's own, not the Gateway API's: its ports are not opened",
    (_ISTIO, "ServiceEntry"): "hosts outside the manifests are not reached",
    (_ISTIO, "WorkloadEntry"): "endpoints outside the manifests are not reached",
    (_ISTIO, "WorkloadGroup"): "endpoints outside the manifests are not reached",
    (_ISTIO, "Sidecar"): "pods have no sidecar of the mesh, and the gateway sees every host",
    (_ISTIO, "ProxyConfig"): "the gateways' Envoys run as the command line says",
    (_SECURITY, "RequestAuthentication"): "no token is checked: requests with a wrong one pass",
    (_SECURITY, "PeerAuthentication"): "there is no mutual TLS between gateway and pods",
    ("telemetry.istio.io", "Telemetry"): "access log and metrics are the lab's own, and no traces are sent",
    ("extensions.istio.io", "WasmPlugin"): "no WebAssembly filter runs in the gateway",
    ("extensions.istio.io", "TrafficExtension"): "no extension runs in the gateway",
    ("keda.sh", "ScaledObject"): "nothing scales by it; a HorizontalPodAutoscaler does",
    ("keda.sh", "ScaledJob"): "nothing scales by it",
    ("autoscaling.k8s.io", "VerticalPodAutoscaler"): "pods keep their resources, which simulators do not use",
    ("llmd.ai", "VariantAutoscaling"): "nothing scales by it; a HorizontalPodAutoscaler does",
    ("networking.k8s.io", "NetworkPolicy"): "every connection is allowed",
    ("networking.k8s.io", "Ingress"): _NOT_SENT,
    ("cilium.io", "CiliumNetworkPolicy"): "every connection is allowed",
    ("cilium.io", "CiliumClusterwideNetworkPolicy"): "every connection is allowed",
    ("inference.networking.x-k8s.io", "InferencePoolImport"): "pools of other clusters are not reached",
    ("inference.networking.x-k8s.io", "InferenceModel"): "pickers since GIE v1.0 read InferenceObjective",
    ("gateway.networking.k8s.io", "TCPRoute"): "TCP listeners are not run",
    ("gateway.networking.k8s.io", "TLSRoute"): "TLS listeners are not run",
    ("gateway.networking.k8s.io", "UDPRoute"): "UDP listeners are not run",
    ("gateway.networking.k8s.io", "BackendTLSPolicy"): "the gateway speaks to its backends without TLS",
    ("gateway.networking.k8s.io", "ListenerSet"): "its listeners are not opened",
    ("gateway.networking.x-k8s.io", "XListenerSet"): "its listeners are not opened",
    ("gateway.networking.x-k8s.io", "XBackendTrafficPolicy"): "retry budgets and sessions are not kept",
    ("gateway.envoyproxy.io", "BackendTrafficPolicy"): _ENVOY_GATEWAY,
    ("gateway.envoyproxy.io", "ClientTrafficPolicy"): _ENVOY_GATEWAY,
    ("gateway.envoyproxy.io", "SecurityPolicy"): "it is Envoy Gateway's; every request is let through",
    ("gateway.envoyproxy.io", "EnvoyPatchPolicy"): "it is Envoy Gateway's; nothing is patched",
    ("gateway.envoyproxy.io", "EnvoyExtensionPolicy"): "it is Envoy Gateway's; its extensions do not run",
    ("gateway.envoyproxy.io", "EnvoyProxy"): "it is Envoy Gateway's; Envoy runs as flags say",
    ("gateway.envoyproxy.io", "Backend"): "hosts outside the manifests are not reached",
    ("aigateway.envoyproxy.io", "AIGatewayRoute"): f"it is Envoy AI Gateway's; {_NOT_SENT}",
    ("aigateway.envoyproxy.io", "AIServiceBackend"): f"it is Envoy AI Gateway's; {_NOT_SENT}",
    ("aigateway.envoyproxy.io", "BackendSecurityPolicy"): "it is Envoy AI Gateway's; no keys are added",
    ("gateway.kgateway.dev", "TrafficPolicy"): "it is kgateway's; the lab runs gateways as Istio does",
    ("gateway.kgateway.dev", "HTTPListenerPolicy"): "it is kgateway's; the lab runs gateways as Istio does",
    ("gateway.kgateway.dev", "GatewayParameters"): "it is kgateway's; Envoy runs as the command line says",
    ("gateway.kgateway.dev", "Backend"): "hosts outside the manifests are not reached",
    ("agentgateway.dev", "AgentgatewayPolicy"): "it is agentgateway's; the lab runs gateways as Istio does",
    ("networking.gke.io", "HealthCheckPolicy"): "it is GKE's; Envoy checks no health, as Istio's does not",
    ("networking.gke.io", "GCPBackendPolicy"): "it is GKE's; timeouts are the routes'",
    ("networking.gke.io", "GCPTrafficExtension"): "it is GKE's; only InferencePools name pickers here",
    ("networking.gke.io", "GCPRoutingExtension"): "it is GKE's; only InferencePools name pickers here",
    ("batch", "CronJob"): f"{_PODS}no schedule is kept",
    ("serving.kserve.io", "InferenceService"): _ITS_CONTROLLER,
    ("serving.kserve.io", "ServingRuntime"): "it is a part of InferenceServices, which are not read",
    ("serving.kserve.io", "ClusterServingRuntime"): "it is a part of InferenceServices, which are not read",
    ("llm-d.ai", "ModelService"): _ITS_CONTROLLER,
    ("production-stack.vllm.ai", "VLLMRouter"): f"the router is not run; {_NOT_SENT}",
    ("production-stack.vllm.ai", "CacheServer"): "pods share no cache server",
    ("production-stack.vllm.ai", "LoraAdapter"): "adapters are loaded by flags or by /v1/load_lora_adapter",
    ("orchestration.aibrix.ai", "RayClusterFleet"): _ITS_CONTROLLER,
    ("orchestration.aibrix.ai", "RayClusterReplicaSet"): _ITS_CONTROLLER,
    ("orchestration.aibrix.ai", "KVCache"): "pods share no cache server",
    ("model.aibrix.ai", "ModelClaim"): _ITS_CONTROLLER,
    ("model.aibrix.ai", "ModelAdapter"): "adapters are loaded by flags or by /v1/load_lora_adapter",
    ("disaggregatedset.x-k8s.io", "DisaggregatedSet"): _ITS_CONTROLLER,
    ("route.openshift.io", "Route"): _NOT_SENT,
    ("ray.io", "RayService"): _ITS_CONTROLLER,
    ("ray.io", "RayCluster"): _ITS_CONTROLLER,
    ("ray.io", "RayJob"): _ITS_CONTROLLER,
    ("nvidia.com", "DynamoGraphDeployment"): _ITS_CONTROLLER,
    ("apps.nvidia.com", "NIMService"): _ITS_CONTROLLER,
    ("kaito.sh", "Workspace"): _ITS_CONTROLLER,
    ("kaito.sh", "InferenceSet"): _ITS_CONTROLLER,
    ("serving.knative.dev", "Service"): _ITS_CONTROLLER,
    ("argoproj.io", "Rollout"): f"{_PODS}a Deployment's are",
    ("argoproj.io", "Application"): "what it would apply is not fetched: give those objects",
    ("helm.toolkit.fluxcd.io", "HelmRelease"): "not rendered: `helm template ... | simfleet up -f -`",
    ("kustomize.toolkit.fluxcd.io", "Kustomization"): "what it would apply is not fetched: give that folder",
    ("cert-manager.io", "Certificate"): "no certificate is made: listeners need its Secret",
    ("cert-manager.io", "Issuer"): "no certificate is made",
    ("cert-manager.io", "ClusterIssuer"): "no certificate is made",
    ("external-secrets.io", "ExternalSecret"): "no Secret is made: it counts as empty",
    ("bitnami.com", "SealedSecret"): "no Secret is made: it counts as empty",
    ("", "Endpoints"): "endpoints outside the manifests are not reached",
    ("discovery.k8s.io", "EndpointSlice"): "endpoints outside the manifests are not reached",
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): "objects stay as they are written",
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): "objects stay as they are written",
}  # fmt: skip

# What changes neither requests nor pods of the lab: rights, quotas, storage, monitoring.
_INERT_GROUPS = {
    *("rbac.authorization.k8s.io", "apiextensions.k8s.io", "storage.k8s.io", "scheduling.k8s.io", "policy"),
    *("monitoring.coreos.com", "monitoring.googleapis.com", "operator.victoriametrics.com"),
    *("resource.k8s.io", "snapshot.storage.k8s.io", "node.k8s.io", "flowcontrol.apiserver.k8s.io"),
    *("authentication.k8s.io", "authorization.k8s.io", "certificates.k8s.io", "events.k8s.io"),
    *("grafana.integreatly.org", "k8s.cni.cncf.io", "apiregistration.k8s.io", "kueue.x-k8s.io"),
    *("opentelemetry.io", "karpenter.sh", "coordination.k8s.io"),
}  # fmt: skip
_INERT: set[Kind] = {
    *(("", kind) for kind in ("Namespace", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim")),
    *(("", kind) for kind in ("ResourceQuota", "LimitRange", "Event", "Node", "PodTemplate", "Binding")),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("apps", "ControllerRevision"),
}
# What the pickers read through the API stand-in, and pools of older versions, which the plan tells of.
_READ_ELSEWHERE: set[Kind] = {
    *((group, kind) for group in ("inference.networking.x-k8s.io", "llm-d.ai")
      for kind in ("InferenceObjective", "InferenceModelRewrite")),
    ("inference.networking.x-k8s.io", "InferencePool"),
    ("inference.networking.k8s.io", "InferencePool"),
}  # fmt: skip


def is_quiet(kind: Kind) -> bool:
    """Whether nothing needs to be said of objects of this kind although no typed reader takes them."""
    return kind[0] in _INERT_GROUPS or kind in _INERT or kind in _READ_ELSEWHERE
