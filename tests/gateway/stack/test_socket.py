"""The control socket, state directories and the commands that use them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.commands import parse
from gateway.errors import ControlError, GatewayError, UsageError
from gateway.stack import owned
from gateway.stack.socket import ControlServer, ask
from gateway.stack.statedir import find_stack, running_stacks, stack_directory


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(root))
    return root


STATUS: dict[str, Any] = {
    "name": "one", "pid": 1, "uptime_s": 3.0, "url": "http://x", "events": [],
    "control_plane": {"kind": "simfleet", "istio": "1.31"}, "gateways": [
        {"name": "gw", "namespace": "n", "admin_url": "http://a", "listeners": [{"port": 80, "url": "http://x"}]}],
    "pickers": [{"name": "epp", "kind": "reference", "state": "running", "metrics_url": "http://m",
                 "kube_api_url": None}],
    "pods": [{"name": "pod-1", "address": "127.0.0.2", "ports": [8000], "state": "ready",
              "running": 1, "waiting": 2}],
}  # fmt: skip


class Fake:
    """A stack that only answers; a thread of its own runs its loop."""

    def __init__(self, path: Path) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._loop = asyncio.new_event_loop()
        names = ("scale", "kill", "restart", "drain")
        self._server = ControlServer(path, {n: self._recorder(n) for n in names} | {"status": self.status})
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(5)

    async def status(self) -> dict[str, Any]:
        return STATUS

    def _recorder(self, name: str) -> Any:
        async def record(target: str = "", name_: str = "", **more: Any) -> str:
            if more.get("name") == "nobody":
                raise ControlError("pod 'nobody' does not exist")
            self.calls.append((name, {**({"target": target} if target else {}), **more}))
            return f"{name} done"

        return record

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def stack(state: Path) -> Iterator[Fake]:
    directory = stack_directory("one")
    directory.hold()
    fake = Fake(directory.socket)
    yield fake
    fake.close()
    directory.remove()


def left_by_a_killed_stack(name: str) -> Path:
    """The directory of a stack whose process was killed."""
    code = (
        "import os, sys; from gateway.stack.statedir import stack_directory\n"
        "d = stack_directory(sys.argv[1]); d.hold(); d.log.write_text(''); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, name], check=False)
    path = stack_directory(name).path
    assert (path / "up.log").exists()
    return path


@pytest.mark.usefixtures("stack")
def test_what_the_socket_refuses(state: Path) -> None:
    path = state / "one" / "control.sock"
    with pytest.raises(ControlError, match="not a request"):
        ask(path, "dance")
    with pytest.raises(ControlError, match="wrong arguments"):
        ask(path, "status", x=1)
    with pytest.raises(ControlError, match="does not exist"):
        ask(path, "kill", name="nobody")
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(path))
        raw.sendall(b"nonsense\n")
        assert b"not a request" in raw.recv(1000)
    with pytest.raises(ControlError, match="cannot be asked"):
        ask(state / "nothing", "status")


@pytest.mark.parametrize(
    ("argv", "call"),
    [
        (["scale", "pool", "5"], ("scale", {"target": "pool", "replicas": 5})),
        (["kill", "pod"], ("kill", {"name": "pod", "after_tokens": None})),
        (
            ["kill", "pod", "--after-tokens", "7", "--name", "one"],
            ("kill", {"name": "pod", "after_tokens": 7}),
        ),
        (["restart", "pod"], ("restart", {"name": "pod"})),
        (["drain", "pod", "--grace", "2"], ("drain", {"name": "pod", "grace_s": 2.0})),
    ],
)
def test_commands_ask_the_stack(
    stack: Fake, capsys: pytest.CaptureFixture[str], argv: list[str], call: tuple[str, dict[str, Any]]
) -> None:
    assert parse.run(argv[0], argv[1:]) == 0
    assert stack.calls == [call]
    assert capsys.readouterr().out == f"{argv[0]} done\n"


@pytest.mark.usefixtures("stack")
def test_ps(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse.run("ps", []) == 0
    table = capsys.readouterr().out
    assert "gateway  n/gw  80 at http://x" in table
    assert "simfleet's own translation, that of Istio 1.31" in table
    assert re.search(r"^pod-1 +127.0.0.2:8000 +ready +1 +2 *$", table, re.MULTILINE), table
    assert parse.run("ps", ["--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stacks": [STATUS]}


@pytest.mark.usefixtures("stack")
def test_what_commands_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse.run("kill", ["nobody"]) == 1
    assert "pod 'nobody' does not exist" in capsys.readouterr().err
    assert parse.run("scale", ["pool", "many"]) == 2
    assert "whole number" in capsys.readouterr().err
    assert parse.run("drain", ["pod", "--name", "two"]) == 1
    assert "no stack named 'two' is running; running: one" in capsys.readouterr().err
    assert parse.run("logs", ["nothing"]) == 1
    assert "no log 'nothing'; there are: up" in capsys.readouterr().err


def test_nothing_runs(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse.run("ps", []) == 0
    assert "no stack is running" in capsys.readouterr().out
    assert parse.run("down", []) == 1
    assert list(state.iterdir()) == []


def test_directories(state: Path) -> None:
    one, two = stack_directory("one"), stack_directory("two")
    one.hold()
    two.hold()
    assert [d.name for d in running_stacks()] == ["one", "two"]
    with pytest.raises(ControlError, match="several stacks are running, choose one with --name: one, two"):
        find_stack(None)
    with pytest.raises(UsageError, match="'one' is running"):
        stack_directory("one").hold()
    one.remove()
    assert find_stack(None).name == "two"
    two.remove()
    dead = left_by_a_killed_stack("dead")
    assert list(running_stacks()) == []
    assert not dead.exists(), "what a killed stack left is removed"


def test_of_many_who_start_at_once_one_has_the_directory(state: Path) -> None:
    """Processes of their own, for a lock belongs to a process; a killed stack's directory lies in the way."""
    code = (
        "import sys; from gateway.stack.statedir import stack_directory, running_stacks\n"
        "from gateway.errors import UsageError\n"
        "sys.stdin.readline(); d = stack_directory('same')\n"
        "try: d.hold()\n"
        "except UsageError: print('refused', flush=True)\n"
        "else: print('held', [s.name for s in running_stacks()], flush=True)\n"
        "sys.stdin.readline(); d.remove() if d._lock else None"
    )
    for _ in range(3):
        left_by_a_killed_stack("same")
        flags: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        racers = [subprocess.Popen([sys.executable, "-c", code], **flags) for _ in range(6)]
        for stage in range(2):
            for racer in racers:
                racer.stdin.write("go\n")
                racer.stdin.flush()
            if stage == 0:
                said = sorted(racer.stdout.readline().strip() for racer in racers)
        for racer in racers:
            racer.communicate(timeout=10)
            assert racer.returncode == 0
        assert said == ["held ['same']", *["refused"] * 5]
        assert list(state.iterdir()) == []


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a" * 41, "a/b"])
def test_names(state: Path, name: str) -> None:
    with pytest.raises(GatewayError, match="lower-case letters"):
        stack_directory(name)


def test_what_is_not_ours_is_never_removed(state: Path, tmp_path: Path) -> None:
    """A project folder of the stack's name, a copied mark, a moved directory, a link, an empty directory."""
    ours = left_by_a_killed_stack("one")
    shutil.copytree(ours, state / "copied")
    (state / "copied" / "work").write_text("mine")
    shutil.copytree(ours, tmp_path / "elsewhere")
    (state / "linked").symlink_to(tmp_path / "elsewhere")
    (state / "project" / ".git").mkdir(parents=True)
    (state / "project" / "lock").write_text("1")
    (state / "empty").mkdir()
    (state / "file").write_text("mine")
    ours.rename(state / "moved")
    before = sorted(state.rglob("*"))
    for name in ("copied", "linked", "project", "empty", "file", "moved"):
        directory = stack_directory(name)
        with pytest.raises(UsageError, match=f"{directory.path} .*was not made by simfleet"):
            directory.hold()
        directory.remove()
        directory.remove_left()
        with pytest.raises(UsageError, match="not made by simfleet"):
            owned.renew(directory.path)
    assert list(running_stacks()) == []
    assert sorted(state.rglob("*")) == before


def test_up_leaves_a_project_of_its_name_alone(tmp_path: Path) -> None:
    """SIMFLEET_STATE_DIR=. beside a folder called as the stack."""
    (tmp_path / "x" / ".git").mkdir(parents=True)
    (tmp_path / "x" / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    code = "import sys; from gateway.commands.parse import run; sys.exit(run('up', sys.argv[1:]))"
    env = {**os.environ, "SIMFLEET_STATE_DIR": "."}
    for more in ((), ("--detach",)):
        done = subprocess.run(
            [sys.executable, "-c", code, "--name", "x", *more],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "simfleet up: x stands in the way" in done.stderr
    assert (tmp_path / "x" / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x"]


def test_what_took_the_place_of_a_lost_directory_stays(state: Path) -> None:
    """Somebody deletes a running stack's directory and makes one of his own there."""
    directory = stack_directory("one")
    directory.hold()
    shutil.rmtree(directory.path)
    directory.path.mkdir()
    (directory.path / "lock").write_text("mine")
    directory.remove()
    assert (state / "one" / "lock").read_text() == "mine"


def test_a_stack_without_its_directory_still_has_its_name(state: Path) -> None:
    directory = stack_directory("one")
    directory.hold()
    shutil.rmtree(state)
    lost = rf"'one' is running \(pid {os.getpid()}\), but its directory .* is gone .* `kill {os.getpid()}`"
    if sys.platform == "linux":
        with pytest.raises(UsageError, match=lost):
            stack_directory("one").hold()
        with pytest.raises(ControlError, match=lost):
            find_stack("one")
    with pytest.raises(ControlError, match="no stack is running"):
        find_stack(None)
    directory.remove()
    again = stack_directory("one")
    again.hold()
    again.remove()


def test_places_where_no_directory_can_be_made(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (state / "file").write_text("")
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(state / "file"))
    assert list(running_stacks()) == []
    with pytest.raises(UsageError, match=r"no directory for the stack: .*file"):
        stack_directory("one").hold()
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(state / ("x" * 100)))
    with pytest.raises(UsageError, match="too long a path for a socket"):
        stack_directory("one").hold()


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ('{"do": "scale", "target": "p", "replicas": "5"}', "replicas is .5.: Expected `int`"),
        ('{"do": "scale", "target": "p", "replicas": true}', "replicas is True: Expected `int`"),
        ('{"do": "scale", "target": "p", "replicas": 1.5}', "replicas is 1.5: Expected `int`"),
        ('{"do": "scale", "target": ["p"], "replicas": 1}', "target is \\['p'\\]: Expected `str`"),
        ('{"do": "scale", "target": "p"}', "scale: wrong arguments: missing a required argument: 'replicas'"),
        ('{"do": "scale", "target": "p", "replicas": 1, "x": 2}', "unexpected keyword argument 'x'"),
        ('{"do": "scale", "target": "full", "replicas": 1}', "not carried through: /x: No space left"),
        ('{"do": "scale", "target": "bug", "replicas": 1}', "scale failed: ZeroDivisionError: "),
        ('{"do": ["scale"]}', "not a request: .* one of scale"),
        ("[" * 100_000, "not a request"),
        ("{}", "not a request"),
    ],
)  # fmt: skip
def test_every_request_has_an_answer(state: Path, request_: str, answer: str) -> None:
    async def scale(target: str, replicas: int) -> str:
        if target == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")
        return str(replicas // (target != "bug"))

    async def talk() -> tuple[str, str]:
        server = ControlServer(state / "s", {"scale": scale})
        await server.start()
        reader, writer = await asyncio.open_unix_connection(state / "s")
        said = []
        for line in (request_, '{"do": "scale", "target": "p", "replicas": 3}'):
            writer.write(line.encode() + b"\n")
            said.append((await reader.readline()).decode())
        writer.close()
        await server.close()
        return said[0], said[1]

    first, second = asyncio.run(talk())
    assert re.search(answer, json.loads(first)["error"])
    assert json.loads(second) == {"ok": "3"}, "the connection goes on"


def test_a_connection_that_says_nothing_is_closed(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stack.socket.IDLE_S", 0.01)

    async def scenario() -> bytes:
        server = ControlServer(state / "s", {})
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(state / "s"))
        writer.write(b'{"do": ')  # half a request
        left = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await server.close()
        return left

    assert asyncio.run(scenario()) == b""


def test_a_request_without_end_is_not_kept(state: Path) -> None:
    async def scenario() -> bytes:
        server = ControlServer(state / "s", {})
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(state / "s"))
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"x" * 10_000)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await server.close()
        return b""

    assert asyncio.run(scenario()) == b""


def test_a_socket_of_another_stack_stays(state: Path) -> None:
    """Its directory was lost, and another stack has made one of that name since."""

    async def scenario() -> None:
        path = state / "s"
        first, second = ControlServer(path, {}), ControlServer(path, {})
        await first.start()
        path.unlink()
        await second.start()
        await first.close()
        assert path.is_socket()
        await second.close()
        assert not path.exists()

    asyncio.run(scenario())


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n", b"[1]\n", b'{"error": 3}\n', b"\xff\n"])
def test_what_is_no_stack_is_told(state: Path, said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_unix_server(answer, str(state / "s"))
        with pytest.raises(ControlError, match="what answers there is no stack"):
            await asyncio.to_thread(ask, state / "s", "status", timeout_s=10)
        server.close()

    asyncio.run(scenario())
