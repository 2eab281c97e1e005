"""The null server answers like a model server, on a schedule that is true."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from loadgen.client.connection import Pool
from loadgen.client.exchange import Exchange
from loadgen.client.fetch import Fetched, fetch
from loadgen.client.nullserver import Answers, NullConfig, NullProtocol, NullServer, Stream, chunk
from loadgen.client.target import parse_target
from tests.ports import free_port

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def asked(
    config: NullConfig, path: str, body: bytes, count: int = 1
) -> tuple[list[Exchange], dict[str, float]]:
    """The answers to some requests one behind the other, and the server's own account of them."""

    async def main() -> tuple[list[Exchange], dict[str, float]]:
        loop = asyncio.get_running_loop()
        state = NullServer(loop, config)
        port = free_port()
        server = await loop.create_server(lambda: NullProtocol(state), "127.0.0.1", port)
        target = parse_target(f"http://127.0.0.1:{port}")
        pool = Pool(loop, target)
        try:
            exchanges = []
            for _ in range(count):
                done: asyncio.Future[Exchange] = loop.create_future()
                payload = pool.render(path, {}, body)
                pool.submit(Exchange(payload, done.set_result, keep_times=True, keep_text=True, timeout=30.0))
                exchanges.append(await done)
            stats: Fetched = await fetch(pool, "/stats")
            return exchanges, json.loads(stats.body)
        finally:
            pool.close()
            server.close()
            state.alarm.close()

    return asyncio.run(main())


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("tokens", [1, 3, 40])
def test_streams_at_once(path: str, tokens: int) -> None:
    (exchange,), stats = asked(NullConfig(tokens), path, b'{"stream":true}')
    assert (exchange.outcome, exchange.headers["x-inference-pod"]) == ("ok", "null-0")
    assert exchange.reader is not None
    assert exchange.reader.tokens == tokens
    assert exchange.usage is not None
    assert exchange.usage.counts() == (10, tokens, 0)
    assert exchange.text() == "".join(f" w{number}" for number in range(tokens))
    assert stats["requests"] == 1


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_whole_answers(path: str) -> None:
    exchanges, stats = asked(NullConfig(3), path, b"{}", count=3)
    for exchange in exchanges:
        assert (exchange.outcome, exchange.text()) == ("ok", " w0 w1 w2")
        assert exchange.usage is not None
        assert exchange.usage.output == 3
    assert [exchange.reused for exchange in exchanges] == [False, True, True]
    assert stats["requests"] == 3


@pytest.mark.parametrize(("config", "events"), [(NullConfig(1), 1), (NullConfig(5), 5)])
def test_answers_are_made_once(config: NullConfig, events: int) -> None:
    answers = Answers(config)
    for api in ("completions", "chat"):
        assert len(answers.events[api]) == events
        assert answers.whole_stream[api].endswith(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        assert answers.whole_stream[api].count(b'"finish_reason":"length"') == 1


def test_paced_tokens_never_leave_early_and_their_true_moments_are_kept() -> None:
    config = NullConfig(tokens=4, ttft=0.03, itl=0.01)
    (exchange,), stats = asked(config, COMPLETIONS, b'{"stream":true}')
    assert exchange.reader is not None
    assert exchange.reader.first is not None
    assert exchange.reader.last is not None
    assert exchange.reader.first - exchange.start >= 0.03
    assert exchange.reader.last - exchange.start >= 0.06
    assert (stats["requests"], stats["ended"]) == (1, 1)
    assert stats["ttft"] >= 0.03
    # each token is due on the schedule of the arrival, so a late one takes nothing from the sum
    assert exchange.reader.first - exchange.start - stats["ttft"] >= 0


def test_other_paths() -> None:
    (exchange,), _ = asked(NullConfig(1), "/v1/anything", b"{}")
    assert (exchange.status, b"".join(exchange.body)) == (200, b"{}")


class _Wire:
    """What a stream needs of its connection, without one."""

    def __init__(self, server: NullServer) -> None:
        self.server = server


@pytest.mark.parametrize(("at", "due"), [(0.5, 0.5), (1.0, 3.0), (2.9, 3.0), (3.0, 3.0), (3.5, 3.5)])
def test_what_is_due_in_a_stall_waits_for_its_end(at: float, due: float) -> None:
    async def main() -> float:
        server = NullServer(asyncio.get_running_loop(), NullConfig(stall_at=1.0, stall=2.0))
        begin = time.monotonic() + 60.0
        server.first_request = begin
        stream = Stream(_Wire(server), [], begin)  # type: ignore[arg-type]
        server.schedule(begin + at, stream)
        server.alarm.close()
        return server.heap[0][0] - begin

    assert asyncio.run(main()) == pytest.approx(due, abs=1e-6)
