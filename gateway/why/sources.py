"""Where a stack's decisions and access log lines are, and finding some of them."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import ControlError, UsageError
from gateway.why.decision import Decision, decode_all
from gateway.why.logs import newest_lines

MOST_LINES = 200_000  # of each log; a search gives up there and says so


@dataclass(frozen=True)
class Sources:
    """Decision logs and access logs, each as long as it is there."""

    decisions: tuple[Path, ...]
    access: tuple[Path, ...] = ()

    def newest(
        self, count: int, wanted: Callable[[Decision], bool] = lambda _: True, mark: bytes = b""
    ) -> list[Decision]:
        """The last `count` decisions that are wanted, newest first. mark: what their lines contain.

        UsageError for a log that cannot be read.
        """
        streams = [filter(wanted, decode_all(self._lines(path, mark))) for path in self.decisions]
        merged = heapq.merge(*streams, key=lambda decision: -decision.time)
        return list(itertools.islice(merged, count))

    def _lines(self, path: Path, mark: bytes) -> Iterator[bytes]:
        try:
            for line in itertools.islice(newest_lines(path), MOST_LINES):
                if mark in line:
                    yield line
        except OSError as error:
            raise UsageError(f"decision log {path}: {error.strerror}") from error

    def find(self, request: str) -> Decision | None:
        """The newest decision whose request has this id, as gateway or client named it, or an end of it."""

        def named(decision: Decision) -> bool:
            ids = (decision.request_id, decision.client_id or "")
            return any(i == request or i.endswith(f"/{request}") or i.startswith(request) for i in ids if i)

        return next(iter(self.newest(1, named, json.dumps(request)[1:-1].encode())), None)

    def entry(self, request_id: str) -> dict[str, Any] | None:
        """The access log's line of a request; None before it is there."""
        return self.entries([request_id]).get(request_id)

    def entries(self, request_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """The access log's lines of requests, as far as they are there; each log is read once."""
        wanted, found = set(filter(None, request_ids)), dict[str, dict[str, Any]]()
        mark = json.dumps(next(iter(wanted)))[1:-1].encode() if len(wanted) == 1 else b""
        for path in self.access:
            try:
                for line in itertools.islice(newest_lines(path), MOST_LINES):
                    if len(found) == len(wanted):
                        return found
                    if mark in line and (name := (entry := _entry(line)).get("request_id")) in wanted:
                        found.setdefault(str(name), entry)
            except OSError:
                continue  # nothing has passed this gateway yet
        return found


def _entry(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def of_stack(report: Mapping[str, Any]) -> Sources:
    """The logs of a running stack. ControlError, with its reason, where no picker writes decisions."""
    pickers: Sequence[Mapping[str, Any]] = report["pickers"]
    logs = tuple(Path(p["decision_log"]) for p in pickers if p.get("decision_log"))
    if not logs:
        kinds = ", ".join(f"{p['name']} ({p['kind']})" for p in pickers) or "there is none"
        raise ControlError(
            f"no picker of stack {report['name']} writes a decision log: {kinds}; only the reference picker "
            "does (`simfleet up --epp reference`)"
        )
    return Sources(logs, tuple(Path(g["access_log"]) for g in report["gateways"]))
