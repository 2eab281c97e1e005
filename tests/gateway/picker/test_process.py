"""The picker as its own process: `python -m gateway.picker`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.children import python
from tests.gateway.picker.factories import config
from tests.gateway.picker.running import body, data_plane, endpoints_text, headers, set_headers
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "my_scorer.py"


async def start(*flags: str, stderr: int | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.picker",
        *flags,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )


def terminate(process: asyncio.subprocess.Process) -> None:
    """SIGTERM without a look at the process first: Popen's own would take its exit code from asyncio."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)


@contextlib.asynccontextmanager
async def running(
    directory: Path, *flags: str, text: str | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, int]]:
    """(process, its ready line, its ext_proc port); it must end with code 0 on SIGTERM."""
    (directory / "endpoints.json").write_text(endpoints_text(("a", "127.0.0.2", 9)))
    (directory / "config.yaml").write_text(text or config("{type: queue-scorer}"))
    port = free_port()
    process = await start(
        *("--pool-name", "pool", "--pool-namespace", "ns", "--secure-serving=false", "--v", "4"),
        *("--endpoints-file", str(directory / "endpoints.json")),
        *("--config-file", str(directory / "config.yaml")),
        *(
            "--grpc-port",
            str(port),
            "--grpc-health-port",
            str(free_port()),
            "--metrics-port",
            str(free_port()),
        ),
        *flags,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        yield process, line, port
        terminate(process)  # a test may have ended it
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        # asyncio leaves the pipe's transport to the garbage collector otherwise.
        process._transport.close()  # type: ignore[attr-defined]


async def pick(port: int, payload: bytes = b'{"model":"m","prompt":"x"}') -> str:
    async with data_plane(port) as connect:
        stream = connect()
        await stream.send(
            headers("request_headers", {":method": "POST", "x-request-id": "r-9"}),
            body("request_body", payload, True),
        )
        reply = await stream.next()
        sent = set_headers(reply.request_headers.response.header_mutation)
        await stream.body("request_body")
        await stream.close()
        return sent["x-gateway-destination-endpoint"]


def test_ready_line_picks_and_end(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"

    async def scenario() -> None:
        async with running(tmp_path, "--decision-log", str(log)) as (_, line, port):
            assert line.startswith(f"ready ext_proc=127.0.0.1:{port} tls=off ")
            assert line.rstrip().endswith("compat=gie-v1.2 endpoints=1")
            assert await pick(port) == "127.0.0.2:9"

    asyncio.run(scenario())
    decision = json.loads(log.read_text())
    assert (decision["request_id"], decision["pick"]) == ("r-9", ["127.0.0.2:9"])


def test_endpoint_changes_are_followed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (_, _, port):
            other = tmp_path / "new.json"
            other.write_text(endpoints_text(("b", "127.0.0.3", 9)))
            os.replace(other, tmp_path / "endpoints.json")
            async with asyncio.timeout(10):
                while await pick(port) != "127.0.0.3:9":
                    pass

    asyncio.run(scenario())


def test_a_plugin_imports_files_beside_it_and_modules_before_them(crowded: Path) -> None:
    plugin = crowded / "mine.py"
    (crowded / "beside.py").write_text("WEIGHT = 0.5\n")
    plugin.write_text(
        "import json, gateway, logging\nfrom beside import WEIGHT\n"
        "from gateway.picker.plugins.base import scorer\n"
        "PLUGINS = {'mine': scorer(lambda request, endpoint: WEIGHT)}\n"
    )
    code = f"from gateway.picker.plugins.base import load_plugin_file as load; print(*load({str(plugin)!r}))"
    done = subprocess.run(
        python("-c", code), cwd=crowded, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("mine\n", "")


def test_the_example_plugin(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    text = config("{type: headroom-scorer, parameters: {kvWeight: 0.25}}")

    async def scenario() -> None:
        flags = ("--plugin", str(EXAMPLE), "--decision-log", str(log))
        async with running(tmp_path, *flags, text=text) as (_, _, port):
            await pick(port)

    asyncio.run(scenario())
    (seen,) = json.loads(log.read_text())["candidates"]
    assert seen["scores"] == {"headroom-scorer": 0.25 * 1.0 + 0.75 * 1.0}


def test_a_signal_sent_again_and_again_does_not_spoil_a_clean_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (process, _, _port):
            async with asyncio.timeout(10):
                while process.returncode is None:
                    terminate(process)
                    await asyncio.sleep(0)
            assert process.returncode == 0

    asyncio.run(scenario())


def test_open_streams_end_before_the_process_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            running(tmp_path, "--drain-timeout", "5s") as (process, _, port),
            data_plane(port) as connect,
        ):
            stream = connect()
            await stream.send(headers("request_headers", {":method": "POST"}))
            await stream.send(body("request_body", b'{"model":"m","prompt":"x"}', True))
            await stream.next()
            await stream.body("request_body")
            terminate(process)
            await stream.send(headers("response_headers", {":status": "200"}))
            assert (await stream.next()).WhichOneof("response") == "response_headers"
            await stream.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "either --pool-name or --endpoint-selector must be set"),
        (("--pool-name", "p"), "gie"),
        (("--pool-name", "p", "--config-file", "/nowhere.yaml"), "/nowhere.yaml"),
        (("--pool-name", "p", "--compat", "llm-d-v0.10"), "--endpoints-file is missing"),
        (("--pool-name", "p", "--compat", "llm-d-v0.10", "--endpoints-file", "/nowhere"), "No such file"),
        (("--pool-name", "p", "--plugin", "/nowhere.py", "--endpoints-file", "/x"), "no such file"),
    ],
)
def test_what_cannot_be_used_ends_with_code_2_and_a_reason(flags: tuple[str, ...], words: str) -> None:
    async def scenario() -> tuple[int | None, str]:
        if flags[-1:] == ("p",):
            process = await start(*flags, "--compat", "gie-v1.2", stderr=asyncio.subprocess.PIPE)
        else:
            process = await start(*flags, stderr=asyncio.subprocess.PIPE)
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
        return process.returncode, errors.decode()

    code, errors = asyncio.run(scenario())
    assert code == 2, errors
    assert words in errors
    assert "Traceback" not in errors


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (_, _, port):
            process = await start(
                *(
                    "--pool-name",
                    "p",
                    "--endpoints-file",
                    str(tmp_path / "endpoints.json"),
                    "--secure-serving=false",
                ),
                *("--config-file", str(tmp_path / "config.yaml"), "--grpc-port", str(port)),
                *("--grpc-health-port", str(free_port()), "--metrics-port", str(free_port())),
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(20):
                _, errors = await process.communicate()
            assert process.returncode == 2
            assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in errors.decode()

    asyncio.run(scenario())


def test_help_is_quick_and_complete() -> None:
    async def scenario() -> str:
        process = await start("--help")
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    text = asyncio.run(scenario())
    for flag in (
        "--pool-name",
        "--endpoints-file",
        "--objectives-file",
        "--decision-log",
        "--plugin",
        "--compat",
    ):
        assert flag in text
