"""One line of a decision log, as far as it explains the pick (gateway/picker/decisions.py writes it)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

_RANK = re.compile(r"-rank-[0-9]+$")  # what the picker appends to a pod's name for each of its ports


class Candidate(msgspec.Struct, gc=False):
    """An endpoint as one decision saw it; without `total` it was not scored."""

    endpoint: str
    name: str = ""
    age_ms: float | None = None
    waiting: int = 0
    running: int = 0
    kv_usage: float = 0.0
    active_models: list[str] = []
    inflight_requests: int = 0
    prefix_matched: int = 0
    prefix_total: int = 0
    scores: dict[str, float | None] = {}
    total: float | None = None
    removed_by: str | None = None

    @property
    def pod(self) -> str:
        """The pod's name, without namespace and rank."""
        return _RANK.sub("", self.name.rpartition("/")[2]) or self.endpoint


class Refusal(msgspec.Struct, gc=False):
    """The picker's own answer."""

    status: int
    message: str = ""


class Decision(msgspec.Struct, gc=False):
    """One decision; `time` is wall-clock seconds, `duration_us` microseconds."""

    time: float
    request_id: str = ""
    client_id: str | None = None
    model: str = ""
    target_model: str = ""
    objective: str = ""
    priority: int = 0
    size_bytes: int = 0
    profile: str | None = None
    of_candidates: int = 0
    candidates: list[Candidate] = []
    removed: dict[str, int] = {}
    left_out: dict[str, float | None] = {}
    prefix: str | None = None
    prefix_block_tokens: int = 0
    picker: str | None = None
    weights: dict[str, float] = {}
    pick: list[str] = []
    reason: str | None = None
    error: Refusal | None = None
    duration_us: float | None = None

    @property
    def scored(self) -> list[Candidate]:
        """The candidates that the picker could choose among."""
        return [c for c in self.candidates if c.total is not None]

    @property
    def chosen(self) -> Candidate | None:
        """The picked candidate; None where nothing was picked or nobody was looked at."""
        first = self.pick[0] if self.pick else None
        return next((c for c in self.candidates if c.endpoint == first), None)


_DECODER = msgspec.json.Decoder(Decision)


def decode(line: bytes) -> Decision | None:
    """The decision of a line; None for one that is not whole or not a decision."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def decode_all(lines: Iterable[bytes]) -> Iterator[Decision]:
    """The decisions of lines; what is none is passed over."""
    return (found for line in lines if (found := decode(line)) is not None)


def as_json(value: Any) -> bytes:
    """What this room tells of a decision, as one line of JSON."""
    return msgspec.json.encode(value)
