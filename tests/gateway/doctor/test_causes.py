"""Signatures against the evidence that a stock Envoy gave for each broken stack."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.doctor.causes import CAUSES, diagnose
from gateway.doctor.evidence import Evidence, from_log_line, read_log
from gateway.doctor.examine import _log_line

POOL = "outbound|54321||sim-ip-12aa9e1e.ns.svc.cluster.local"


def ext_proc(reason: str) -> Evidence:
    return Evidence(status=500, details=f"ext_proc_error_gRPC_error_14{{upstream_connect_error_{reason}}}")


PICKED: dict[str, Any] = {
    "picked": "127.0.0.2:8000",
    "knows_pick": True,
    "cluster": POOL,
    "details": "via_upstream",
}
CASES = [
    (ext_proc("reset_reason:_connection_termination"), "picker-serves-tls"),
    (ext_proc("transport_failure_reason:_TLS_error:|268435703:SSL:WRONG_VERSION_NUMBER"), "picker-serves-plaintext"),
    (ext_proc("reset_reason:_protocol_error"), "picker-not-http2"),
    (replace(ext_proc("reset_reason:_connection_termination"), picker_protocol="http1"), "picker-not-http2"),
    (replace(ext_proc("reset_reason:_connection_termination"), picker_protocol="http2"), "picker-serves-tls"),
    (ext_proc("remote_connection_failure|delayed_connect_error:_Connection_refused"), "picker-down"),
    (Evidence(status=500, details="ext_proc_error_gRPC_error_14{Cluster_not_available}"), "picker-service-missing"),
    (Evidence(status=500, details="ext_proc_error_gRPC_error_14{no_healthy_upstream}"), "picker-without-endpoints"),
    (Evidence(status=500, details="ext_proc_error_gRPC_error_13{panic}"), "picker-broke-off"),
    (Evidence(status=429, body="inference gateway: InferencePoolResourceExhausted - system saturated"), "shed"),
    (Evidence(status=429, body="inference error: ResourceExhausted - failed to find target endpoint: x"), "filtered-out"),
    (Evidence(status=429, body="inference error: ResourceExhausted - no endpoints available for the given request"), "filtered-out"),
    (Evidence(status=429, body="inference error: ResourceExhausted - request timed out in queue: x"), "queued-too-long"),
    (Evidence(status=503, body="inference error: ServiceUnavailable - request timed out in queue and y"), "queued-too-long"),
    (Evidence(status=503, body="inference error: ServiceUnavailable - failed to find candidates"), "no-candidates"),
    (Evidence(status=500, details="spurious_message"), "picker-answers-bodies-wrong"),
    (
        Evidence(status=400, body="inference error: BadRequest - no parser registered matching path suffix for: /good"),
        "path-unknown-to-picker",
    ),
    (Evidence(status=400, body="inference gateway: BadRequest - model not found in request body"), "bad-request-body"),
    (Evidence(status=503, flags="UH", details="no_healthy_upstream", body="no healthy upstream"), "pool-without-endpoints"),
    (Evidence(status=503, flags="UF", details="upstream_reset_before_response_started{remote_connection_failure}"), "pod-refuses"),
    (Evidence(status=200, flags="UC", details="upstream_reset_after_response_started{connection_termination}"), "pod-died"),
    (Evidence(status=504, flags="UT", details="response_timeout"), "timeout"),
    (Evidence(flags="DC", details="downstream_remote_disconnect", seconds=9.0), "picker-hangs"),
    (Evidence(flags="DC", details="downstream_remote_disconnect", upstream_host="127.0.0.2:8000", seconds=9.0), "client-left"),
    (Evidence(status=403, details="rbac_access_denied_matched_policy[ns[i]-policy[p]-rule[0]]"), "policy-denied"),
    (Evidence(status=403, body="RBAC: access denied"), "policy-denied"),
    (Evidence(status=404, flags="NR", details="route_not_found"), "no-route"),
    (Evidence(status=404), "no-route"),
    (Evidence(status=500, flags="NC", details="cluster_not_found"), "route-without-backend"),
    (Evidence(status=404, body='{"error":{"message":"The model `x` does not exist."}}', upstream_host="h"), "unknown-model"),
    (Evidence(status=404, body='{"detail":"Not Found"}', upstream_host="h"), "unknown-path"),
    (Evidence(status=400, body="Unsupported Media Type: Only 'application/json' is allowed"), "content-type"),
    (Evidence(status=401, body='{"error":"Unauthorized"}', upstream_host="h"), "unauthorized"),
    (Evidence(status=503, details="via_upstream", upstream_host="127.0.0.2:8000", body="busy"), "server-full"),
    (Evidence(status=400, details="via_upstream", upstream_host="h", body='{"error":{}}'), "request-refused"),
    (Evidence(status=500, details="via_upstream", upstream_host="h", body="{}"), "server-error"),
    (Evidence(status=200, upstream_host="127.0.0.3:8000", **{**PICKED, "picked": "127.0.0.2:8000,127.0.0.3:8000"}), "second-choice"),
    (Evidence(status=200, upstream_host="127.0.0.3:8000", attempts=2, **PICKED), "second-choice"),
    (Evidence(status=200, upstream_host="127.0.0.3:8000", attempts=1, **PICKED), "pick-ignored"),
    (Evidence(status=200, upstream_host="127.0.0.3:8000", ext_proc="bs:0,br:0,os:14,ds:outbound|9002||epp", **{**PICKED, "picked": ""}), "picker-passed-over"),
    (Evidence(status=200, upstream_host="127.0.0.3:8000", ext_proc="rh:9:14,bs:0,br:0,os:0,ds:outbound|9002||epp", **{**PICKED, "picked": ""}), "picker-passed-over"),
    (Evidence(status=200, upstream_host="127.0.0.3:8000", ext_proc="bs:0,br:0,os:0,ds:", **{**PICKED, "picked": ""}), "picker-not-asked"),
    (Evidence(status=200, upstream_host="127.0.0.3:8000", ext_proc="rh:15700:0,bs:1537,br:513,os:0,ds:outbound|9002||epp", **{**PICKED, "picked": ""}), "picker-without-pick"),
    (Evidence(status=200, upstream_host="127.0.0.2:8000", **PICKED), "ok"),
    (Evidence(status=418), "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "cause"), CASES, ids=[f"{i}-{c}" for i, (_, c) in enumerate(CASES)])
def test_signature(evidence: Evidence, cause: str) -> None:
    assert diagnose(evidence).id == cause


def test_every_cause_has_a_case() -> None:
    assert {c.id for c in CAUSES} == {cause for _, cause in CASES} - {"ok", "unknown"}


def test_causes_say_what_was_seen_why_and_what_to_do() -> None:
    assert all(c.seen and c.cause and c.cure for c in CAUSES)


def test_reads_our_access_log_and_istios() -> None:
    ours = {
        "status": "503",
        "details": "no_healthy_upstream",
        "flags": "UH",
        "picked": None,
        "duration_ms": 12,
    }
    istio = {"response_code": 503, "response_code_details": "no_healthy_upstream", "response_flags": "UH"}
    text = "\n".join(["[not json", json.dumps(ours), json.dumps([1]), json.dumps(istio)])
    first, second = read_log(text)
    assert first == from_log_line(ours)
    assert (first.status, first.seconds, first.knows_pick) == (503, 0.012, True)
    assert (second.status, second.flags, second.knows_pick) == (503, "UH", False)
    assert diagnose(first) is diagnose(second)


def test_a_line_that_envoy_is_still_writing_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    line = json.dumps(
        {"path": "/?simfleet-doctor=m-1", "authority": "café", "status": 200}, ensure_ascii=False
    )
    whole = line.encode() + b"\n"
    half = whole.index("é".encode()) + 1
    log.write_bytes(whole[:half])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_log_line, log, "m-1")
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        with log.open("ab") as file:
            file.write(whole[half:])
        assert waiting.result(5) == json.loads(line)


def test_a_dash_is_nothing() -> None:
    assert from_log_line({"status": 200, "flags": "-", "upstream_host": "-"}).upstream_host == ""
