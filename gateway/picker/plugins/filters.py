"""The EPP's filters as pure functions over candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.picker.pool.endpoints import Candidate

TEST_HEADER = "test-epp-endpoint-selection"


def header_based_testing(headers: Mapping[str, str], candidates: Sequence[Candidate]) -> list[Candidate]:
    """The endpoints named in test-epp-endpoint-selection ("ip" or "ip:port", comma separated), in its order.

    No header, no endpoint: the filter is for conformance tests only.
    """
    by_ip = {candidate.endpoint.address: candidate for candidate in candidates}
    by_host_port = {f"{c.endpoint.address}:{c.endpoint.port}": c for c in candidates}
    chosen: dict[str, Candidate] = {}
    for item in headers.get(TEST_HEADER, "").split(","):
        wanted = item.strip()
        host, port = _split_host_port(wanted)
        candidate = by_host_port.get(f"{host}:{port}") if port else by_ip.get(host)
        if wanted and candidate:
            chosen.setdefault(candidate.endpoint.address, candidate)
    return list(chosen.values())


def _split_host_port(item: str) -> tuple[str, str]:
    if item.startswith("["):
        host, _, port = item[1:].partition("]")
        return host, port.removeprefix(":")
    host, separator, port = item.rpartition(":")
    return (host, port) if separator and ":" not in host else (item, "")


class ByLabelParameters(msgspec.Struct, rename="camel"):
    label: str = ""
    valid_values: list[str] = []
    allows_no_label: bool = False


def by_label(candidates: Sequence[Candidate], parameters: ByLabelParameters) -> list[Candidate]:
    """Endpoints whose label has one of the values."""
    wanted = set(parameters.valid_values)
    return [
        candidate
        for candidate in candidates
        if (value := candidate.endpoint.labels.get(parameters.label)) in wanted
        or (value is None and parameters.allows_no_label)
    ]


ROLE = "llm-d.ai/role"
# The values of ROLE that each filter takes, and whether it takes pods without the label.
ROLES = {
    "decode-filter": ByLabelParameters(
        ROLE, ["decode", "prefill-decode", "both", "encode-prefill-decode"], True
    ),
    "prefill-filter": ByLabelParameters(
        ROLE, ["prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"]
    ),
    "encode-filter": ByLabelParameters(ROLE, ["encode", "encode-prefill", "encode-prefill-decode"]),
}
