"""Reads server-sent events of a generating stream without decoding each of them.

The first event that carries text is decoded; from it the reader learns the bytes that stand before the
text (`"text":"`, `"content": "` ...). From there on an event is a token when those bytes are in it and
no closing quote follows them. Whatever does not fit is decoded: role chunks, the end, usage, errors.

A token need not have text: the end-of-sequence token and what a server holds back come as events with
choices and nothing to read. Such events are steps of the answer too, and the last of them is its end.
"""

from __future__ import annotations

from loadgen.client.answers.body import (
    ENDS_OF_RESPONSE,
    MESSAGE_STOP,
    Body,
    Usage,
    decode_body,
    has_error,
    id_of,
    usage_of,
)
from loadgen.client.answers.pieces import CONTENT, content_of, finishes, is_step, opens, piece_of
from loadgen.client.answers.refusals import error_code, error_text

_QUOTE = 0x22
_BOM = b"\xef\xbb\xbf"
_CONTENT_MARKERS = {b'":"': b'"content":"', b'": "': b'"content": "'}
FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")  # how a stream of events begins


class SseReader:
    """One stream; `feed` it what arrives.

    tokens: events with text. steps: events that generated something, with text or without; `first` and
    `last` are the moments of the first and the last of them, `times` those of all when wanted. `leading` and
    `silent` count the steps before the first and behind the last text. opening: when a chat stream said its
    role, if that was before the first step. content: when the answer itself began, behind what was thought.
    marker: what stood before the answer's text in an earlier stream of this kind, else learnt from this one.
    finished: the last choice that spoke gave its finish_reason. unread: events that are no JSON of this kind.
    """

    # fmt: off
    __slots__ = (
        "_after_cr", "_fed", "_marker", "_raw", "_tail", "_watch", "answer_id", "complete", "content",
        "error", "error_code", "finished", "first", "first_text", "first_unread", "last", "last_event",
        "last_text", "leading", "opening", "silent", "steps", "text_event", "times", "tokens", "unread",
        "usage",
    )
    # fmt: on

    def __init__(self, *, keep_times: bool, keep_text: bool, marker: bytes = b"") -> None:
        self._marker = marker
        self._watch = b""
        self._tail = b""
        self.answer_id: str | None = None
        self._after_cr = False
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
        self.content: float | None = None
        self.times: list[float] | None = [] if keep_times else None
        self.usage: Usage | None = None
        self.complete = self.finished = False
        self.error: str | None = None
        self.error_code: int | None = None
        self.last_event = self.text_event = b""
        self.unread = 0
        self.first_unread = b""

    @property
    def held(self) -> int:
        """Bytes of an event that is not complete."""
        return len(self._tail)

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes of the stream that arrived at `now`."""
        if self._after_cr:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data[-1] == 0x0D
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._tail:
            data = self._tail + data
        events = data.split(b"\n\n")
        self._tail = events.pop()
        self._fed = now
        marker, watch = self._marker, self._watch
        tokens = 0
        for event in events:
            if marker:
                at = event.find(marker)
                if at >= 0 and event[at + len(marker)] != _QUOTE and not (watch and _holds(event, watch)):
                    self.last_event = event
                    tokens += 1
                    continue
            if event == b"data: [DONE]":
                self.complete = True
            elif event:
                if tokens:
                    self._stamp_marked(tokens, now)
                    tokens = 0
                self._inspect(event, now)
                marker, watch = self._marker, self._watch
        if tokens:
            self._stamp_marked(tokens, now)
        if self._raw is not None:
            self._raw += events

    def _stamp_marked(self, tokens: int, now: float) -> None:
        """Count events found by their marker, which is the answer's own unless that is watched for."""
        if self.content is None and not self._watch:
            self.content = now
        self._stamp(tokens, now)

    def _stamp(self, tokens: int, now: float) -> None:
        """Count events with text that arrived together."""
        if not self.tokens:
            self.first_text = now
            self.leading = self.silent
        self.tokens += tokens
        self.silent = 0
        self.last_text = now
        self.finished = False
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
        if not payload:
            return
        body = decode_body(payload)
        if body is None:
            self._cannot_read(event, payload)
            return
        if self.last_event:
            self._set_aside()
        text, key = piece_of(body)
        if text:
            self._learn(event, key, now)
            self._stamp(1, now)
        elif self.first is None and opens(body):
            self.opening = now if self.opening is None else self.opening
        elif is_step(body):
            self.silent += 1
            self._step(1, now)
        self._note(body, payload)

    def _set_aside(self) -> None:
        """The last event with text was not decoded; its usage counts unless a later one is seen."""
        event, self.last_event = self.last_event, b""
        self.text_event = event
        if b'"usage"' in event and b'"usage":null' not in event:
            before = decode_body(event_data(event))
            if before is not None and before.usage is not None:
                self.usage = before.usage

    def _learn(self, event: bytes, key: str, now: float) -> None:
        """Take the bytes before this text for those of the next; content is watched for until it comes."""
        if key in CONTENT and self.content is None:
            self.content = now
        for middle, content in _CONTENT_MARKERS.items():
            marker = b'"' + key.encode() + middle
            if marker in event:
                self._marker = marker
                self._watch = content if self.content is None else b""
                return

    def _cannot_read(self, event: bytes, payload: bytes) -> None:
        if event_name(event) == b"error":
            self.error = self.error or error_text(payload)
            return
        self.unread += 1
        if self.unread == 1:
            self.first_unread = payload[:80]

    def _note(self, body: Body, payload: bytes) -> None:
        if self.answer_id is None:
            self.answer_id = id_of(body)
        if (usage := usage_of(body)) is not None:
            self.usage = usage.over(self.usage)
        if body.choices and finishes(body):
            self.finished = True
        if body.type in ENDS_OF_RESPONSE or body.type == MESSAGE_STOP:
            self.complete = True
        raw = has_error(body) if body.error or body.response is not None else b""
        if raw or body.object == "error" or body.type == "error":
            self.error = error_text(payload)
            self.error_code = error_code(raw or payload)

    def finish(self) -> None:
        """The stream has ended: takes an event without its blank line, and the usage on the last token."""
        if self._tail.strip():
            self._inspect(self._tail, self._fed)
            if self._raw is not None:
                self._raw.append(self._tail)
            self._tail = b""
        last = self.last_event
        if last and (self.usage is None or not self.complete or b'"usage"' in last):
            payload = event_data(last)
            body = decode_body(payload)
            if body is not None:
                self._note(body, payload)
        elif not (last or self.complete or self.finished) and self.text_event:
            body = decode_body(event_data(self.text_event))
            self.finished = body is not None and finishes(body)

    @property
    def marker(self) -> bytes:
        """What stands before the answer's text, for the next stream of this kind; b"" if not known."""
        return self._marker if self.content is not None and not self._watch else b""

    def text(self) -> str:
        """The answer itself, without what was thought or called; needs `keep_text`."""
        parts: list[str] = []
        for event in self._raw or ():
            body = decode_body(event_data(event))
            if body is not None:
                parts.append(content_of(body))
        return "".join(parts)


def _holds(event: bytes, marker: bytes) -> bool:
    """Whether some text stands behind the marker."""
    at = event.find(marker)
    return at >= 0 and event[at + len(marker)] != _QUOTE


def event_data(event: bytes) -> bytes:
    """The data of an event, b"" for comments and empty ones."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [
        line[5:].removeprefix(b" ")
        for line in event.removeprefix(_BOM).split(b"\n")
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines)


def event_name(event: bytes) -> bytes:
    """What stands under `event:`, b"" where nothing does."""
    names = (line[6:].strip() for line in event.split(b"\n") if line.startswith(b"event:"))
    return next(names, b"")
