"""One sidecar at work: takes requests on its port, prefills elsewhere where the header says so, decodes here.

In the process of the stack, beside the model servers. Facts: llm-d-router pkg/sidecar/proxy/proxy.go,
chat_completions.go. Not imitated: encoder stages, the cached tokens of the prefill in the decode's usage.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import h11

from gateway.sidecar.options import SidecarOptions
from gateway.sidecar.protocol import (
    HEADER,
    NOT_READY,
    ROUTES,
    decode_body,
    error_body,
    prefill_body,
    read_body,
)
from gateway.sidecar.upstream import Answer, Headers, Upstream, passed_on

_READ = 64 * 1024
_HEAD = 1 << 20  # bytes of a head, as there
_BODY = 64 << 20  # bytes of a body; a model server takes less
_RETRIED = (502, 503, 504)
_BACKOFF = 0.2  # seconds between two tries of a prefill, as there
_JSON: Headers = [(b"content-type", b"application/json")]


@dataclass
class Request:
    """A request with all of its body."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    def prefill_hosts(self) -> list[str]:
        """The prefill pods that the header names."""
        values = [v.decode("latin-1") for n, v in self.headers if n.lower() == HEADER]
        return [host.strip() for value in values for host in value.split(",") if host.strip()]

    def without_hosts(self, more: Headers) -> Headers:
        return [(n, v) for n, v in self.headers if n.lower() != HEADER] + more


def address_of(text: str) -> tuple[str, int] | None:
    """Host and port of `host:port`, None for anything else."""
    host, colon, port = text.removeprefix("http://").rpartition(":")
    return (host.strip("[]"), int(port)) if colon and host and port.isdigit() and int(port) < 65536 else None


class Proxy:
    """Forwards the requests of one port to `model`. `choose` picks among several prefill pods."""

    def __init__(
        self,
        options: SidecarOptions,
        model: tuple[str, int],
        choose: Callable[[list[str]], str] = random.choice,
    ) -> None:
        self._options = options
        self._model = model
        self._choose = choose
        self._decoders = Upstream(_trusting() if options.tls_to_model else None)
        self._prefillers = Upstream(_trusting() if options.tls_to_prefill else None)

    def close(self) -> None:
        self._decoders.close()
        self._prefillers.close()

    async def answer(self, request: Request, reply: Reply) -> None:
        """Answer one request through `reply`."""
        hosts = request.prefill_hosts() if request.method == b"POST" and request.path in ROUTES else []
        if request.method == b"GET" and request.path == b"/health":
            await reply.whole(200, [], b"")
        elif not hosts:
            await self._decode(request, request.without_hosts([]), request.body, reply)
        else:
            await self._disaggregated(
                request, self._choose(hosts) if self._options.sampling else hosts[0], reply
            )

    async def _disaggregated(self, request: Request, host: str, reply: Reply) -> None:
        body = read_body(request.body)
        if body is None:
            await reply.whole(400, _JSON, error_body("invalid JSON", "BadRequestError", 400))
            return
        place = address_of(host)
        if place is None:
            words = f"{host} is not the host and port of a prefill pod"
            await reply.whole(502, _JSON, error_body(words, "BadGateway", 502))
            return
        headers = request.without_hosts([(b"x-request-id", str(uuid.uuid1()).encode())])
        asked = prefill_body(body, request.path, self._options.connector)
        status, answered, raw = await self._prefill(place, request, headers, asked)
        if status >= 400:
            await reply.whole(status, answered, raw)
            return
        answer = read_body(raw)
        if answer is None:
            await reply.whole(400, _JSON, error_body("invalid JSON", "BadRequestError", 400))
            return
        await self._decode(request, headers, decode_body(body, answer, self._options.connector), reply)

    async def _prefill(
        self, place: tuple[str, int], request: Request, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes]:
        """Status, headers and body of the prefill's answer, tried again as the options allow."""
        for attempt in range(self._options.retries + 1):
            if attempt:
                await asyncio.sleep(_BACKOFF)
            try:
                async with self._prefillers.send(
                    place, request.method, request.target, headers, body
                ) as answer:
                    found = answer.status, passed_on(answer.headers), await answer.body()
            except (OSError, EOFError, h11.ProtocolError) as error:
                words = error_body(f"prefill pod {place[0]}:{place[1]}: {error}", "BadGateway", 502)
                found = 502, _JSON, words
            if found[0] not in _RETRIED:
                break
        return found

    async def _decode(self, request: Request, headers: Headers, body: bytes, reply: Reply) -> None:
        try:
            async with self._decoders.send(
                self._model, request.method, request.target, headers, body
            ) as answer:
                await reply.streamed(answer)
        except ConnectionRefusedError:
            await reply.whole(503, _JSON, NOT_READY)
        except (OSError, EOFError, h11.ProtocolError) as error:
            if reply.started:
                reply.abort()  # a part of it is out
            else:
                await reply.whole(502, _JSON, error_body(str(error), "BadGateway", 502))


class Reply:
    """The answer to one request on its connection."""

    def __init__(self, http: h11.Connection, writer: asyncio.StreamWriter) -> None:
        self._http = http
        self._writer = writer
        self.started = False

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """An answer whose body is at hand."""
        sized = [(n, v) for n, v in headers if n.lower() not in (b"content-length", b"transfer-encoding")]
        self._put(h11.Response(status_code=status, headers=[*sized, (b"content-length", b"%d" % len(body))]))
        if body:
            self._put(h11.Data(data=body))
        self._put(h11.EndOfMessage())
        await self._writer.drain()

    async def streamed(self, answer: Answer) -> None:
        """The answer of a model server, piece by piece as it comes."""
        self._put(h11.Response(status_code=answer.status, headers=passed_on(answer.headers)))
        async for piece in answer.pieces:
            self._put(h11.Data(data=piece))
            await self._writer.drain()
        self._put(h11.EndOfMessage())
        await self._writer.drain()

    def _put(self, event: h11.Event) -> None:
        self.started = True
        self._writer.write(self._http.send(event) or b"")

    def abort(self) -> None:
        self._writer.transport.abort()


async def serve_connection(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All requests of one connection, until either side has enough."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
    try:
        while (request := await _next_request(http, reader, writer)) is not None:
            await _unless_gone(proxy.answer(request, Reply(http, writer)), http, reader)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                break
            http.start_next_cycle()
    except h11.RemoteProtocolError as error:
        with contextlib.suppress(h11.LocalProtocolError):
            await Reply(http, writer).whole(error.error_status_hint, [], b"")
    except (OSError, h11.LocalProtocolError):
        pass  # the client left
    finally:
        writer.close()


async def _next_request(
    http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | None:
    head: h11.Request | None = None
    chunks: list[bytes] = []
    size = 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                writer.write(http.send(go_on) or b"")
            http.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > _BODY:
                raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
            chunks.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Request(head.method, head.target, list(head.headers.raw_items()), b"".join(chunks))
        else:
            return None


async def _unless_gone(
    answering: Coroutine[Any, Any, None], http: h11.Connection, reader: asyncio.StreamReader
) -> None:
    """Answer, and stop where the client leaves meanwhile: the model server should know."""
    work = asyncio.ensure_future(answering)
    early = asyncio.ensure_future(reader.read(_READ))
    try:
        await asyncio.wait((work, early), return_when=asyncio.FIRST_COMPLETED)
        if early.done() and not early.result():
            return  # the client has left
        await work
        if early.done():
            http.receive_data(early.result())  # of its next request
    finally:
        early.cancel()
        work.cancel()
        await asyncio.gather(work, early, return_exceptions=True)


def _trusting() -> ssl.SSLContext:
    """TLS to a pod, whose certificate nobody checks, as the flags of llm-d's charts have it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
