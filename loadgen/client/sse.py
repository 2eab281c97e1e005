"""Reads server-sent events of a generating stream without decoding each of them.

The first event that carries text is decoded; from it the reader learns the bytes that stand before the
text (`"text":"`, `"content": "` ...). From there on an event is a token when those bytes are in it and
no closing quote follows them. Whatever does not fit is decoded: role chunks, the end, usage, errors.

A token need not have text: the end-of-sequence token and what a server holds back come as events with
choices and nothing to read. Such events are steps of the answer too, and the last of them is its end.
"""

from __future__ import annotations

from loadgen.client.answers import (
    ENDS_OF_RESPONSE,
    Body,
    Usage,
    decode_body,
    error_code,
    error_text,
    id_of,
    is_step,
    opens,
    piece_of,
)

_QUOTE = 0x22


class SseReader:
    """One stream; `feed` it what arrives.

    tokens: events with text. steps: events that generated something, with text or without; `first` and
    `last` are the moments of the first and the last of them, `times` those of all when wanted. `leading` and
    `silent` count the steps before the first and behind the last text. opening: when a chat stream said its
    role, if that was before the first step.
    """

    # fmt: off
    __slots__ = (
        "_fed", "_marker", "_raw", "_tail", "answer_id", "complete", "error", "error_code", "first",
        "first_text", "last", "last_event", "last_text", "leading", "opening", "silent", "steps", "times",
        "tokens", "usage",
    )
    # fmt: on

    def __init__(self, *, keep_times: bool, keep_text: bool) -> None:
        self._marker = b""
        self._tail = b""
        self.answer_id: str | None = None
        self._raw: list[bytes] | None = [] if keep_text else None
        self.tokens = 0
        self.steps = 0
        self.leading = self.silent = 0
        self._fed = 0.0
        self.opening: float | None = None
        self.first: float | None = None
        self.last: float | None = None
        self.first_text: float | None = None
        self.last_text: float | None = None
        self.times: list[float] | None = [] if keep_times else None
        self.usage: Usage | None = None
        self.complete = False
        self.error: str | None = None
        self.error_code: int | None = None
        self.last_event = b""

    @property
    def held(self) -> int:
        """Bytes of an event that is not complete."""
        return len(self._tail)

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes of the stream that arrived at `now`."""
        if self._tail:
            data = self._tail + data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        events = data.split(b"\n\n")
        self._tail = events.pop()
        self._fed = now
        marker = self._marker
        tokens = 0
        for event in events:
            if marker:
                at = event.find(marker)
                if at >= 0 and event[at + len(marker)] != _QUOTE:
                    self.last_event = event
                    tokens += 1
                    continue
            if event == b"data: [DONE]":
                self.complete = True
            elif event:
                if tokens:
                    self._stamp(tokens, now)
                    tokens = 0
                self._inspect(event, now)
                marker = self._marker
        if tokens:
            self._stamp(tokens, now)
        if self._raw is not None:
            self._raw += events

    def _stamp(self, tokens: int, now: float) -> None:
        """Count events with text that arrived together."""
        if not self.tokens:
            self.first_text = now
            self.leading = self.silent
        self.tokens += tokens
        self.silent = 0
        self.last_text = now
        self._step(tokens, now)

    def _step(self, steps: int, now: float) -> None:
        if self.first is None:
            self.first = now
        self.last = now
        self.steps += steps
        if self.times is not None:
            self.times += [now] * steps

    def _inspect(self, event: bytes, now: float) -> None:
        """Decode an event and count what it stands for."""
        payload = event_data(event)
        if payload == b"[DONE]":
            self.complete = True
            return
        body = decode_body(payload) if payload else None
        if body is None:
            return
        self.last_event = b""
        self._note(body, payload)
        text, key = piece_of(body)
        if text:
            for marker in (f'"{key}":"'.encode(), f'"{key}": "'.encode()):
                if marker in event:
                    self._marker = marker
                    break
            self._stamp(1, now)
        elif self.first is None and opens(body):
            self.opening = now if self.opening is None else self.opening
        elif is_step(body):
            self.silent += 1
            self._step(1, now)

    def _note(self, body: Body, payload: bytes) -> None:
        if self.answer_id is None:
            self.answer_id = id_of(body)
        if body.usage is not None:
            self.usage = body.usage
        if body.response is not None and body.response.usage is not None:
            self.usage = body.response.usage
        if body.type in ENDS_OF_RESPONSE:
            self.complete = True
        if (body.error and bytes(body.error) != b"null") or body.object == "error":
            self.error = error_text(payload)
            self.error_code = error_code(body.error) if body.error else None

    def finish(self) -> None:
        """The stream has ended: takes an event without its blank line, and the usage on the last token."""
        if self._tail.strip():
            self._inspect(self._tail, self._fed)
        if self.last_event and (self.usage is None or b'"usage"' in self.last_event):
            payload = event_data(self.last_event)
            body = decode_body(payload)
            if body is not None:
                self._note(body, payload)

    def text(self) -> str:
        """Everything that was generated; needs `keep_text`."""
        parts: list[str] = []
        for event in self._raw or ():
            body = decode_body(event_data(event))
            if body is not None:
                parts.append(piece_of(body)[0])
        return "".join(parts)


def event_data(event: bytes) -> bytes:
    """The data of an event, b"" for comments and empty ones."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)
