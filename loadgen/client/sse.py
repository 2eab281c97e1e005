"""Reads server-sent events of a generating stream without decoding each of them.

The first event that carries text is decoded; from it the reader learns the bytes that stand before the
text (`"text":"`, `"content": "` ...). From there on an event is a token when those bytes are in it and
no closing quote follows them. Whatever does not fit is decoded: role chunks, the end, usage, errors.
"""

from loadgen.client.answers import Body, Usage, decode_body, error_code, error_text, piece_of

_QUOTE = 0x22


class SseReader:
    """One stream. `feed` it what arrives; `times` holds a moment for each token event when wanted."""

    # fmt: off
    __slots__ = (
        "_marker", "_raw", "_tail", "complete", "error", "error_code", "first", "last", "last_event",
        "times", "tokens", "usage",
    )
    # fmt: on

    def __init__(self, *, keep_times: bool, keep_text: bool) -> None:
        self._marker = b""
        self._tail = b""
        self._raw: list[bytes] | None = [] if keep_text else None
        self.tokens = 0
        self.first: float | None = None
        self.last: float | None = None
        self.times: list[float] | None = [] if keep_times else None
        self.usage: Usage | None = None
        self.complete = False
        self.error: str | None = None
        self.error_code: int | None = None
        self.last_event = b""

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes of the stream that arrived at `now`."""
        if self._tail:
            data = self._tail + data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        events = data.split(b"\n\n")
        self._tail = events.pop()
        marker = self._marker
        tokens = 0
        for event in events:
            if marker:
                at = event.find(marker)
                if at >= 0:
                    self.last_event = event
                    if event[at + len(marker)] != _QUOTE:
                        tokens += 1
                    continue
            if event == b"data: [DONE]":
                self.complete = True
            elif event:
                tokens += self._inspect(event)
                marker = self._marker
        if tokens:
            self._stamp(tokens, now)
        if self._raw is not None:
            self._raw += events

    def _stamp(self, tokens: int, now: float) -> None:
        if self.first is None:
            self.first = now
        self.last = now
        self.tokens += tokens
        if self.times is not None:
            self.times += [now] * tokens

    def _inspect(self, event: bytes) -> int:
        """Decode an event; the number of tokens it stands for, 0 or 1."""
        payload = event_data(event)
        if payload == b"[DONE]":
            self.complete = True
            return 0
        body = decode_body(payload) if payload else None
        if body is None:
            return 0
        self.last_event = event
        self._note(body, payload)
        text, key = piece_of(body)
        if not text:
            return 0
        for marker in (f'"{key}":"'.encode(), f'"{key}": "'.encode()):
            if marker in event:
                self._marker = marker
                break
        return 1

    def _note(self, body: Body, payload: bytes) -> None:
        if body.usage is not None:
            self.usage = body.usage
        if body.response is not None and body.response.usage is not None:
            self.usage = body.response.usage
        if body.type in ("response.completed", "response.incomplete"):
            self.complete = True
        if (body.error and bytes(body.error) != b"null") or body.object == "error":
            self.error = error_text(payload)
            self.error_code = error_code(body.error) if body.error else None

    def finish(self) -> None:
        """The stream has ended: a usage that rode on the last token event is read."""
        if self._tail.strip():
            self._inspect(self._tail)
        if self.usage is None and self.last_event:
            body = decode_body(event_data(self.last_event))
            if body is not None:
                self._note(body, event_data(self.last_event))

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
