"""Children and ports."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from gateway.errors import ProcessError, StackError
from gateway.machine.ports import FIRST, LAST, AddressPool, free_port, is_free
from gateway.machine.processes import Process, tail_of


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


def test_children_are_in_a_session_of_their_own(tmp_path: Path) -> None:
    async def run() -> None:
        child = python(tmp_path, "import time; time.sleep(60)")
        await child.start()
        assert child.pid is not None
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
        await child.stop()

    asyncio.run(run())
