"""One attempt at one request: its moments, its answer, and the outcome class it ended in.

This file knows what an answer means; it does not know how bytes travel (connection.py, http2.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from loadgen.client.answers.body import NO_BODY, Body, Usage, decode_body, has_error, id_of
from loadgen.client.answers.pieces import is_answer, text_of
from loadgen.client.answers.refusals import error_code, error_text
from loadgen.client.sse import FIELDS, SseReader
from loadgen.client.urls import without_user

# Response headers that a record keeps, lower case.
KEPT_HEADERS = {
    name.encode(): name
    for name in (
        "x-inference-pod",
        "x-inference-port",
        "x-inference-namespace",
        "x-went-into-resp-headers",
        "x-llm-d-request-dropped-reason",
        "x-gateway-request-dropped-reason",
        "x-gateway-destination-endpoint",
        "x-gateway-destination-endpoint-served",
        "x-gateway-destination-endpoint-scores",
        "x-conformance-test-served-endpoint",
        "x-session-token",
        "x-request-id",
        "x-envoy-upstream-service-time",
        "x-envoy-overloaded",
        "server",
        "retry-after",
        "content-type",
        "location",
    )
}
DROPPED = ("x-llm-d-request-dropped-reason", "x-gateway-request-dropped-reason")
TTL_REASONS = ("rejected-ttl-expired", "rejected-context-cancelled")
BROKEN = ("reset", "stream_truncated")  # ends by the connection, not by the answer
GATEWAY_WORDS = (
    b"no healthy upstream",
    b"upstream connect error",
    b"inference gateway:",
    b"upstream request timeout",
)


# Seconds for the first token and between tokens, None for as long as `timeout` allows.
Patience: TypeAlias = tuple[float | None, float | None]


class Exchange:
    """One attempt under way; the connection fills it in and calls `done` once at its end."""

    # fmt: off
    __slots__ = (
        "body", "bytes_in", "bytes_out", "cancel_after", "connected", "connection", "done", "end", "error",
        "finished", "first_byte", "headers", "keep_text", "keep_times", "marker", "outcome", "owner",
        "patience", "payload", "reader", "resent", "reused", "sent", "sniffing", "start", "status", "stream",
        "timeout", "usage_body",
    )
    # fmt: on

    def __init__(
        self,
        payload: bytes,
        done: Callable[[Exchange], None],
        *,
        stream: bool = True,
        timeout: float = 60.0,
        patience: Patience | None = None,
        keep_times: bool = False,
        keep_text: bool = False,
        cancel_after: int | None = None,
        marker: bytes = b"",
        owner: object = None,
    ) -> None:
        self.payload = payload
        self.done = done
        self.stream = stream
        self.timeout = timeout
        self.patience = patience
        self.keep_times = keep_times
        self.keep_text = keep_text
        self.cancel_after = cancel_after
        self.marker = marker
        self.owner = owner
        self.connection: object = None
        self.start = 0.0
        self.connected: float | None = None
        self.sent: float | None = None
        self.first_byte: float | None = None
        self.end: float | None = None
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.reader: SseReader | None = None
        self.body: list[bytes] = []
        self.sniffing = False
        self.usage_body: Body | None = None
        self.outcome = ""
        self.error: str | None = None
        self.resent = False
        self.reused = False
        self.bytes_in = 0
        self.bytes_out = len(payload)
        self.finished = False

    def on_head(self, status: int, headers: dict[str, str]) -> None:
        """Status line and headers are complete."""
        self.status = status
        self.headers = headers
        if status < 300:
            if headers.get("content-type", "").lstrip()[:17].lower() == "text/event-stream":
                self.reader = self._new_reader()
            else:
                self.sniffing = self.stream

    def on_data(self, data: bytes, now: float) -> bool:
        """A piece of the body; True when the plan says to leave at this point."""
        reader = self.reader
        if reader is None:
            self.body.append(data)
            if not self.sniffing or (reader := self._sniff()) is None:
                return False
            data = b"".join(self.body)
            self.body.clear()
        reader.feed(data, now)
        return self.cancel_after is not None and reader.tokens >= self.cancel_after

    def _new_reader(self) -> SseReader:
        return SseReader(keep_times=self.keep_times, keep_text=self.keep_text, marker=self.marker)

    def _sniff(self) -> SseReader | None:
        """A reader, if the body of an answer that does not call itself a stream begins as one."""
        begin = b"".join(self.body).lstrip(b"\xef\xbb\xbf\r\n ")
        if not any(field.startswith(begin[: len(field)]) for field in FIELDS):
            self.sniffing = False
        elif begin.startswith(FIELDS):
            self.sniffing = False
            self.reader = self._new_reader()
        return self.reader

    def complete(self, now: float) -> None:
        """The answer has arrived whole."""
        self.end = now
        self._classify()
        self._finish()

    def fail(self, outcome: str, error: str, now: float) -> None:
        """The attempt ended without a whole answer."""
        if self.finished:
            return
        self.end = now
        self.outcome, self.error = outcome, error
        if self.reader is not None:
            self.reader.finish()
        if outcome in BROKEN:
            self._judge_what_came(error)
        self._finish()

    def _judge_what_came(self, why: str) -> None:
        """A connection that broke takes nothing back: not an error that was told, not an answer's end."""
        reader = self.reader
        if self.status is not None and self.status >= 300:
            self._classify_refusal()
            self.error = f"{self.error or self.status} ({why})"
        elif reader is not None and reader.error is not None:
            self._classify_stream(reader)
        elif reader is not None and reader.complete:
            self.outcome, self.error = "ok", None

    def _finish(self) -> None:
        self.finished = True
        self.payload = b""
        self.done(self)

    @property
    def usage(self) -> Usage | None:
        """Token counts of the server, if it gave any."""
        if self.reader is not None:
            return self.reader.usage
        return self.usage_body.usage if self.usage_body is not None else None

    @property
    def answer_id(self) -> str | None:
        """What the server called its answer."""
        if self.reader is not None:
            return self.reader.answer_id
        return id_of(self.usage_body) if self.usage_body is not None else None

    def text(self) -> str:
        """The generated text; of a stream only with `keep_text`."""
        if self.reader is not None:
            return self.reader.text()
        return text_of(self.usage_body) if self.usage_body is not None else ""

    def _classify(self) -> None:
        if (self.status or 0) >= 300:
            self._classify_refusal()
        elif self.reader is not None:
            self.reader.finish()
            self._classify_stream(self.reader)
        else:
            self._classify_whole()

    def _classify_refusal(self) -> None:
        status, body = self.status or 0, b"".join(self.body)
        self.outcome = classify_status(status, self.headers, body)
        self.error = self.headers.get(DROPPED[0]) or self.headers.get(DROPPED[1]) or error_text(body)
        if status < 400:
            self.error = redirect_words(status, self.headers)

    def _classify_whole(self) -> None:
        data = b"".join(self.body)
        body = self.usage_body = decode_body(data) or NO_BODY
        if has_error(body) and not (body.choices or body.output or body.data):
            self.outcome, self.error = "upstream_5xx", error_text(data)
            self._class_of_code(error_code(has_error(body)))
        elif not is_answer(body):
            said = error_text(data, 80)
            self.outcome = "stream_truncated"
            self.error = "a 200 whose body is no answer" + (f": {said}" if said else "")
        else:
            self.outcome = "ok"

    def _classify_stream(self, reader: SseReader) -> None:
        if reader.error is not None:
            self.error = reader.error
            self._class_of_code(reader.error_code)
        elif reader.complete or reader.finished:
            self.outcome = "ok"
        else:
            self.outcome, self.error = "stream_truncated", "the stream ended without [DONE]"
            if reader.unread and not reader.steps:
                begin = reader.first_unread.decode(errors="replace")
                self.error += f": {reader.unread} events that are no answer, first {begin}"

    def _class_of_code(self, code: int | None) -> None:
        self.outcome = classify_status(code if code and code >= 400 else 500, self.headers, b"")


def redirect_words(status: int, headers: dict[str, str]) -> str:
    """Where a redirect leads; requests do not follow it, for their times would be those of two servers."""
    place = headers.get("location")
    return f"{status} leads to {without_user(place)}" if place else f"{status} without a location"


def classify_status(status: int, headers: dict[str, str], body: bytes) -> str:
    """The outcome class of an answer that is no success."""
    reason = headers.get(DROPPED[0]) or headers.get(DROPPED[1]) or ""
    if reason.startswith("evicted"):
        return "evicted"
    if reason in TTL_REASONS:
        return "ttl_503"
    if status == 429:
        return "shed_429"
    if status < 500:
        return "rejected_4xx"
    if "x-inference-pod" in headers:
        return "upstream_5xx"
    if status in (502, 503, 504) and _from_gateway(headers, body):
        return "gateway_503"
    return "upstream_5xx"


def _from_gateway(headers: dict[str, str], body: bytes) -> bool:
    """Whether a gateway made this error by itself: no model server's name, and a gateway's words."""
    return any(word in body for word in GATEWAY_WORDS) or (
        "envoy" in headers.get("server", "") and "x-envoy-upstream-service-time" not in headers
    )
