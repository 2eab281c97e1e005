"""The pool of connections: opened ahead, used again, ended together, and the words of what goes wrong."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable

import pytest

from loadgen.client.connection import Pool
from loadgen.client.dial import describe_connect_error
from loadgen.client.exchange import Exchange
from loadgen.client.target import parse_target
from tests.loadgen.fakes import (
    DONE,
    FakeServer,
    Reply,
    Script,
    Seen,
    event,
    good_stream,
    sse_head,
    token,
)
from tests.waiting import until_async

BODY = b'{"stream":true}'


def with_pool(
    script: Script, use: Callable[[Pool, FakeServer], Awaitable[None]], **options: float
) -> FakeServer:
    """Run `use` with a pool to a server that a script answers for."""

    async def main() -> FakeServer:
        async with FakeServer(script) as server:
            pool = Pool(asyncio.get_running_loop(), parse_target(server.url), **options)
            try:
                await asyncio.wait_for(use(pool, server), 30)
            finally:
                pool.close()
            return server

    return asyncio.run(main())


def send(pool: Pool, **options: object) -> asyncio.Future[Exchange]:
    """An exchange on its way."""
    done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    payload = pool.render("/v1/completions", {}, BODY)
    pool.submit(Exchange(payload, done.set_result, **{"timeout": 30.0, **options}))  # type: ignore[arg-type]
    return done


async def answers(_: Seen, reply: Reply) -> None:
    await reply.send(good_stream(2))


async def hangs(_: Seen, reply: Reply) -> None:
    await reply.send(sse_head(), event(token("a")))


def test_connections_opened_ahead_are_used() -> None:
    async def use(pool: Pool, server: FakeServer) -> None:
        await pool.warm(3)
        assert pool.opened == 3
        found = await asyncio.gather(*(send(pool) for _ in range(3)))
        assert [exchange.outcome for exchange in found] == ["ok"] * 3
        assert [exchange.reused for exchange in found] == [False] * 3
        assert pool.opened == 3

    assert with_pool(answers, use, idle_timeout=30.0).connections == 3


def test_requests_at_once_have_a_connection_each_and_later_ones_none_of_their_own() -> None:
    async def use(pool: Pool, server: FakeServer) -> None:
        await asyncio.gather(*(send(pool) for _ in range(4)))
        assert pool.opened == 4
        for _ in range(5):
            assert (await send(pool)).reused
        assert pool.opened == 4

    server = with_pool(answers, use, idle_timeout=30.0)
    assert (server.connections, len(server.seen)) == (4, 9)


def test_everything_that_runs_is_ended_at_once_in_the_words_given() -> None:
    async def use(pool: Pool, server: FakeServer) -> None:
        futures = [send(pool, timeout=timeout) for timeout in (20.0, 30.0, 20.0)]
        await until_async(lambda: len(server.seen) == 3)
        pool.cancel_all("client_cancel", "the run was stopped")
        found = await asyncio.gather(*futures)
        assert {(each.outcome, each.error) for each in found} == {("client_cancel", "the run was stopped")}
        pool.cancel_all("client_cancel", "again")  # nothing is left to end
        assert all(each.error == "the run was stopped" for each in found)

    with_pool(hangs, use)


def test_each_request_has_its_own_timeout() -> None:
    async def use(pool: Pool, server: FakeServer) -> None:
        short, long = send(pool, timeout=0.05), send(pool, timeout=30.0)
        found = await short
        assert (found.outcome, found.error) == ("timeout", "no complete answer within 0.05 s")
        assert found.end is not None
        assert found.end - found.start >= 0.05
        assert not long.done()
        pool.cancel_all("client_cancel", "over")
        assert (await long).outcome == "client_cancel"

    with_pool(hangs, use)


def test_first_token_and_pace_have_timeouts_of_their_own() -> None:
    async def silent(_: Seen, reply: Reply) -> None:
        await reply.send(sse_head(), event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}))

    async def first(pool: Pool, server: FakeServer) -> None:
        late, patient = send(pool, patience=(0.05, None)), send(pool, patience=(30.0, None))
        found = await late
        assert (found.outcome, found.error) == ("timeout", "no first token within 0.05 s")
        assert found.end is not None
        assert found.end - found.start >= 0.05
        assert not patient.done()
        pool.cancel_all("client_cancel", "over")

    with_pool(silent, first)

    async def pace(pool: Pool, server: FakeServer) -> None:
        slow, patient, plain = (
            send(pool, patience=(20.0, 0.05)),
            send(pool, patience=(None, 30.0)),
            send(pool),
        )
        found = await slow
        assert (found.outcome, found.error) == ("timeout", "no token for 0.05 s after 1")
        assert not patient.done()
        assert not plain.done()
        pool.cancel_all("client_cancel", "over")
        assert {each.outcome for each in await asyncio.gather(patient, plain)} == {"client_cancel"}
        assert not pool._paced
        assert not any(pool._unbegun.values())

    with_pool(hangs, pace)


def test_a_token_in_time_ends_the_wait_for_the_first() -> None:
    async def use(pool: Pool, server: FakeServer) -> None:
        begun = send(pool, patience=(0.6, None))
        await until_async(lambda: not any(pool._unbegun.values()))
        assert not begun.done()
        pool.cancel_all("client_cancel", "over")
        assert (await begun).outcome == "client_cancel"

    with_pool(hangs, use)


def test_a_connection_that_was_left_in_mid_stream_is_not_used_again() -> None:
    async def script(seen: Seen, reply: Reply) -> None:
        await reply.send(sse_head(), *(event(token(f" {n}")) for n in range(5)))
        if len(server_seen) > 1:
            await reply.send(DONE)

    server_seen: list[int] = []

    async def use(pool: Pool, server: FakeServer) -> None:
        server_seen.append(1)
        left = await send(pool, cancel_after=2)
        assert (left.outcome, left.error) == ("client_cancel", "left after 2 tokens")
        server_seen.append(2)
        after = await send(pool)
        assert (after.outcome, after.reused) == ("ok", False)

    assert with_pool(script, use).connections == 2


@pytest.mark.parametrize(
    ("error", "tls", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), False, "Connection refused"),
        (OSError(errno.EHOSTUNREACH, "x"), False, "No route to host"),
        (OSError("Multiple exceptions"), False, "Multiple exceptions"),
        (ConnectionResetError(), False, "ConnectionResetError"),
        (ConnectionResetError(), True,
         "TLS: the handshake broke off (ConnectionResetError): a plain http server?"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), True, "Connection refused"),
    ],
)  # fmt: skip
def test_words_of_errors_of_connecting(error: Exception, tls: bool, words: str) -> None:
    assert describe_connect_error(error, tls) == words


def test_the_reason_of_a_broken_handshake_is_told() -> None:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    assert (
        describe_connect_error(error, tls=True)
        == "TLS: WRONG_VERSION_NUMBER: a plain http server? then say http://"
    )
