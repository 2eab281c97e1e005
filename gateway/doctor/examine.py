"""One request through a running stack, with all that Envoy and the stack say about it."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.doctor.evidence import Evidence, from_log_line, log_entries
from gateway.doctor.send import Answer, Request, read_curl, send
from gateway.envoy.example import PROMPT
from gateway.errors import ControlError
from gateway.machine.processes import tail_of

MARK = "simfleet-doctor"
LOG_WAIT_S = 3.0
_LAST_WORDS = 3


def example_of(gateway: Mapping[str, Any], pods: list[Mapping[str, Any]]) -> Request:
    """The request to try: the gateway's example, or a completion where no route of it leads to a pool.

    `gateway` and `pods` are entries of `simfleet ps --format json`. Raises ControlError for a gateway that
    does not listen.
    """
    if gateway.get("curl"):
        return read_curl(gateway["curl"])
    if not gateway.get("url"):
        raise ControlError(f"gateway {gateway['namespace']}/{gateway['name']} has no HTTP listener")
    model = next((pod["models"][0] for pod in pods if pod["models"]), "model")
    body = json.dumps({"model": model, "prompt": PROMPT, "max_tokens": 16})
    return Request(f"{gateway['url']}/v1/completions", body=body)


def examine(request: Request, timeout_s: float, gateway: Mapping[str, Any] | None) -> Evidence:
    """Send the request and gather the evidence, also from the gateway that it goes to."""
    access_log = Path(gateway["access_log"]) if gateway else None
    admin_url = gateway["admin_url"] if gateway else ""
    mark = uuid.uuid4().hex
    answer = send(request.with_query(MARK, mark) if access_log else request, timeout_s)
    entry = _log_line(access_log, mark) if access_log else None
    evidence = from_log_line(entry) if entry else Evidence()
    protocol = _protocol(admin_url, evidence.picker_cluster) if admin_url else ""
    return _together(replace(evidence, picker_protocol=protocol), answer)


def _protocol(admin_url: str, cluster: str) -> str:
    """What Envoy has spoken to a cluster so far: http1, http2, or nothing."""
    if not cluster:
        return ""
    pattern = rf"^cluster\.{re.escape(cluster)}\.upstream_cx_http[12]_total$"
    query = urllib.parse.urlencode({"filter": pattern})
    text = send(Request(f"{admin_url}/stats?{query}"), 2.0).body
    connections = dict(re.findall(r"upstream_cx_(http[12])_total: (\d+)", text))
    return next((name for name in ("http2", "http1") if int(connections.get(name, 0))), "")


def _together(evidence: Evidence, answer: Answer) -> Evidence:
    return replace(
        evidence,
        status=answer.status or evidence.status,
        body=answer.body,
        headers=answer.headers,
        seconds=answer.seconds,
    )


def _log_line(path: Path, mark: str) -> dict[str, Any] | None:
    """The access log entry of the marked request, once Envoy has flushed it."""
    end = time.monotonic() + LOG_WAIT_S
    while True:
        text = path.read_text(errors="replace") if path.exists() else ""
        if entry := next(log_entries(line for line in text.splitlines() if mark in line), None):
            return entry
        if time.monotonic() > end:
            return None
        time.sleep(0.05)


def facts(report: Mapping[str, Any], cluster: str) -> Iterator[str]:
    """What a stack knows to be wrong with itself and that may concern a request to this cluster."""
    for picker in report["pickers"]:
        if picker["state"] != "running":
            last = tail_of(Path(picker["log"]), _LAST_WORDS)
            yield f"picker {picker['name']} is {picker['state']}; its last lines:\n{last}"
    for pod in report["pods"]:
        if pod["state"] != "ready":
            yield f"pod {pod['name']} is {pod['state']}"
    pools = [pool for pool in report["pools"] if pool["host"] in cluster]
    for pool in pools:
        if not pool["endpoints"]:
            yield f"pool {pool['namespace']}/{pool['name']} has no endpoints"
    about = "|".join(re.escape(f"InferencePool {p['namespace']}/{p['name']}") for p in pools)
    relevant = re.compile(rf"(?:{about})(?![\w.-])" if pools else "HTTPRoute|GRPCRoute|Gateway")
    yield from (note for note in report["notes"] if relevant.search(note))
