"""Requests as the page lists them: a line of the decision log and one of the access log, by their id."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

import msgspec

from gateway.doctor.causes import HEALTHY, diagnose
from gateway.doctor.evidence import from_log_line
from gateway.why.decision import Decision
from gateway.why.explain import explain, picker_ms, summary

Json = dict[str, Any]


class Access(msgspec.Struct, gc=False):
    """A line of the access log (gateway/envoy/listeners.py); times in milliseconds."""

    status: int | None = None
    authority: str | None = None
    path: str | None = None
    request_id: str | None = None
    client_id: str | None = None
    route: str | None = None
    cluster: str | None = None
    upstream_host: str | None = None
    picked: str | None = None
    served: str | None = None
    pod: str | None = None
    ext_proc: str | None = None
    duration_ms: float | None = None
    first_byte_ms: float | None = None

    @property
    def place(self) -> str:
        """host:port of the server that answered; empty where none did."""
        return self.served or self.upstream_host or ""

    @property
    def kind(self) -> str:
        """2xx, 4xx ...; 0xx for a client that left before an answer."""
        return f"{(self.status or 0) // 100}xx"


_ACCESS = msgspec.json.Decoder(Access)


def read_access(line: bytes) -> Access | None:
    """The entry of a line; None for one that is none."""
    try:
        return _ACCESS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _reasoned(row: Json, decision: Decision) -> None:
    told = summary(decision)
    told.pop("request_id")
    row.update(told, objective=decision.objective, priority=decision.priority)


class Requests:
    """The last requests, and the decisions behind them; both bounded."""

    def __init__(self, most: int = 500, decisions: int = 1000) -> None:
        self._rows: OrderedDict[str, Json] = OrderedDict()
        self._lines: dict[str, bytes] = {}  # of the access log, by request
        self._changed: dict[str, Json] = {}
        self._most = most
        self._decisions: OrderedDict[str, Decision] = OrderedDict()
        self._kept = decisions

    @property
    def decisions(self) -> list[Decision]:
        """The last decisions, oldest first."""
        return list(self._decisions.values())

    def decided(self, decision: Decision) -> None:
        """A line of a decision log."""
        name = decision.request_id or f"at {decision.time}"
        self._decisions[name] = decision
        if len(self._decisions) > self._kept:
            self._decisions.popitem(last=False)
        _reasoned(self._row(name), decision)

    def answered(self, gateway: str, entry: Access, line: bytes, pod: str | None = None) -> None:
        """A line of the access log of `gateway`; pod: whose address answered."""
        name = entry.request_id or f"line {hash(line)}"
        row = self._row(name)
        row.setdefault("time", time.time())
        row["gateway"], row["route"], row["cluster"] = gateway, entry.route, entry.cluster
        self._lines[name] = line
        row["status"] = entry.status or 0
        row["ttft"] = entry.first_byte_ms
        row["ms"] = entry.duration_ms
        row["picker_ms"] = picker_ms(entry.ext_proc or "")
        row["path"] = entry.path
        row["served"] = entry.place
        row["as_picked"] = entry.place == entry.picked.split(",")[0] if entry.picked and entry.place else None
        if answering := entry.pod or pod:
            row["pod"] = answering
        if entry.client_id and not row.get("client_id"):
            row["client_id"] = entry.client_id
        if "reason" not in row or not entry.status or entry.status >= 400:
            row["cause"] = self._cause(line)

    def _row(self, name: str) -> Json:
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = {"id": name}
            if decision := self._decisions.get(name):  # its row went before its answer came
                _reasoned(row, decision)
            if len(self._rows) > self._most:
                gone, _ = self._rows.popitem(last=False)
                self._lines.pop(gone, None)
                self._changed.pop(gone, None)
        self._changed[name] = row
        return row

    def _cause(self, line: bytes) -> str | None:
        cause = diagnose(from_log_line(msgspec.json.decode(line)))
        return None if cause is HEALTHY else cause.id

    def changed(self) -> list[Json]:
        """The rows that changed since the last call, oldest first."""
        found, self._changed = list(self._changed.values()), {}
        return found

    def all(self) -> list[Json]:
        """Every row, oldest first."""
        return list(self._rows.values())

    def explain(self, name: str, shown: dict[str, str]) -> Json | None:
        """Everything about one request; None for one that is gone."""
        row, decision = self._rows.get(name), self._decisions.get(name)
        line = self._lines.get(name)
        entry = msgspec.json.decode(line) if line else None
        if decision is not None:
            return {**explain(decision, entry, shown), "row": row, "entry": entry}
        if row is None:
            return None
        empty = explain(Decision(row.get("time", 0.0), name), entry, shown)
        return {**empty, "sentence": "", "row": row, "entry": entry, "rows": []}
