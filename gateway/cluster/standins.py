"""The custom kinds that the API serves before anybody has installed a CRD: those that a gateway is made of.

They know groups, versions, short names and defaults; any field is taken. Whoever wants the published schemas
applies the published CRDs, which replace these, or names a folder of them (`--crds`).
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

GATEWAY, GIE, GIE_X = (
    "gateway.networking.k8s.io",
    "inference.networking.k8s.io",
    "inference.networking.x-k8s.io",
)
ISTIO, LLMD = "networking.istio.io", "llm-d.ai"
SECURITY, TELEMETRY, EXTENSIONS = "security.istio.io", "telemetry.istio.io", "extensions.istio.io"
BUNDLE = "v1.6.0"  # of the Gateway API; istiod looks at kinds from certain bundles on
STANDIN = "simfleet.dev/stand-in"  # annotation: ours, until the published one is applied


def _open(**properties: Object) -> Object:
    found: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return found | ({"properties": properties} if properties else {})


def _list(items: Object, *keys: str, **more: Any) -> Object:
    found: Object = {"type": "array", "items": items, **more}
    if keys:
        found |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    return found


def _text(default: str) -> Object:
    return {"type": "string", "default": default}


_CONDITIONS = _list(_open(type={"type": "string"}), "type")
_STATUS = _open(conditions=_CONDITIONS)
_PARENTS = _list(_open(group=_text(GATEWAY), kind=_text("Gateway")))
_BACKENDS = _list(_open(group=_text(""), kind=_text("Service"), weight={"type": "integer", "default": 1}))
_PATH: Object = {
    **_open(type=_text("PathPrefix"), value=_text("/")),
    "default": {"type": "PathPrefix", "value": "/"},
}
_EXACT = _list(_open(type=_text("Exact")))
_MATCHES = _list(
    _open(path=_PATH, headers=_EXACT, queryParams=_EXACT),
    default=[{"path": {"type": "PathPrefix", "value": "/"}}],
)
_FILTERS = _list(
    _open(
        requestRedirect=_open(statusCode={"type": "integer", "default": 302}),
        cors=_open(maxAge={"type": "integer", "default": 5}),
    )
)
_HTTP_RULES = _list(
    _open(matches=_MATCHES, backendRefs=_BACKENDS, filters=_FILTERS),
    default=[{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}],
)
_PENDING = [
    {
        "type": type_,
        "status": "Unknown",
        "reason": "Pending",
        "message": "Waiting for controller",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }
    for type_ in ("Accepted", "Programmed")
]
_LISTENER = _open(
    name={"type": "string"},
    allowedRoutes={
        **_open(namespaces={**_open(**{"from": _text("Same")}), "default": {"from": "Same"}}),
        "default": {"namespaces": {"from": "Same"}},
    },
    tls=_open(mode=_text("Terminate"), certificateRefs=_list(_open(group=_text(""), kind=_text("Secret")))),
)
_GATEWAY = _open(
    spec=_open(listeners=_list(_LISTENER, "name")),
    status={
        **_open(conditions=_CONDITIONS, listeners=_list(_open(name={"type": "string"}), "name")),
        "default": {"conditions": _PENDING},
    },
)
_ROUTE_STATUS = _open(parents=_list(_open()))
_POOL_REF = _open(group=_text(GIE), kind=_text("InferencePool"))
_POOL = _open(
    spec=_open(
        appProtocol=_text("http"),
        endpointPickerRef=_open(group=_text(""), kind=_text("Service"), failureMode=_text("FailClose")),
    ),
    status=_ROUTE_STATUS,
)
_OBJECTIVE = _open(spec=_open(poolRef=_POOL_REF), status=_STATUS)
_REWRITE = _open(
    spec=_open(
        poolRef=_POOL_REF,
        rules=_list(_open(matches=_list(_open(model=_open(type=_text("Exact")))))),
    ),
    status=_STATUS,
)
_ANY = _open(spec=_open(), status=_STATUS)
Columns = tuple[tuple[str, str, str], ...]
_AGE = (("Age", "date", ".metadata.creationTimestamp"),)
_HOSTS: Columns = (("Hostnames", "string", ".spec.hostnames"), *_AGE)

# group, plural, kind, versions (the stored one first), short names, scope, schema, columns
_TABLE: tuple[tuple[str, str, str, tuple[str, ...], tuple[str, ...], bool, Object, Columns], ...] = (
    (GATEWAY, "gatewayclasses", "GatewayClass", ("v1", "v1beta1"), ("gc",), False, _ANY, (
        ("Controller", "string", ".spec.controllerName"),
        ("Accepted", "string", '.status.conditions[?(@.type=="Accepted")].status'), *_AGE)),
    (GATEWAY, "gateways", "Gateway", ("v1", "v1beta1"), ("gtw",), True, _GATEWAY, (
        ("Class", "string", ".spec.gatewayClassName"), ("Address", "string", ".status.addresses[*].value"),
        ("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].status'), *_AGE)),
    (GATEWAY, "httproutes", "HTTPRoute", ("v1", "v1beta1"), (), True,
     _open(spec=_open(parentRefs=_PARENTS, rules=_HTTP_RULES), status=_ROUTE_STATUS), _HOSTS),
    (GATEWAY, "grpcroutes", "GRPCRoute", ("v1",), (), True,
     _open(spec=_open(parentRefs=_PARENTS, rules=_list(_open(backendRefs=_BACKENDS))), status=_ROUTE_STATUS),
     _HOSTS),
    (GATEWAY, "referencegrants", "ReferenceGrant", ("v1beta1", "v1"), ("refgrant",), True, _ANY, _AGE),
    (GATEWAY, "backendtlspolicies", "BackendTLSPolicy", ("v1",), ("btlspolicy",), True, _ANY, _AGE),
    (GIE, "inferencepools", "InferencePool", ("v1",), ("infpool",), True, _POOL, _AGE),
    (GIE_X, "inferenceobjectives", "InferenceObjective", ("v1alpha2",), ("infobj",), True, _OBJECTIVE, (
        ("Inference Pool", "string", ".spec.poolRef.name"), ("Priority", "string", ".spec.priority"), *_AGE)),
    (GIE_X, "inferencemodelrewrites", "InferenceModelRewrite", ("v1alpha2",), ("infmr",), True, _REWRITE,
     _AGE),
    (LLMD, "inferenceobjectives", "InferenceObjective", ("v1alpha2",), (), True, _OBJECTIVE, _AGE),
    (LLMD, "inferencemodelrewrites", "InferenceModelRewrite", ("v1alpha2",), (), True, _REWRITE, _AGE),
    (ISTIO, "destinationrules", "DestinationRule", ("v1", "v1beta1", "v1alpha3"), ("dr",), True, _ANY, (
        ("Host", "string", ".spec.host"), *_AGE)),
    (SECURITY, "authorizationpolicies", "AuthorizationPolicy", ("v1", "v1beta1"), ("ap",), True, _ANY, (
        ("Action", "string", ".spec.action"), *_AGE)),
)  # fmt: skip

# What only istiod reads: its versions, short names, whether it is an object of a namespace.
_ISTIO_ONLY = (
    (ISTIO, "envoyfilters", "EnvoyFilter", ("v1alpha3",), ()),
    (ISTIO, "gateways", "Gateway", ("v1", "v1beta1", "v1alpha3"), ("gw",)),
    (ISTIO, "proxyconfigs", "ProxyConfig", ("v1beta1",), ()),
    (ISTIO, "serviceentries", "ServiceEntry", ("v1", "v1beta1", "v1alpha3"), ("se",)),
    (ISTIO, "sidecars", "Sidecar", ("v1", "v1beta1", "v1alpha3"), ()),
    (ISTIO, "virtualservices", "VirtualService", ("v1", "v1beta1", "v1alpha3"), ("vs",)),
    (ISTIO, "workloadentries", "WorkloadEntry", ("v1", "v1beta1", "v1alpha3"), ("we",)),
    (ISTIO, "workloadgroups", "WorkloadGroup", ("v1", "v1beta1", "v1alpha3"), ("wg",)),
    (SECURITY, "peerauthentications", "PeerAuthentication", ("v1", "v1beta1"), ("pa",)),
    (SECURITY, "requestauthentications", "RequestAuthentication", ("v1", "v1beta1"), ("ra",)),
    (TELEMETRY, "telemetries", "Telemetry", ("v1", "v1alpha1"), ("telemetry",)),
    (EXTENSIONS, "wasmplugins", "WasmPlugin", ("v1alpha1",), ()),
    (EXTENSIONS, "trafficextensions", "TrafficExtension", ("v1alpha1",), ()),
)


def standins(*, istio: bool = False) -> list[Object]:
    """CRDs, as their author would write them; `istio`: those, too, that only istiod reads."""
    more = [(*row, True, _ANY, _AGE) for row in _ISTIO_ONLY] if istio else []
    return [_crd(row) for row in (*_TABLE, *more)]


def _crd(row: tuple[str, str, str, tuple[str, ...], tuple[str, ...], bool, Object, Columns]) -> Object:
    group, plural, kind, versions, short, namespaced, schema, columns = row
    names: Object = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    if short:
        names["shortNames"] = list(short)
    if group == GATEWAY:
        names["categories"] = ["gateway-api"]
    notes = {STANDIN: "true", **({f"{GATEWAY}/bundle-version": BUNDLE} if group == GATEWAY else {})}
    listed = [{"name": n, "type": t, "jsonPath": p} for n, t, p in columns]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": notes},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": i == 0,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": listed,
                }
                for i, version in enumerate(versions)
            ],
        },
    }
