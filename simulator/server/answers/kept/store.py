"""VLLM_ENABLE_RESPONSES_API_STORE: responses that can be asked for again, and their events as they come.

vLLM's store grows for ever; this one forgets the oldest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST = 1000  # responses kept
ENDS = ("response.completed", "response.incomplete")


@dataclass(slots=True, eq=False)
class Stored:
    """One response: as it stands, the conversation that led to it, and its events where it is a stream."""

    response: dict[str, Any]
    messages: list[dict[str, Any]]
    events: list[bytes] | None = None  # None: no background stream
    cancel: Callable[[], None] | None = None  # ends the work in the background
    readers: set[Callable[[], None]] = field(default_factory=set)  # called after each event

    @property
    def is_open(self) -> bool:
        return self.response["status"] in ("queued", "in_progress")

    @property
    def is_over(self) -> bool:
        """Whether no further event comes."""
        return self.cancel is None

    def add(self, data: bytes) -> None:
        """Events of the stream, whole ones."""
        if self.events is None:
            return
        for event in data.split(b"\n\n"):
            if event:
                self.events.append(event + b"\n\n")
                self._look(event)
        self.tell()

    def tell(self) -> None:
        for reader in [*self.readers]:
            reader()

    def _look(self, event: bytes) -> None:
        name, _, data = event.partition(b"\n")
        kind = name.removeprefix(b"event: ").decode()
        if kind in ENDS:
            self.finish(json.loads(data.removeprefix(b"data: "))["response"])
        elif self.response["status"] == "queued":
            self.response["status"] = "in_progress"

    def finish(self, response: dict[str, Any]) -> None:
        """The work is done; one that was cancelled stays so."""
        self.cancel = None
        if self.response["status"] != "cancelled":
            self.response = {**response, "background": self.response["background"]}
        self.tell()

    def fail(self) -> None:
        self.cancel = None
        if self.is_open:
            self.response["status"] = "failed"
        self.tell()


class ResponseStore:
    """The responses of one server by id."""

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}

    def get(self, response_id: str) -> Stored | None:
        return self._stored.get(response_id)

    def put(self, stored: Stored) -> Stored:
        """Keep it; where there are too many, the oldest that is finished goes."""
        if len(self._stored) >= MOST:
            oldest = next((key for key, value in self._stored.items() if value.is_over), None)
            if oldest is not None:
                del self._stored[oldest]
        self._stored[stored.response["id"]] = stored
        return stored
