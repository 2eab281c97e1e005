"""Requests as the client, the gateway, the picker and the pods saw them, joined by their names.

A request carries `RUN/ID` in a header of the client's own, which the access log and the decision log repeat
as `client_id`. The gateway may give it an `x-request-id` of its own; the pod's answer is named after that one
(`cmpl-ID`, `chatcmpl-ID`, `resp_ID`). So the access log's line ties all four together, and a decision log
that knows no `client_id` is still found by the id in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import msgspec

from loadgen.numbers.figure import Card, Figure
from loadgen.numbers.jsonl import read_lines
from loadgen.records.records import Record
from loadgen.score.decisions import Decision

# vLLM's names of answers: a prefix for the API, and the id of the request.
_OF_ANSWER = re.compile(r"(?:chatcmpl|cmpl|resp|embd|msg)[-_](.+)", re.DOTALL)
MOST_EXAMPLES = 5


class AccessLine(msgspec.Struct):
    """One line of a gateway's access log, as far as it is read here."""

    client_id: str | None = None
    request_id: str | None = None
    picked: str | None = None
    served: str | None = None
    upstream_host: str | None = None
    pod: str | None = None
    scores: Any = None
    """The picker's total of each endpoint, from pickers that tell it."""


class Joined(Card):
    """How many requests are found again in the logs of those that handled them."""

    records: Annotated[int, Figure("requests that were sent, connections that failed left out")]
    access_log: Annotated[
        float | None, Figure("of these, those with a line in a gateway's access log", "share", "higher")
    ]
    decision_log: Annotated[
        float | None,
        Figure("of these, those with a line in a picker's decision log", "share", "higher"),
    ]
    pods: Annotated[
        float | None,
        Figure(
            "ok answers that a pod has named after the id that gateway, picker or client gave the request",
            "share",
            "higher",
        ),
    ]
    scored: Annotated[int, Figure("access log lines with the picker's scores")]
    unjoined: list[str]
    """Some of the requests that a log lacks."""


class Joins:
    """The logs of a run by the names of its records; None for a log that there is not.

    runs: the tokens of its requests.
    """

    def __init__(
        self,
        records: Sequence[Record],
        runs: Collection[str],
        access: Sequence[AccessLine] | None,
        decisions: Sequence[Decision] | None,
    ) -> None:
        self._records = records
        self._runs = frozenset(runs)
        self._has_access = access is not None
        self._has_decisions = decisions is not None
        self.access = self._by_record(access or ())
        self.decisions = [d for d in decisions or () if not d.client_id or self._own(d.client_id)]

    def _by_record(self, lines: Iterable[AccessLine]) -> dict[str, list[AccessLine]]:
        found: dict[str, list[AccessLine]] = {}
        for line in lines:
            name = self._own(line.client_id)
            if name is not None:
                found.setdefault(name, []).append(line)
        return found

    def _own(self, client_id: str | None) -> str | None:
        """The record's id in a name that this run gave."""
        run, slash, name = (client_id or "").partition("/")
        return name if slash and run in self._runs else None

    @cached_property
    def _by_request_id(self) -> dict[str, str]:
        """Record ids by what gateways and pods called the requests, and by their own headers."""
        found = {record.id: record.id for record in self._records}
        for record in self._records:
            for name in (record.headers.get("x-request-id"), id_in_answer(record.answer_id)):
                if name:
                    found[name] = record.id
        for name, lines in self.access.items():
            found.update((line.request_id, name) for line in lines if line.request_id)
        return found

    def record_of(self, decision: Decision) -> str | None:
        """The id of the record that a decision was about; None for another run's request."""
        if decision.client_id:
            return self._own(decision.client_id)
        return self._by_request_id.get(decision.request_id)

    def routed(self, name: str) -> AccessLine | None:
        """How the gateway saw the record called `name`, its last attempt where it was tried again."""
        lines = self.access.get(name)
        return lines[-1] if lines else None

    def card(self) -> Joined | None:
        """None without a log to join with."""
        if not self._has_access and not self._has_decisions:
            return None
        answered = [r for r in self._sent if r.outcome == "ok" and r.pod is not None]
        decided = {self.record_of(decision) for decision in self.decisions}
        unlogged = self._absent(self.access) if self._has_access else None
        undecided = self._absent(decided) if self._has_decisions else None
        return Joined(
            records=len(self._sent),
            access_log=_found(self._sent, unlogged),
            decision_log=_found(self._sent, undecided),
            pods=_found(answered, [r.id for r in answered if not self._named_after(r)]),
            scored=self._scored(),
            unjoined=list(dict.fromkeys(chain(unlogged or (), undecided or ())))[:MOST_EXAMPLES],
        )

    def _scored(self) -> int:
        lines = chain.from_iterable(self.access.values())
        return sum(line.scores is not None for line in lines)

    @cached_property
    def _sent(self) -> list[Record]:
        """The requests that somebody may have seen."""
        return [r for r in self._records if r.start is not None and r.outcome != "connect_error"]

    def _absent(self, names: Collection[str | None]) -> list[str]:
        return [r.id for r in self._sent if r.id not in names]

    def _named_after(self, record: Record) -> bool:
        given = id_in_answer(record.answer_id)
        if given is None:
            return False
        lines = self.access.get(record.id, ())
        if any(line.request_id == given and line.pod in (None, record.pod) for line in lines):
            return True
        return given == record.id or given in self._decided

    @cached_property
    def _decided(self) -> frozenset[str]:
        return frozenset(decision.request_id for decision in self.decisions if decision.request_id)


def id_in_answer(answer_id: str | None) -> str | None:
    """The request's id in the name of an answer; None where the name follows no known pattern."""
    match = _OF_ANSWER.fullmatch(answer_id or "")
    return match[1] if match else None


def read_access(path: Path) -> list[AccessLine] | None:
    """The lines of a copied access log; None where there is no such file."""
    return list(read_lines(path, AccessLine)) if path.is_file() else None


def _found(records: Sequence[Record], absent: Sequence[object] | None) -> float | None:
    """The share of records that are not absent; None for no records, and for no log."""
    return 1 - len(absent) / len(records) if absent is not None and records else None
