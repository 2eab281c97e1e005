"""One ext_proc stream: messages in, messages out, in the EPP's order.

Nothing is said until the request's body has ended; then come the headers and the whole body. A streamed
response goes back chunk by chunk, any other when it is complete. Request trailers, which the EPP leaves
unanswered, end the body and are answered.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Iterable, Mapping

from gateway.picker.decisions import REQUEST_ID
from gateway.picker.director import Director, Incoming, Routed
from gateway.picker.errors import RequestError
from gateway.picker.request import RequestBody
from gateway.picker.usage import Usage, usage_of, usage_of_chunk
from gateway.picker.wire import ext_proc, gojson
from gateway.picker.wire.limits import BODY

# A request's bytes are kept as they came and as Python has read them.
_COPIES = 2


def new_id() -> str:
    """A random UUID (version 4); the standard library's takes six times as long."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Conversation:
    """The state of one stream; `finished` says that the picker has answered the client itself."""

    def __init__(self, director: Director, emit_scores: bool = False) -> None:
        self.finished = False
        self._director = director
        self._compat = director.compat
        self._metrics = director.metrics
        self._emit_scores = emit_scores
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._held = self._queued = 0  # bytes of the headers, and of a body that waits in flow control
        self._received = 0.0
        self.trace: Mapping[str, str] = {}  # headers of the gateway's own span of this conversation
        self._routed: Routed | None = None
        self._labels = ("", "")  # of metrics: model and target model
        self._running = False
        self._streaming = False
        self._passed = 0  # bytes of the response that went through
        self._usage: Usage | None = None
        self._first_body = False
        self._complete = False

    def receive(
        self, message: ext_proc.Message, size: int = 0
    ) -> Iterable[ext_proc.Message] | Awaitable[Iterable[ext_proc.Message]]:
        """What is to be sent now that `message` has come; later, if flow control makes the request wait.

        A RequestError becomes the answer of the picker itself. `size`: bytes of the message as it came.
        """
        kind = ext_proc.kind(message)
        try:
            if kind == "request_headers":
                return self._request_headers(message, size)
            if kind == "request_body":
                self._body += message.request_body.body
                if len(self._body) > BODY:
                    self._body.clear()
                    raise RequestError("RequestEntityTooLarge", f"the body is larger than {BODY} bytes")
                return (
                    self._begin_routing(message, trailers=False) if message.request_body.end_of_stream else ()
                )
            if kind == "request_trailers":
                return self._begin_routing(message, trailers=True)
        except RequestError as error:
            return self._refused(error)
        if kind == "response_headers":
            return self._response_headers(message)
        if kind == "response_body":
            return self._response_body(message.response_body.body, message.response_body.end_of_stream)
        if kind == "response_trailers" and self._compat.answers_trailers:
            return [*self._response_body(b"", False, last=True), ext_proc.response_trailers_response()]
        return ()

    @property
    def kept(self) -> int:
        """What is held in memory, in bytes."""
        return self._held + self._queued + len(self._body)

    def close(self) -> None:
        """The stream has ended: what was not completed is completed now."""
        if self._routed is None:
            return
        if not self._complete:
            self._complete = True
            self._director.complete(self._routed)
        if self._running:
            self._running = False
            self._metrics.running_requests.inc(self._labels[0], by=-1)

    def _request_headers(self, message: ext_proc.Message, size: int) -> Iterable[ext_proc.Message]:
        self._received = time.monotonic()
        self._held = _COPIES * size
        ended = message.request_headers.end_of_stream
        headers = ext_proc.headers_of(message.request_headers)
        request_id = headers.get(REQUEST_ID) or new_id()
        if not ended:
            headers[REQUEST_ID] = request_id
            self._headers = headers
            return ()
        endpoint = self._director.random_endpoint({**headers, REQUEST_ID: request_id})
        given = {} if REQUEST_ID in headers else {REQUEST_ID: request_id}
        return [ext_proc.request_headers_response(endpoint.host_port, given, 0)]

    def _begin_routing(
        self, message: ext_proc.Message, trailers: bool
    ) -> Iterable[ext_proc.Message] | Awaitable[Iterable[ext_proc.Message]]:
        after = [ext_proc.request_trailers_response()] if trailers else []
        if self._routed is not None:
            return after
        raw = bytes(self._body)
        self._body.clear()
        incoming = Incoming(
            self._headers, raw, ext_proc.metadata_of(message), self._received, trace=self.trace
        )
        if self._director.waits:
            self._queued = _COPIES * len(raw)
            return self._route_later(incoming, after)
        return [*self._routed_responses(self._director.handle(incoming)), *after]

    async def _route_later(
        self, incoming: Incoming, after: list[ext_proc.Message]
    ) -> Iterable[ext_proc.Message]:
        try:
            return [*self._routed_responses(await self._director.handle_queued(incoming)), *after]
        except RequestError as error:
            return self._refused(error)
        finally:
            self._queued = 0

    def _routed_responses(self, routed: Routed) -> Iterable[ext_proc.Message]:
        self._routed = routed
        request = routed.request
        self._streaming = request.body.stream and not self._compat.remarshal_response
        self._running = True
        metrics = self._metrics
        self._labels = metrics.model_label(request.model), metrics.model_label(request.target_model)
        metrics.request_total.inc(*self._labels, str(request.priority))
        metrics.request_sizes.observe(len(routed.body), *self._labels)
        metrics.running_requests.inc(self._labels[0])
        headers = ext_proc.request_headers_response(
            routed.destination,
            self._headers,
            len(routed.body),
            guard=self._compat.system_headers,
            scores=routed.scores if self._emit_scores else None,
        )
        replies = [headers, *ext_proc.request_body_responses(routed.body)]
        # An answer may take minutes; what was asked is not kept in memory for so long.
        routed.body = b""
        routed.cycle = None
        request.body = RequestBody(request.body.api, {})
        return replies

    def _refused(self, error: RequestError) -> Iterable[ext_proc.Message]:
        self.finished = True
        compat = self._compat
        code = compat.exhausted_code if error.code == "ResourceExhausted" else error.code
        self._metrics.request_error_total.inc(*map(self._metrics.model_label, error.models), code)
        headers = {"x-llm-d-request-dropped-reason": error.dropped} if error.dropped else {}
        body = compat.error_format.format(code=code, message=error.message)
        return [ext_proc.immediate_response(error.status, body, headers if compat.dropped_reason else {})]

    def _response_headers(self, message: ext_proc.Message) -> Iterable[ext_proc.Message]:
        headers = ext_proc.headers_of(message.response_headers)
        if "text/event-stream" in headers.get("content-type", ""):
            self._streaming = True
        self._director.response_headers(self._routed, headers, ext_proc.metadata_of(message))
        return [ext_proc.response_headers_response(headers)]

    def _response_body(self, chunk: bytes, ended: bool, last: bool = False) -> Iterable[ext_proc.Message]:
        """`last` without `ended`: trailers follow."""
        if not self._first_body:
            self._first_body = True
            self._observe_first()
        if self._streaming:
            return self._streamed(chunk, ended, last)
        self._body += chunk
        if not ended and not last:
            if len(self._body) <= BODY:
                return ()
            self._streaming = True  # too large to be held back: it goes on as it comes
        body = bytes(self._body)
        self._body.clear()
        if self._streaming:
            self._passed = len(body)
            return ext_proc.response_body_responses(self._renamed(body), False)
        return ext_proc.response_body_responses(self._whole_response(body), ended) if body or ended else ()

    def _streamed(self, chunk: bytes, ended: bool, last: bool) -> Iterable[ext_proc.Message]:
        """A piece of a response that goes on as it comes."""
        usage, done = usage_of_chunk(chunk, self._compat)
        self._usage = usage or self._usage
        self._passed += len(chunk)
        if ended or last or (done and not self._compat.usage_anywhere):
            self._finish(ended or last)
        return ext_proc.response_body_responses(self._renamed(chunk), ended) if chunk or ended else ()

    def _whole_response(self, body: bytes) -> bytes:
        """A response that was held back until its end, as it is sent on."""
        decoded = None
        with contextlib.suppress(ValueError):
            decoded = gojson.decode(body)
            if isinstance(decoded, dict) and self._compat.remarshal_response:
                body = gojson.encode(decoded)
        self._usage = usage_of(decoded, self._compat)
        self._passed = len(body)
        self._finish(True)
        return self._renamed(body)

    def _renamed(self, body: bytes) -> bytes:
        """The response with the name of the model that the client asked for, where that was rewritten."""
        if self._routed is None or self._compat.remarshal_response:
            return body
        request = self._routed.request
        if not request.model or request.model == request.target_model or b'"model"' not in body:
            return body
        for colon in (b'"model":', b'"model": '):
            renamed = body.replace(
                colon + b'"' + request.target_model.encode() + b'"',
                colon + b'"' + request.model.encode() + b'"',
            )
            if renamed != body:
                return renamed
        return body

    def _observe_first(self) -> None:
        if self._routed is not None:
            self._director.first_byte(self._routed)
            self._metrics.request_ttft.observe(time.monotonic() - self._received, *self._labels)

    def _finish(self, ended: bool) -> None:
        """The response is complete; `ended`: its last byte has come too, so its size and time are known."""
        routed = self._routed
        if routed is None:
            return
        if not self._complete:
            self._complete = True
            self._director.complete(routed)
        if not ended:
            return
        metrics, labels = self._metrics, self._labels
        seconds = time.monotonic() - self._received
        metrics.request_duration.observe(seconds, *labels)
        metrics.response_sizes.observe(self._passed, *labels)
        usage = self._usage
        if usage is None:
            return
        if usage.prompt_tokens > 0:
            metrics.input_tokens.observe(usage.prompt_tokens, *labels)
        if usage.completion_tokens > 0:
            metrics.output_tokens.observe(usage.completion_tokens, *labels)
            metrics.ntpot.observe(seconds / usage.completion_tokens, *labels)
        metrics.prompt_cached_tokens.observe(usage.cached_tokens, *labels)
