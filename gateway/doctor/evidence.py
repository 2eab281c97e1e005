"""What is known about one request: its answer, Envoy's access log line, Envoy's counters around it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Our access log's keys, then those of Istio's JSON access log.
_KEYS = {
    "status": ("status", "response_code"),
    "details": ("details", "response_code_details"),
    "flags": ("flags", "response_flags"),
    "upstream_host": ("upstream_host",),
    "cluster": ("cluster", "upstream_cluster"),
    "failure": ("upstream_failure", "upstream_transport_failure_reason"),
    "picked": ("picked",),
    "served": ("served",),
    "method": ("method",),
    "path": ("path",),
    "ext_proc": ("ext_proc",),
}
# Request and response (s) headers, body, trailers in `ext_proc`; the last number is a gRPC status.
_MESSAGES = ("rh", "rb", "rt", "sh", "sb", "st")


@dataclass(frozen=True)
class Evidence:
    """One request. Empty strings, 0 and None stand for what is not known.

    `picked` and `served` are `ip:port` as the picker and Envoy wrote them, `picked` perhaps a list;
    `knows_pick`: the access log has these fields, so that an empty `picked` means that nobody picked.
    `ext_proc` is Envoy's account of its talk with the picker: microseconds and status of each message, bytes
    sent (`bs`), the final gRPC status (`os`) and the picker's cluster (`ds`).
    `picker_protocol` is http1 where the picker's cluster has never spoken HTTP/2, else http2.
    """

    status: int = 0
    attempts: int = 0
    body: str = ""
    details: str = ""
    flags: str = ""
    upstream_host: str = ""
    cluster: str = ""
    failure: str = ""
    picked: str = ""
    served: str = ""
    method: str = ""
    path: str = ""
    seconds: float = 0.0
    knows_pick: bool = False
    ext_proc: str = ""
    picker_protocol: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def pool_request(self) -> bool:
        """Whether Envoy sent it, or meant to send it, to the pods of an InferencePool."""
        return "-ip-" in self.cluster

    @property
    def picker_asked(self) -> bool | None:
        """Whether Envoy spoke to the picker, or tried to; None where the log does not tell."""
        account = self._account()
        return account["bs"] != "0" or bool(account.get("ds")) if account.get("bs") else None

    @property
    def picker_failed(self) -> bool:
        """Whether the talk with the picker ended with a gRPC error."""
        account = self._account()
        statuses = (account[key].rpartition(":")[2] for key in _MESSAGES if key in account)
        return any(status != "0" for status in (account.get("os", "0"), *statuses))

    @property
    def picker_cluster(self) -> str:
        return self._account().get("ds", "")

    def _account(self) -> dict[str, str]:
        return dict(part.partition(":")[::2] for part in self.ext_proc.split(","))


def from_log_line(entry: Mapping[str, Any]) -> Evidence:
    """The evidence in one access log entry, ours or Istio's JSON one."""
    found: dict[str, str] = {}
    for name, keys in _KEYS.items():
        value = next((entry[k] for k in keys if entry.get(k) not in (None, "-")), "")
        found[name] = str(value)
    attempts = entry.get("attempts", entry.get("upstream_request_attempt_count"))
    milliseconds = entry.get("duration_ms", entry.get("duration")) or 0
    status = found.pop("status")
    return Evidence(
        status=int(status) if status.isdigit() else 0,
        attempts=attempts if isinstance(attempts, int) else 0,
        seconds=float(milliseconds) / 1000,
        knows_pick="picked" in entry,
        **found,  # type: ignore[arg-type] # every remaining key is a text field
    )


def log_entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The entries of an access log; a line that is no JSON object, or not yet a whole one, is passed over."""
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def read_log(text: str) -> Iterator[Evidence]:
    """What an access log says of each of its requests."""
    return map(from_log_line, log_entries(text.splitlines()))
