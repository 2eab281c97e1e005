"""One request over a real socket: moments, outcomes, connections."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from loadgen.client.connection import Pool
from loadgen.client.exchange import Exchange
from loadgen.client.target import parse_target
from tests.loadgen.drive import one_exchange
from tests.loadgen.fakes import (
    DONE,
    FakeServer,
    Reply,
    Script,
    Seen,
    chunk,
    event,
    free_port,
    good_stream,
    plain,
    sse_head,
    token,
    usage,
)


def run(script: Script, **options: object) -> Exchange:
    async def main() -> Exchange:
        async with FakeServer(script) as server:
            return await one_exchange(server.url, **options)  # type: ignore[arg-type]

    return asyncio.run(main())


def sends(*parts: bytes) -> Script:
    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(*parts)

    return script


def test_a_whole_stream_is_ok_with_all_its_moments() -> None:
    exchange = run(sends(good_stream(3, server="uvicorn")))
    assert exchange.outcome == "ok"
    assert exchange.status == 200
    assert exchange.headers["x-inference-pod"] == "pod-0"
    reader = exchange.reader
    assert reader is not None
    assert reader.tokens == 3
    assert exchange.usage is not None
    assert exchange.usage.counts() == (10, 3, 4)
    assert exchange.connected is not None
    assert exchange.first_byte is not None
    assert exchange.end is not None
    assert reader.first is not None
    assert exchange.start <= exchange.connected <= exchange.first_byte <= reader.first <= exchange.end
    assert reader.times is not None
    assert len(reader.times) == 3


def test_token_times_are_those_of_their_arrival() -> None:
    sent: list[float] = []

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(sse_head(), event(token(" a")))
        await asyncio.sleep(0.3)
        sent.append(time.monotonic())
        await reply.send(event(token(" b")), event(usage(1, 2)), DONE)

    exchange = run(script)
    assert exchange.reader is not None
    first, second = exchange.reader.times or []
    assert first < sent[0] < second


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome"),
    [
        (429, {"error": {"message": "busy", "code": 429}}, {}, "shed_429"),
        (429, "x", {"x_llm_d_request_dropped_reason": "rejected-saturated"}, "shed_429"),
        (429, "x", {"x_llm_d_request_dropped_reason": "evicted-queue-pressure"}, "evicted"),
        (503, "x", {"x_llm_d_request_dropped_reason": "rejected-ttl-expired"}, "ttl_503"),
        (503, "x", {"x_llm_d_request_dropped_reason": "rejected-context-cancelled"}, "ttl_503"),
        (503, "no healthy upstream", {"server": "istio-envoy"}, "gateway_503"),
        (503, "inference gateway: ServiceUnavailable - failed", {}, "gateway_503"),
        (503, {"error": {"message": "full"}}, {"x_inference_pod": "p"}, "upstream_5xx"),
        (503, {"error": {"message": "full"}}, {"server": "uvicorn"}, "upstream_5xx"),
        (500, {"error": {"message": "boom"}}, {"x_inference_pod": "p"}, "upstream_5xx"),
        (404, {"error": {"message": "no such model"}}, {}, "rejected_4xx"),
        (400, {"object": "error", "message": "bad", "code": 400}, {}, "rejected_4xx"),
    ],
)
def test_what_is_no_success_falls_into_its_class(
    status: int, body: object, headers: dict[str, str], outcome: str
) -> None:
    exchange = run(sends(plain(status, body, **headers)))
    assert exchange.outcome == outcome
    assert exchange.status == status
    assert exchange.error


def test_the_words_of_an_error_are_kept() -> None:
    exchange = run(sends(plain(404, {"error": {"message": "The model `x` does not exist.", "code": 404}})))
    assert exchange.error == "The model `x` does not exist."


def test_an_unstreamed_answer_is_ok_and_has_its_counts() -> None:
    body = {
        "choices": [{"text": " hello", "index": 0}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": None},
    }
    exchange = run(sends(plain(200, body)))
    assert exchange.outcome == "ok"
    assert exchange.usage is not None
    assert exchange.usage.output == 1
    assert exchange.text() == " hello"
    assert exchange.reader is None


def test_a_200_with_an_empty_body_is_not_ok() -> None:
    assert run(sends(plain(200, ""))).outcome == "stream_truncated"


def test_an_error_event_in_the_stream_is_the_servers_error() -> None:
    error = {"error": {"message": "engine died", "code": 500}}
    exchange = run(sends(sse_head(x_inference_pod="p"), event(token(" a")), event(error), DONE))
    assert exchange.outcome == "upstream_5xx"
    assert exchange.error == "engine died"


def test_a_stream_without_its_end_is_truncated() -> None:
    exchange = run(sends(sse_head(), event(token(" a")), b"0\r\n\r\n"))
    assert exchange.outcome == "stream_truncated"


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_ends_in_mid_stream_truncates_it(reset: bool) -> None:
    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(sse_head(), event(token(" a")))
        await asyncio.sleep(0.05)
        reply.cut(reset=reset)

    exchange = run(script)
    assert exchange.outcome == "stream_truncated"
    assert exchange.reader is not None
    assert exchange.reader.tokens == 1


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_ends_before_the_answer_is_a_reset(reset: bool) -> None:
    async def script(_: Seen, reply: Reply) -> None:
        reply.cut(reset=reset)

    assert run(script).outcome == "reset"


def test_what_is_not_http_is_a_reset() -> None:
    exchange = run(sends(b"SSH-2.0-OpenSSH_9.2\r\n"))
    assert exchange.outcome == "reset"
    assert "not HTTP" in (exchange.error or "")


def test_silence_is_a_timeout_after_the_clients_own_time() -> None:
    async def script(_: Seen, reply: Reply) -> None:
        await asyncio.sleep(60)

    exchange = run(script, timeout=0.2)
    assert exchange.outcome == "timeout"
    assert exchange.end is not None
    assert 0.2 <= exchange.end - exchange.start < 4, "not the default of 5 s"


def test_nobody_listening_is_a_connect_error() -> None:
    exchange = asyncio.run(one_exchange(f"http://127.0.0.1:{free_port()}"))
    assert exchange.outcome == "connect_error"
    assert "refused" in (exchange.error or "")


def test_the_client_leaves_after_n_tokens_and_the_server_notices() -> None:
    left = asyncio.Event()

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(sse_head())
        try:
            for number in range(1000):
                await reply.send(event(token(f" w{number}")))
                await asyncio.sleep(0.005)
        finally:
            left.set()

    exchange = run(script, cancel_after=3)
    assert exchange.outcome == "client_cancel"
    assert exchange.reader is not None
    assert 3 <= exchange.reader.tokens < 20
    assert left.is_set()


def test_interim_answers_are_passed_over() -> None:
    exchange = run(sends(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", good_stream(1)))
    assert exchange.outcome == "ok"


def test_a_connection_is_used_again_and_an_idle_one_is_given_up() -> None:
    async def main() -> None:
        async with FakeServer(sends(good_stream(1))) as server:
            pool = Pool(asyncio.get_running_loop(), parse_target(server.url), idle_timeout=1.0)
            first = await one_exchange(server.url, pool=pool)
            second = await one_exchange(server.url, pool=pool)
            assert (first.reused, second.reused) == (False, True)
            assert server.connections == 1
            deadline = time.monotonic() + 15
            while pool._idle and time.monotonic() < deadline:  # the pool tells nobody
                await asyncio.sleep(0.01)
            third = await one_exchange(server.url, pool=pool)
            assert third.reused is False
            assert server.connections == 2
            pool.close()

    asyncio.run(main())


def test_connection_close_is_honoured() -> None:
    async def main() -> None:
        async with FakeServer(sends(plain(200, {"choices": [{"text": "x"}]}, connection="close"))) as server:
            pool = Pool(asyncio.get_running_loop(), parse_target(server.url))
            assert (await one_exchange(server.url, pool=pool)).outcome == "ok"
            assert (await one_exchange(server.url, pool=pool)).reused is False
            pool.close()

    asyncio.run(main())


def test_a_megabyte_of_body_arrives_whole_and_its_sending_has_a_time() -> None:
    async def main() -> None:
        async with FakeServer(sends(good_stream(1))) as server:
            loop = asyncio.get_running_loop()
            pool = Pool(loop, parse_target(server.url))
            body = b'{"prompt":"' + b"x" * (1 << 20) + b'"}'
            done: asyncio.Future[Exchange] = loop.create_future()
            pool.submit(Exchange(pool.render("/v1/completions", {}, body), done.set_result))
            exchange = await asyncio.wait_for(done, 20)
            assert exchange.outcome == "ok"
            assert server.seen[0].body == body
            assert exchange.bytes_out > 1 << 20
            pool.close()

    asyncio.run(main())


def test_events_split_anywhere_are_read_alike() -> None:
    stream = b"".join([f'data: {{"choices":[{{"text":" w{i}"}}]}}\n\n'.encode() for i in range(5)])
    stream += b"data: [DONE]\n\n"
    pieces = [stream[i : i + 7] for i in range(0, len(stream), 7)]
    exchange = run(sends(sse_head(), *[chunk(piece) for piece in pieces], b"0\r\n\r\n"), keep_text=True)
    assert exchange.outcome == "ok"
    assert exchange.text() == " w0 w1 w2 w3 w4"
    assert exchange.reader is not None
    assert exchange.reader.tokens == 5


async def two_on_one_connection(server: FakeServer) -> list[Exchange]:
    async with server:
        pool = Pool(asyncio.get_running_loop(), parse_target(server.url))
        found = [await one_exchange(server.url, pool=pool) for _ in range(2)]
        pool.close()
        return found


def test_a_kept_connection_that_was_closed_as_the_request_went_out_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("loadgen.client.connection.RACE", 5.0)  # the next test holds the real one

    async def script(_: Seen, reply: Reply) -> None:
        if len(server.seen) == 2:  # the second request meets a connection that is being closed
            reply.cut(reset=True)
        else:
            await reply.send(good_stream(3))

    server = FakeServer(script)

    first, second = asyncio.run(two_on_one_connection(server))
    assert (first.outcome, first.resent) == ("ok", False)
    assert (second.outcome, second.resent, second.reused) == ("ok", True, False)
    assert server.connections == 2
    assert second.connected is not None
    assert second.start < second.connected


def test_a_kept_connection_lost_while_the_server_works_is_a_failure() -> None:
    async def script(_: Seen, reply: Reply) -> None:
        if len(server.seen) == 2:
            await asyncio.sleep(0.1)
            reply.cut(reset=True)
        else:
            await reply.send(good_stream(3))

    server = FakeServer(script)

    _, second = asyncio.run(two_on_one_connection(server))
    assert (second.outcome, second.resent) == ("reset", False)
    assert len(server.seen) == 2


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"

    def stream(*events: bytes) -> Script:
        async def script(_: Seen, reply: Reply) -> None:
            await reply.send(head, *events)
            reply.cut()

        return script

    events = [b"data: " + msgspec.json.encode(each) + b"\n\n" for each in (token(" a"), usage(3, 1))]
    whole = run(stream(*events, b"data: [DONE]\n\n"))
    assert whole.outcome == "ok"
    assert whole.usage is not None
    assert run(stream(*events)).outcome == "stream_truncated"
