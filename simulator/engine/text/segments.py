"""Encoding long texts piecewise, so that prompts that share a beginning are encoded once.

A text is cut at places that depend only on the text before them; equal beginnings give equal segments, and
those are remembered. Cuts fall before a blank that follows a non-blank: no token of a tokenizer that glues a
blank to the word after it reaches over such a place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

SEGMENT_CHARS = 2048
_SEARCH_CHARS = 512  # how far beyond SEGMENT_CHARS a cut is looked for before one is forced
_MAX_SEGMENTS = 2048  # about 13 MB when full: 2 kB of text and 500 ids each


def cut(text: str) -> Iterator[str]:
    """The segments of `text`, in order; joined they are the text."""
    start, end = 0, len(text)
    while end - start > SEGMENT_CHARS + _SEARCH_CHARS:
        at = start + SEGMENT_CHARS
        limit = at + _SEARCH_CHARS
        while True:
            at = text.find(" ", at, limit)
            if at < 0:
                at = limit
                break
            if not text[at - 1].isspace():
                break
            at += 1
        yield text[start:at]
        start = at
    yield text[start:]


class SegmentCache:
    """Ids of segments by their text, least recently used out first."""

    def __init__(self, encode: Callable[[str], Sequence[int]], max_segments: int = _MAX_SEGMENTS) -> None:
        self._encode = encode
        self._max_segments = max_segments
        self._known: dict[str, Sequence[int]] = {}  # in order of use

    def encode(self, text: str) -> list[int]:
        """Ids of the whole text; the last segment is encoded anew each time, the others are looked up."""
        ids: list[int] = []
        known = self._known
        last = ""
        for segment in cut(text):
            if last:
                ids += self._look_up(known, last)
            last = segment
        ids += self._encode(last)
        return ids

    def _look_up(self, known: dict[str, Sequence[int]], segment: str) -> Sequence[int]:
        found = known.pop(segment, None)
        if found is None:
            found = self._encode(segment)
            if len(known) >= self._max_segments:
                del known[next(iter(known))]
        known[segment] = found
        return found
