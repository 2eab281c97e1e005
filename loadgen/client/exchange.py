"""One attempt at one request: its moments, its answer, and the outcome class it ended in.

This file knows what an answer means; it does not know how bytes travel (connection.py, http2.py).
"""

from __future__ import annotations

from collections.abc import Callable

from loadgen.client.answers import NO_BODY, Body, Usage, decode_body, error_text, id_of, text_of
from loadgen.client.sse import SseReader

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
    )
}
DROPPED = ("x-llm-d-request-dropped-reason", "x-gateway-request-dropped-reason")
TTL_REASONS = ("rejected-ttl-expired", "rejected-context-cancelled")
GATEWAY_WORDS = (
    b"no healthy upstream",
    b"upstream connect error",
    b"inference gateway:",
    b"upstream request timeout",
)


class Exchange:
    """One attempt under way; the connection fills it in and calls `done` once at its end."""

    # fmt: off
    __slots__ = (
        "body", "bytes_in", "bytes_out", "cancel_after", "connected", "connection", "done", "end", "error",
        "finished", "first_byte", "headers", "keep_text", "keep_times", "outcome", "owner", "payload",
        "reader", "resent", "reused", "sent", "start", "status", "stream", "timeout", "usage_body",
    )
    # fmt: on

    def __init__(
        self,
        payload: bytes,
        done: Callable[[Exchange], None],
        *,
        stream: bool = True,
        timeout: float = 60.0,
        keep_times: bool = False,
        keep_text: bool = False,
        cancel_after: int | None = None,
        owner: object = None,
    ) -> None:
        self.payload = payload
        self.done = done
        self.stream = stream
        self.timeout = timeout
        self.keep_times = keep_times
        self.keep_text = keep_text
        self.cancel_after = cancel_after
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
        if status < 300 and headers.get("content-type", "").startswith("text/event-stream"):
            self.reader = SseReader(keep_times=self.keep_times, keep_text=self.keep_text)

    def on_data(self, data: bytes, now: float) -> bool:
        """A piece of the body; True when the plan says to leave at this point."""
        reader = self.reader
        if reader is None:
            self.body.append(data)
            return False
        reader.feed(data, now)
        return self.cancel_after is not None and reader.tokens >= self.cancel_after

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
        self._finish()

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
        status = self.status or 0
        if status < 300:
            self._classify_success()
            return
        body = b"".join(self.body)
        self.outcome = classify_status(status, self.headers, body)
        self.error = self.headers.get(DROPPED[0]) or self.headers.get(DROPPED[1]) or error_text(body)

    def _classify_success(self) -> None:
        reader = self.reader
        if reader is None:
            self.usage_body = decode_body(b"".join(self.body)) or NO_BODY
            self.outcome = "ok"
            if self.usage_body.choices is None and self.usage_body.output is None:
                self.outcome, self.error = "stream_truncated", "a 200 whose body is no answer"
            return
        reader.finish()
        if reader.error is not None:
            code = reader.error_code or 500
            self.outcome = classify_status(code if code >= 400 else 500, self.headers, b"")
            self.error = reader.error
        elif reader.complete:
            self.outcome = "ok"
        else:
            self.outcome, self.error = "stream_truncated", "the stream ended without [DONE]"


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
