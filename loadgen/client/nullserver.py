"""The built-in null server: answers like a model server, as cheaply as Python can, on a true schedule.

It gives this machine's own ceiling before a run, and a known truth to measure the client against: with
`ttft` and `itl` each token leaves at its due time after the request's last byte arrived, and /stats says
when tokens really left. `python -m loadgen.client.nullserver --port 8099 --tokens 8`.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import json
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import cast

import httptools

from kit.alarm import make_alarm, new_event_loop
from kit.console import say
from kit.signals import ENDING, hear, ignore

HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: loadgen-null\r\nx-inference-pod: null-0\r\nx-inference-port: 0\r\n"
    b"x-inference-namespace: null\r\ncontent-type: "
)
SSE_HEAD = HEAD + b"text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
JSON_HEAD = HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n"
MODEL = "null"


@dataclass(frozen=True, slots=True)
class NullConfig:
    """What it answers: `tokens` events, the first `ttft` seconds after the request, the rest `itl` apart.

    eos: the last one has no text, as where a model ends its answer by itself; else it ends by length.
    All answers due in the `stall` seconds from `stall_at` (after the first request) wait for its end.
    """

    tokens: int = 8
    ttft: float = 0.0
    itl: float = 0.0
    stall_at: float = 0.0
    stall: float = 0.0
    eos: bool = False


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(fields: str) -> bytes:
    return (
        'data: {"id":"cmpl-null","object":"text_completion","created":1700000000,"model":"null",'
        f"{fields}}}\n\n"
    ).encode()


def _choice(api: str, text: str, finish: str) -> str:
    end = f'"logprobs":null,"finish_reason":{finish}}}]'
    if api == "chat":
        return f'"choices":[{{"index":0,"delta":{{"content":"{text}"}},{end}'
    return f'"choices":[{{"index":0,"text":"{text}",{end}'


class Answers:
    """The bytes of every answer, made once."""

    def __init__(self, config: NullConfig) -> None:
        tokens = config.tokens
        usage = (
            f'"usage":{{"prompt_tokens":10,"total_tokens":{10 + tokens},"completion_tokens":{tokens},'
            '"prompt_tokens_details":{"cached_tokens":0}}'
        )
        self.events: dict[str, list[bytes]] = {}
        for api in ("completions", "chat"):
            last = [chunk(_event(_choice(api, f" w{i}", "null"))) for i in range(tokens - 1)]
            end = ("", '"stop"') if config.eos else (f" w{tokens - 1}", '"length"')
            last.append(chunk(_event(_choice(api, *end))))
            last[-1] += chunk(_event(f'"choices":[],{usage}')) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
            self.events[api] = last
        self.whole_stream = {api: SSE_HEAD + b"".join(events) for api, events in self.events.items()}
        text = "".join(f" w{i}" for i in range(tokens))
        choices = {
            "completions": f'[{{"index":0,"text":"{text}"}}]',
            "chat": f'[{{"index":0,"message":{{"role":"assistant","content":"{text}"}}}}]',
        }
        self.json = {
            api: json_answer(f'{{"id":"cmpl-null","object":"x","choices":{value},{usage}}}'.encode())
            for api, value in choices.items()
        }


def json_answer(body: bytes) -> bytes:
    """A complete JSON answer."""
    return JSON_HEAD % len(body) + body


class NullServer:
    """State shared by all connections: the answers, the timetable and the true moments."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: NullConfig) -> None:
        self.config = config
        self.answers = Answers(config)
        self.alarm = make_alarm(loop, self._due)
        self.heap: list[tuple[float, int, Stream]] = []
        self.order = itertools.count()
        self.requests = 0
        self.first_request: float | None = None
        self.ttft_sum = self.tpot_sum = 0.0
        self.ended = 0

    def schedule(self, at: float, stream: Stream) -> None:
        """Wake `stream` at `at`, or at the end of a stall."""
        stall = self.config.stall
        if stall and self.first_request is not None:
            begin = self.first_request + self.config.stall_at
            if begin <= at < begin + stall:
                at = begin + stall
        if not self.heap or at < self.heap[0][0]:
            self.alarm.set(at)
        heapq.heappush(self.heap, (at, next(self.order), stream))

    def _due(self) -> None:
        now = monotonic()
        while self.heap and self.heap[0][0] <= now:
            heapq.heappop(self.heap)[2].emit()
        if self.heap:
            self.alarm.set(self.heap[0][0])

    def stats(self) -> bytes:
        """True means in seconds over all finished paced streams."""
        ended = max(1, self.ended)
        return json.dumps(
            {
                "requests": self.requests,
                "ended": self.ended,
                "ttft": self.ttft_sum / ended,
                "tpot": self.tpot_sum / ended,
                "cpu": sum(os.times()[:2]),
            }
        ).encode()


class Stream:
    """A paced answer on its way."""

    __slots__ = ("arrived", "emitted", "events", "first", "protocol")

    def __init__(self, protocol: NullProtocol, events: list[bytes], arrived: float) -> None:
        self.protocol = protocol
        self.events = events
        self.arrived = arrived
        self.first = 0.0
        self.emitted = 0

    def emit(self) -> None:
        """Send the next token and plan the one after it, on the schedule of the arrival."""
        server, transport = self.protocol.server, self.protocol.transport
        if transport.is_closing():
            return
        data = self.events[self.emitted]
        now = monotonic()
        if self.emitted == 0:
            self.first = now
            data = SSE_HEAD + data
        transport.write(data)
        self.emitted += 1
        config = server.config
        if self.emitted < len(self.events):
            server.schedule(self.arrived + config.ttft + config.itl * self.emitted, self)
            return
        server.ended += 1
        server.ttft_sum += self.first - self.arrived
        server.tpot_sum += (now - self.first) / max(1, len(self.events) - 1)


class NullProtocol(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: NullServer) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.url = b""
        self.stream = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_url(self, url: bytes) -> None:
        self.url = url
        self.stream = False

    def on_body(self, body: bytes) -> None:
        if not self.stream:
            self.stream = b'"stream":true' in body

    def on_message_complete(self) -> None:
        server, url = self.server, self.url
        if not url.endswith(b"completions"):
            self._answer_other(url)
            return
        server.requests += 1
        api = "chat" if b"chat" in url else "completions"
        config = server.config
        if not self.stream:
            self.transport.write(server.answers.json[api])
        elif not (config.ttft or config.itl or config.stall):
            self.transport.write(server.answers.whole_stream[api])
        else:
            now = monotonic()
            if server.first_request is None:
                server.first_request = now
            server.schedule(now + config.ttft, Stream(self, server.answers.events[api], now))

    def _answer_other(self, url: bytes) -> None:
        if url == b"/stats":
            self.transport.write(json_answer(self.server.stats()))
        elif url == b"/v1/models":
            self.transport.write(
                json_answer(b'{"object":"list","data":[{"id":"%b","object":"model"}]}' % MODEL.encode())
            )
        else:
            self.transport.write(json_answer(b"{}"))

    def connection_lost(self, exc: Exception | None) -> None:
        del self.parser  # it holds this object


async def serve(sock: socket.socket, config: NullConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    state = NullServer(loop, config)
    stop = asyncio.Event()
    hear(ENDING, lambda _: stop.set())
    server = await loop.create_server(lambda: NullProtocol(state), sock=sock, backlog=4096)
    say(f"listening on {sock.getsockname()[1]}")  # the parent waits for this line
    await stop.wait()
    ignore(ENDING)
    server.close()
    state.alarm.close()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints one line when it listens."""
    parser = argparse.ArgumentParser(prog="python -m loadgen.client.nullserver")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--tokens", type=int, default=8)
    for flag in ("--ttft-ms", "--itl-ms", "--stall-at-ms", "--stall-ms"):
        parser.add_argument(flag, type=float, default=0.0)
    parser.add_argument("--eos", action="store_true", help="answers end by a token without text")
    args = parser.parse_args(argv)
    config = NullConfig(
        tokens=args.tokens,
        ttft=args.ttft_ms / 1000,
        itl=args.itl_ms / 1000,
        stall_at=args.stall_at_ms / 1000,
        stall=args.stall_ms / 1000,
        eos=args.eos,
    )
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((args.host, args.port))
    loop = new_event_loop()
    loop.run_until_complete(serve(sock, config))
    loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
