"""Children, ports and probes."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from gateway.errors import ProcessError, StackError
from gateway.machine.ports import FIRST, LAST, AddressPool, free_port, is_free
from gateway.machine.processes import Process, tail_of
from gateway.machine.readiness import grpc_is_serving, http_get


def python(tmp_path: Path, code: str) -> Process:
    return Process("child", [sys.executable, "-u", "-c", code], tmp_path / "child.log")


def test_output_goes_to_the_log_and_the_end_is_told_in_words(tmp_path: Path) -> None:
    async def run() -> None:
        child = python(tmp_path, "import sys; print('hello'); print('bad', file=sys.stderr); sys.exit(3)")
        await child.start()
        assert await child.wait() == 3
        assert (child.ending(), child.tail()) == ("ended with status 3", "hello\nbad")

    asyncio.run(run())


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"child cannot be started: /nowhere: No such file"):
        asyncio.run(Process("child", ["/nowhere"], tmp_path / "log").start())


def test_not_ready_is_an_error_with_the_last_lines(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async def run(code: str, timeout_s: float) -> None:
        child = python(tmp_path, code)
        await child.start()
        try:
            await child.until_ready(never, timeout_s)
        finally:
            await child.kill()

    with pytest.raises(ProcessError, match="ended with status 1 before it was ready") as died:
        asyncio.run(run("raise SystemExit('port taken')", 10))
    assert died.value.log_tail == "port taken"
    with pytest.raises(ProcessError, match=r"not ready after 0\.1 s"):
        asyncio.run(run("import time; time.sleep(60)", 0.1))


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async def run() -> None:
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)"
        child = python(tmp_path, code)
        await child.start()

        async def up() -> bool:
            return child.tail() == "up"

        await child.until_ready(up, 10)
        await child.stop(grace_s=0.1)
        assert (child.is_running, child.stopping, child.ending()) == (False, True, "was ended by SIGKILL")
        await child.stop()  # once more does nothing

    asyncio.run(run())


def test_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail_of(log, 3) == ""
    log.write_text("\n".join(map(str, range(100_000))))
    assert tail_of(log, 2) == "99998\n99999"


def test_free_ports_are_below_the_ephemeral_range_and_differ() -> None:
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    assert all(FIRST <= p <= LAST < 32768 for p in ports)
    with socket.create_server(("127.0.0.1", ports[0])):
        assert not is_free("127.0.0.1", ports[0])


def test_every_pod_gets_an_address_of_its_own() -> None:
    port = free_port()
    pool = AddressPool()
    first = pool.take([port])
    with socket.create_server((pool.take([port]), port)) as taken:
        other = AddressPool()
        addresses = [other.take([port]), pool.take([port]), other.take([port])]
        assert len({first, taken.getsockname()[0], *addresses}) == 5
    pool.release(first)
    other.close()
    assert pool.take([port]) == first
    pool.close()


def test_a_port_taken_on_all_addresses_is_explained() -> None:
    port = free_port()
    with (
        socket.create_server(("0.0.0.0", port)),
        pytest.raises(StackError, match=rf"a process listens on 0\.0\.0\.0:{port}"),
    ):
        AddressPool().take([port])


class Health(grpc.GenericRpcHandler):  # type: ignore[misc]
    """grpc.health.v1 by hand: `good` is serving, the rest is not."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/grpc.health.v1.Health/Check":
            return None

        def check(request: bytes, _: grpc.ServicerContext) -> bytes:
            return b"\x08\x01" if request.endswith(b"good") else b"\x08\x02"

        return grpc.unary_unary_rpc_method_handler(check)


@pytest.fixture
def health() -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Health()])
    port = free_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield port
    server.stop(None).wait()


def test_grpc_health(health: int) -> None:
    async def ask(service: str, port: int) -> bool:
        return await grpc_is_serving("127.0.0.1", port, service, timeout_s=10)

    assert asyncio.run(ask("good", health))
    assert not asyncio.run(ask("bad", health))
    assert not asyncio.run(ask("good", free_port())), "nobody listens"


def test_http_get() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        writer.close()

    async def run() -> tuple[tuple[int, bytes], tuple[int, bytes]]:
        port = free_port()
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            found = await http_get("127.0.0.1", port, "/", timeout_s=10)
        return found, await http_get("127.0.0.1", port, "/")

    assert asyncio.run(run()) == ((200, b"abcde"), (0, b""))


def test_children_are_in_a_session_of_their_own(tmp_path: Path) -> None:
    async def run() -> None:
        child = python(tmp_path, "import time; time.sleep(60)")
        await child.start()
        assert child.pid is not None
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
        await child.stop()

    asyncio.run(run())
