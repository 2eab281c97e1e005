"""The table of failures: a signature in the evidence, the cause behind it, the cure.

Sources: Envoy 1.40 run with Istio's configuration, Istio's and the inference extension's issues.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.doctor.evidence import Evidence
from gateway.doctor.signatures import (
    Signature,
    ext_proc,
    flag,
    nobody_picked,
    picked_elsewhere,
    picker_said,
    second_choice,
    upstream,
)

_PAGE = "https://github.com/vllm-simfleet/vllm-simfleet/blob/main/docs/troubleshooting.md"


@dataclass(frozen=True)
class Cause:
    """One row; `seen` is the signature in words."""

    id: str
    seen: str
    cause: str
    cure: str
    matches: Signature

    @property
    def page(self) -> str:
        """The address of its section in the documentation."""
        return f"{_PAGE}#{self.id}"


CAUSES: tuple[Cause, ...] = (
    Cause(
        "picker-not-http2",
        "500, details ext_proc_error_gRPC_error_14 with protocol_error, or with connection_termination from a cluster "
        "that never spoke HTTP/2",
        "the gateway speaks HTTP/1.1 to the picker's gRPC server: the Service port is not marked",
        "appProtocol: http2 (or a port name that begins with grpc) on the picker's Service",
        lambda e: ext_proc("protocol_error", "protocol error", "http2")(e)
        or (e.picker_protocol == "http1" and ext_proc("connection_termination", "remote_reset")(e)),
    ),
    Cause(
        "picker-serves-tls",
        "500, details ext_proc_error_gRPC_error_14 with connection_termination",
        "the picker serves TLS and the gateway speaks plain text to it: no DestinationRule applies to the picker's "
        "Service (or the pod has an injected sidecar). Where one applies, the Service port is not marked http2",
        "a DestinationRule for <service>.<namespace>.svc.cluster.local with tls.mode SIMPLE and insecureSkipVerify "
        "true, or --secure-serving=false; sidecar.istio.io/inject: \"false\" on the picker",
        ext_proc("connection_termination", "remote_reset"),
    ),
    Cause(
        "picker-serves-plaintext",
        "500, details ext_proc_error_gRPC_error_14 with TLS_error or WRONG_VERSION_NUMBER",
        "the gateway speaks TLS to a picker that serves plain text",
        "drop --secure-serving=false from the picker, or tls.mode DISABLE in the DestinationRule",
        ext_proc("wrong_version_number", "tls_error", "tls error"),
    ),
    Cause(
        "picker-down",
        "500, details ext_proc_error_gRPC_error_14 with Connection_refused or remote_connection_failure",
        "nothing listens where the picker's Service points: the picker is down, starting, or on another port",
        "kubectl logs of the picker (forbidden: RBAC; unknown field: its configuration); targetPort against "
        "--grpc-port. With FailOpen half of the requests with a body still fail: Envoy can only fail open before it "
        "has sent the first chunk",
        ext_proc("connection_refused", "connection refused", "remote_connection_failure", "delayed_connect_error"),
    ),
    Cause(
        "picker-service-missing",
        "500, details ext_proc_error with Cluster_not_available",
        "Envoy has no cluster for the picker: the Service or its port is not there, or stands in another namespace",
        "the Service that endpointPickerRef names, in the pool's namespace, with that port",
        ext_proc("cluster_not_available", "cluster not available", "cluster_not_found"),
    ),
    Cause(
        "picker-without-endpoints",
        "500, details ext_proc_error with no_healthy_upstream",
        "the picker's Service has no endpoints: scaled to 0, not ready, or its selector matches nothing",
        "selector of the Service against the picker's pod labels; readiness of the picker",
        ext_proc("no_healthy_upstream", "no healthy upstream"),
    ),
    Cause(
        "picker-answers-bodies-wrong",
        "500, details spurious_message",
        "the picker answers a body as if it did not stream it: GIE v1.6.0's lwepp, or a picker of one's own that "
        "does not know FULL_DUPLEX_STREAMED, which gateways use (GIE issue 3035)",
        "an EPP of GIE v1.5 or llm-d-router; of lwepp a build from after v1.6.0",
        lambda e: e.status == 500 and "spurious" in e.details,
    ),
    Cause(
        "picker-broke-off",
        "500, details ext_proc_error with another gRPC error",
        "the picker ended its stream with an error (a crash, or a bug in a plugin)",
        "the picker's log at that time; failureMode does not help once the stream has begun",
        ext_proc("grpc_error", "ext_proc_error"),
    ),
    Cause(
        "filtered-out",
        "429 with 'failed to find target pod', 'target endpoint' or 'no endpoints available for the given request' "
        "in the picker's body",
        "the picker's filters left no endpoint for this request",
        "the filters of the EndpointPickerConfig against the request's headers and the pods' labels",
        picker_said(429, "failed to find target", "no endpoints available for the given request"),
    ),
    Cause(
        "queued-too-long",
        "429 or 503 with 'timed out in queue' in the picker's body",
        "the request waited in the picker's flow control until its time was over: the pool stayed saturated, or no "
        "pod came up",
        "more replicas; flowControl.defaultRequestTTL; a higher priority for this InferenceObjective",
        lambda e: picker_said(429, "timed out in queue")(e) or picker_said(503, "timed out in queue")(e),
    ),
    Cause(
        "shed",
        "429 with the picker's prefix in the body",
        "the picker sheds: every pod is saturated (queue or KV cache over the thresholds) and the request's objective "
        "has a priority below zero, or its queue is full",
        "more replicas, higher thresholds in saturationDetector, or a higher priority for this InferenceObjective",
        picker_said(429),
    ),
    Cause(
        "no-candidates",
        "503 with the picker's prefix in the body",
        "the picker knows no pod to choose: none is ready, the pool's selector matches none, or a filter or the subset "
        "hint leaves none",
        "readiness and labels of the model servers; the picker's filters; x-gateway-destination-endpoint-subset",
        picker_said(503),
    ),
    Cause(
        "path-unknown-to-picker",
        "400 with 'no parser registered matching path suffix' in the picker's body",
        "llm-d-router v0.9 and v0.10 take requests of the paths only that their request handlers know, by how the "
        "path ends; a rewrite of the HTTPRoute comes after the picker",
        "a path that ends as OpenAI's do, a requestHandler.parsers entry for it (passthrough-parser), or a later "
        "release, which forwards unknown paths",
        picker_said(400, "no parser registered"),
    ),
    Cause(
        "bad-request-body",
        "400 with the picker's prefix or 'model not found in request body'",
        "the picker could not read the body: no model, no prompt or messages, or not JSON (a body over 1 MB with a "
        "doubled end of stream looks so too)",
        "a JSON body with model and prompt or messages; for large bodies a newer picker",
        lambda e: picker_said(400)(e) or upstream(400, "model not found in request body")(e),
    ),
    Cause(
        "pool-without-endpoints",
        "503, flag UH, details no_healthy_upstream",
        "the pool has no endpoints: no pod is ready, or the selector matches none",
        "kubectl get pods with the pool's selector; readiness probes; the pool's status",
        lambda e: flag("UH")(e) or "no_healthy_upstream" in e.details or "no healthy upstream" in e.body,
    ),
    Cause(
        "pod-refuses",
        "503, flag UF, details upstream_reset_before_response_started{remote_connection_failure...}",
        "the chosen pod does not accept connections: it died, or targetPorts is not the port that it serves on",
        "targetPorts against --port and containerPort; restarts of the pod",
        lambda e: flag("UF", "URX")(e) or "remote_connection_failure" in e.details,
    ),
    Cause(
        "pod-died",
        "flag UC, or a response that broke off",
        "the pod closed the connection while it answered: killed, restarted, or out of memory",
        "restarts and terminationGracePeriodSeconds; let it drain before it ends",
        lambda e: flag("UC", "UR")(e) or "upstream_reset_after_response_started" in e.details,
    ),
    Cause(
        "timeout",
        "504, flag UT, details upstream_response_timeout",
        "the answer took longer than the route allows",
        "timeouts.request of the HTTPRoute; a stream counts as one request until its last token",
        lambda e: flag("UT", "SI")(e) or "timeout" in e.details or e.status == 504,
    ),
    Cause(
        "picker-hangs",
        "flag DC after a long wait and no upstream host",
        "the client left while Envoy still waited for the picker, which does not answer; no timeout applies to it",
        "the picker's log and CPU; restart it",
        lambda e: flag("DC")(e) and not e.upstream_host and e.seconds >= 1,
    ),
    Cause(
        "client-left",
        "flag DC",
        "the client closed the connection before the answer was complete",
        "the client's own timeout",
        flag("DC"),
    ),
    Cause(
        "policy-denied",
        "403, details rbac_access_denied, body RBAC: access denied",
        "an AuthorizationPolicy that applies to the gateway denies the request, or none of its ALLOW policies "
        "allows it; the details name the rule",
        "the rules' paths, methods, hosts and headers; targetRefs or selector of the policy",
        lambda e: e.status == 403 and ("rbac_access_denied" in e.details or e.body.startswith("RBAC:")),
    ),
    Cause(
        "no-route",
        "404, flag NR, details route_not_found, empty body",
        "no route has this host and path (PathPrefix /v1/completions does not cover /v1/chat/completions), or the "
        "route is not attached to this listener",
        "a match for the path; the route's status.parents; hostnames against the Host header",
        lambda e: flag("NR")(e) or "route_not_found" in e.details or (e.status == 404 and not e.body and not e.upstream_host),
    ),
    Cause(
        "route-without-backend",
        "500, details direct_response or cluster_not_found, flag NC",
        "the route's backend cannot be resolved: wrong group or kind, missing pool, Service or port, or no ReferenceGrant",
        "backendRefs with group inference.networking.k8s.io; the route's ResolvedRefs condition",
        lambda e: flag("NC")(e) or (e.status == 500 and ("cluster_not_found" in e.details or e.details == "direct_response")),
    ),
    Cause(
        "unknown-model",
        "404 from a model server: the model does not exist",
        "no pod serves a model or adapter of this name",
        "curl /v1/models; --served-model-name and --lora-modules; an InferenceModelRewrite",
        upstream(404, r"model .* does not exist"),
    ),
    Cause(
        "unknown-path",
        "404 or 405 from a model server",
        "the route passes a path, or a method, that the model server does not have",
        "the path; a URLRewrite filter; POST for completions",
        lambda e: e.status in (404, 405) and (bool(e.upstream_host) or "not found" in e.body.lower()),
    ),
    Cause(
        "content-type",
        "400 from a model server: Unsupported Media Type",
        "curl -d sends JSON as application/x-www-form-urlencoded, which vLLM refuses",
        "-H 'Content-Type: application/json', or a server without --strict-content-type",
        upstream(400, "Unsupported Media Type"),
    ),
    Cause(
        "unauthorized",
        "401 from a model server",
        "the model server wants an API key",
        "-H 'Authorization: Bearer <key>'",
        lambda e: e.status == 401,
    ),
    Cause(
        "server-full",
        "429 or 503 from a model server",
        "the chosen pod's own queue is full (--max-num-queued-reqs, --max-waiting-queue-length) or it drains",
        "more replicas; whether the picker sees num_requests_waiting",
        lambda e: e.status in (429, 503) and bool(e.upstream_host),
    ),
    Cause(
        "request-refused",
        "400 or 422 from a model server",
        "the model server does not accept what the request says; its answer names the field",
        "the body of the answer",
        lambda e: e.status in (400, 422) and bool(e.upstream_host),
    ),
    Cause(
        "server-error",
        "500 or 502 from a model server",
        "the model server failed by itself: the engine died, or a fault was injected",
        "the log and /health of the pod that x-inference-pod names",
        lambda e: e.status in (500, 502) and bool(e.upstream_host),
    ),
    Cause(
        "second-choice",
        "200 from a later one of several picked endpoints, or from another one at the second attempt",
        "the picked pod did not accept the connection and Envoy's retry took the next: the picker's second choice, "
        "else any pod",
        "why that pod is down, or listens elsewhere, but is ready for the picker; targetPorts against --port",
        second_choice,
    ),
    Cause(
        "pick-ignored",
        "200 from a host that was not picked",
        "the picker chose an address that is not (or no longer) an endpoint of the pool, and Envoy went round robin",
        "the addresses the picker knows against the pool's pods; a picker that watches another pool or namespace",
        picked_elsewhere,
    ),
    Cause(
        "picker-passed-over",
        "200, no pick in the metadata, an ext_proc stream that failed",
        "the picker did not answer, and failureMode FailOpen sent the request to any pod",
        "the picker, its Service and its TLS: with FailClose the same request says more (500)",
        lambda e: nobody_picked(e) and e.picker_failed,
    ),
    Cause(
        "picker-not-asked",
        "200, no pick in the metadata, no ext_proc stream",
        "the picker was not asked: the route has no ext_proc of its own (an Istio before 1.28.5 / 1.29.0 with two "
        "routes, a CORS or fault filter on the route, a weighted rule), or it was down and failureMode is FailOpen",
        "Envoy's ext_proc counters; Istio's version; the route's filters and weights",
        lambda e: nobody_picked(e) and not e.picker_asked,
    ),
    Cause(
        "picker-without-pick",
        "200, an ext_proc stream, but no pick in the metadata",
        "the picker answered, but without x-gateway-destination-endpoint in the metadata envoy.lb",
        "the picker's log and version: a header alone is not enough for Istio",
        nobody_picked,
    ),
)  # fmt: skip

HEALTHY = Cause(
    "ok", "an answer below 400 from the picked pod", "nothing is wrong", "", lambda e: 0 < e.status < 400
)
UNKNOWN = Cause(
    "unknown",
    "no signature fits",
    "not in the table",
    "the access log line with RESPONSE_CODE_DETAILS and RESPONSE_FLAGS, and the picker's log",
    lambda e: True,
)


def diagnose(evidence: Evidence) -> Cause:
    """The first cause whose signature fits; HEALTHY where nothing is wrong, UNKNOWN where nothing fits."""
    return next(c for c in (*CAUSES, HEALTHY, UNKNOWN) if c.matches(evidence))
