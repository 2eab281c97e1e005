"""--check-invariants in serve, fleet and replay: a broken engine ends the process and says what is broken."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.cli import main
from simulator.engine.kv.block_pool import BlockPool
from tests.ports import free_port
from tests.simulator.server.serving import ROOT
from tests.simulator.steps import flat_flag

# The command, in a process whose block pools forget to take what they give.
_BROKEN = """
import sys
from simulator.engine.kv.block_pool import BlockPool
take = BlockPool.take
def forgetful(self, count):
    taken = take(self, count)
    self.num_free += 1
    return taken
BlockPool.take = forgetful
from simulator.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _ask(port: int) -> int:
    """The status of a completion; 0: the connection ended without one."""
    body = json.dumps({"model": "m", "prompt": "a b c", "max_tokens": 3})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        return connection.getresponse().status
    except (http.client.HTTPException, ConnectionError):
        return 0
    finally:
        connection.close()


def _serve(command: str, *flags: str) -> tuple[subprocess.Popen[str], int]:
    """A server process with broken pools, once it answers."""
    port = free_port()
    where = ("--address", "127.0.0.1") if command == "fleet" else ("--host", "127.0.0.1")
    process = subprocess.Popen(
        [sys.executable, "-c", _BROKEN, command, *where, "--port", str(port), "--model", "m", *flags],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "ready" not in (line := process.stdout.readline()):
        assert line, f"it ended with {process.wait()}"
    return process, port


@pytest.mark.parametrize("command", ["serve", "fleet"])
def test_a_server_ends_with_the_contradiction(command: str) -> None:
    process, port = _serve(command, "--check-invariants")
    try:
        _ask(port)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    last = said.splitlines()[-1]
    assert last.startswith(f"simfleet {command}: --check-invariants: after step ")
    assert "num_free" in last
    assert "bug of the simulator" in last


def test_without_the_flag_it_goes_on() -> None:
    process, port = _serve("serve")
    try:
        assert [_ask(port), _ask(port)] == [200, 200]
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize("checked", [True, False])
def test_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], checked: bool
) -> None:
    take = BlockPool.take

    def forgetful(pool: BlockPool, count: int) -> list[int]:
        taken = take(pool, count)
        pool.num_free += 1
        return taken

    monkeypatch.setattr(BlockPool, "take", forgetful)
    trace = tmp_path / "requests.jsonl"
    rows = [{"arrival_s": 0.1 * i, "prompt_token_ids": [i] * 40, "output_tokens": 3} for i in range(3)]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--step-model", flat_flag(1000), "--num-gpu-blocks", "100", "--quiet"]
    code = main(["replay", str(trace), *flags, *(["--check-invariants"] if checked else [])])
    assert code == (1 if checked else 0)
    err = capsys.readouterr().err
    assert err.startswith("simfleet replay: after step 0, at ") if checked else not err
