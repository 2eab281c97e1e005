"""Answers as ready-made bytes with holes: what a plain answer needs is its values, not a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_MARKS = tuple(f"\u0000{i}\u0000" for i in range(10))  # no name or id can hold these
_MARKS_JSON = tuple(_encode(mark) for mark in _MARKS)


class BodyTemplate:
    """JSON whose holes are filled in the order of `names`, each with a JSON text."""

    __slots__ = ("_pieces",)

    def __init__(
        self, names: Sequence[str], body: Callable[[dict[str, Any]], Any], encode: Any = _encode
    ) -> None:
        """`body` gets a mark for each name and returns the answer with the marks in it, in order."""
        rest: bytes = encode(body(dict(zip(names, _MARKS, strict=False))))
        self._pieces = []
        for mark in _MARKS_JSON[: len(names)]:
            before, rest = rest.split(mark, 1)
            self._pieces.append(before)
        self._pieces.append(rest)

    @property
    def pieces(self) -> Sequence[bytes]:
        """What stands between the holes, one more than there are holes."""
        return self._pieces

    def fill(self, *values: bytes) -> bytes:
        """The JSON with `values` in its holes."""
        pieces = self._pieces
        return pieces[0] + b"".join([part for pair in zip(values, pieces[1:], strict=True) for part in pair])


def split_event(chunk: Callable[[str], dict[str, Any]]) -> tuple[bytes, bytes]:
    """The bytes of an event before and after its text, text excluded with its quotes."""
    before, after = BodyTemplate(("text",), lambda marks: chunk(marks["text"])).pieces
    return b"data: " + before, after + b"\n\n"
