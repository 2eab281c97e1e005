"""A plan in its file: each request and each shared text is read when it is asked for.

Of a million requests only where they stand is kept in memory, 16 bytes each; `load_plan` has them whole.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec
import numpy as np

from loadgen.errors import ScenarioError
from loadgen.numbers.jsonl import NO_JSON
from loadgen.plan.plan import PlannedRequest, SharedText, join_body, read_plan_header

SLOT_KEY = b'{"slot":'  # a request's line begins so, a text's does not
KEPT_TEXTS = 512
FIRST_READ = 1024  # bytes; most lines are shorter
T = TypeVar("T")

_request = msgspec.json.Decoder(PlannedRequest)
_text = msgspec.json.Decoder(SharedText)


class _Named(msgspec.Struct):
    id: str


class _Numbered(msgspec.Struct):
    text: int


class StoredPlan:
    """The plan at `path`; to be closed, or used in a `with`.

    ScenarioError when the file is no plan, and names the line that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_plan_header(path)
        self._names, self._places = array("q"), array("q")  # hashes of ids in order, where their lines begin
        self._texts: dict[int, int] = {}
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._index()
        except BaseException:
            self.close()
            raise
        self._text = lru_cache(KEPT_TEXTS)(self._read_text)

    def __enter__(self) -> StoredPlan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; nothing can be asked for after."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _index(self) -> None:
        names, places = array("q"), array("q")
        named, numbered = msgspec.json.Decoder(_Named), msgspec.json.Decoder(_Numbered)
        with self.path.open("rb") as file:
            place = len(file.readline())
            for number, line in enumerate(file, start=2):
                try:
                    if line.startswith(SLOT_KEY):
                        names.append(hash(named.decode(line).id))
                        places.append(place)
                    else:
                        self._texts[numbered.decode(line).text] = place
                except NO_JSON as error:
                    raise ScenarioError(f"not a line of a plan: {error}", self.path, number) from error
                place += len(line)
        order = np.argsort(np.frombuffer(names, np.int64), kind="stable")
        self._names = array("q", np.frombuffer(names, np.int64)[order].tobytes())
        self._places = array("q", np.frombuffer(places, np.int64)[order].tobytes())

    def find(self, name: str) -> PlannedRequest | None:
        """The request of that id; ScenarioError when its line is broken."""
        wanted = hash(name)
        at = bisect_left(self._names, wanted)
        while at < len(self._names) and self._names[at] == wanted:
            request = self._read(self._places[at], _request)
            if request.id == name:
                return request
            at += 1
        return None

    def body(self, request: PlannedRequest, answers: Mapping[int, str] | None = None) -> bytes:
        """The bytes of a request's body, given the answers of earlier turns.

        ScenarioError for a shared text that the plan does not hold.
        """
        numbers = [piece for piece in request.body if isinstance(piece, int) and piece in self._texts]
        texts = {number: self._text(number) for number in numbers}
        return join_body(request.body, texts, answers or {}, self.header.classes[request.cls].words)

    def _read_text(self, number: int) -> str:
        return self._read(self._texts[number], _text).value

    def _read(self, place: int, decoder: msgspec.json.Decoder[T]) -> T:
        line, size = b"", FIRST_READ
        while True:
            part = os.pread(self._file, size, place + len(line))
            head, found, _ = part.partition(b"\n")
            line += head
            if found or not part:
                break
            size *= 4
        try:
            return decoder.decode(line)
        except NO_JSON as error:
            raise ScenarioError(f"not a line of a plan (byte {place}): {error}", self.path) from error
