"""Commands: exit codes, messages, help, the fleet's addresses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulator.cli import main
from simulator.config.resolve import parse_args
from simulator.errors import ConfigError
from simulator.fleet.arguments import split
from simulator.fleet.fleet_command import specs_of, table
from simulator.fleet.processes import command_of, shares
from tests.ports import free_port
from tests.simulator.server.serving import ROOT, serving
from tests.simulator.steps import flat_flag


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["serve", "--prot", "1"], 2, "simfleet serve: unknown flag --prot; did you mean --port?"),
        (["serve", "--port", "http"], 2, "simfleet serve: --port: 'http' is not an integer"),
        (
            ["fleet", "--replicas", "none"],
            2,
            "simfleet fleet: --replicas: 'none' is not an integer of 1 or more",
        ),
        (["fleet", "--replicas"], 2, "simfleet fleet: --replicas needs a value"),
        (["serf"], 2, "unknown command 'serf'; there are serve, fleet, replay, calibrate and profiles"),
        (["--port", "x"], 2, "simfleet serve: --port: 'x' is not an integer"),
    ],
)
def test_mistakes(argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == code
    assert words in capsys.readouterr().err


def test_an_address_in_use_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        command = [sys.executable, "-m", "simulator", "serve", "--host", "127.0.0.1", "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"simfleet serve: cannot listen on 127.0.0.1:{port}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["serve", "fleet", "replay", "profiles"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main([command, "--help"])
    except SystemExit as ended:  # argparse's way
        code = ended.code
    assert code == 0
    out = capsys.readouterr().out
    assert "usage" in out
    assert len(out.splitlines()) > 3


def test_help_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    from simulator.config.flags.table import FLAGS

    main(["serve", "--help"])
    out = capsys.readouterr().out
    assert all(f"--{name}" in out for name in FLAGS)


def test_usage_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "serve" in capsys.readouterr().out


def specs(*argv: str) -> list[tuple[str, str, tuple[int, ...]]]:
    own = split(argv)
    base = parse_args(own.serve, {})
    return [(spec.name, spec.host, spec.ports) for spec in specs_of(own, base, {})]


def test_consecutive_addresses() -> None:
    assert specs("--replicas", "3", "--address", "127.0.0.254", "--port", "9000") == [
        ("simfleet-0", "127.0.0.254", (9000,)),
        ("simfleet-1", "127.0.0.255", (9000,)),
        ("simfleet-2", "127.0.1.0", (9000,)),
    ]


def test_consecutive_ports_and_ranks() -> None:
    argv = (
        "--replicas=2 --address localhost --consecutive-ports --port 9000 -dp 2 --name-prefix vllm --first 3"
    )
    found = specs(*argv.split())
    assert found == [("vllm-3", "localhost", (9003,)), ("vllm-4", "localhost", (9004,))]


def test_names_are_pods() -> None:
    own = split(["--replicas", "2", "--model", "m", "--served-model-name", "a", "b"])
    made = specs_of(own, parse_args(own.serve, {}), {})
    assert [spec.config.pod_name for spec in made] == ["simfleet-0", "simfleet-1"]
    assert made[1].config.served_model_names == ("a", "b")
    assert table(made).splitlines()[2] == "simfleet-1  127.0.0.3:8000  a"


def test_addresses_that_cannot_be_counted() -> None:
    with pytest.raises(ConfigError, match=r"consecutive addresses need a number such as 127\.0\.0\.2"):
        specs("--replicas", "2", "--address", "localhost")
    with pytest.raises(ConfigError, match="would need port 65536; lower --port"):
        specs("--replicas", "2", "--consecutive-ports", "--port", "65535")


def test_overrides(tmp_path: Path) -> None:
    file = tmp_path / "overrides.yaml"
    file.write_text(
        "1: {max-num-seqs: 2, enable-prefix-caching: false, inter-token-latency: 40ms}\n"
        "simfleet-2:\n  lora-modules: [{name: a}]\n"
        f"  step-model: {flat_flag(1)}\n"
    )
    own = split(["--replicas", "3", "--overrides", str(file), "--max-num-seqs", "9"])
    first, second, third = specs_of(own, parse_args(own.serve, {}), {})
    assert first.config.engine.max_num_seqs == 9
    assert second.config.engine.max_num_seqs == 2
    assert not second.config.engine.enable_prefix_caching
    assert second.config.latency.inter_token_latency == pytest.approx(0.04)
    assert [module.name for module in third.config.lora_modules] == ["a"]
    assert third.config.latency.kind == "step"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7: {port: 1}\n", "there is no replica '7'"),
        ("0: {prot: 1}\n", "replica 0: unknown flag --prot"),
        ("- 1\n", "expected replicas with flags"),
        ("0: [\n", "overrides.yaml:2: not YAML"),
        ("0: {port: 1, port: 2}\n", "overrides.yaml:1: 0.port: stands twice; keep one"),
        ("a: &a {b: *a}\n", "overrides.yaml:1: a.b: an alias stands for what it stands in"),
    ],
)
def test_overrides_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "overrides.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)):
        specs("--replicas", "1", "--overrides", str(file))


def test_shares_of_processes() -> None:
    assert shares(10, 3) == [(0, 4), (4, 3), (7, 3)]
    assert shares(2, 8) == [(0, 1), (1, 1)]
    own = split(["--replicas", "4", "--processes", "2", "--first", "1", "--port", "9"])
    line = command_of(own, 2, 2)
    assert line[line.index("--first") + 1] == "3"
    assert line[-2:] == ["--port", "9"]


def fleet_process(command: list[str]) -> subprocess.Popen[str]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=quiet, text=True)


def test_a_fleet_of_two_processes() -> None:
    """One table, every replica answers, and SIGTERM ends all of them with 0."""
    port = free_port()
    command = [sys.executable, "-m", "simulator", "fleet", "--replicas", "4", "--processes", "2"]
    command += ["--address", "127.0.0.40", "--port", str(port), "--model", "m"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        rows = [process.stdout.readline().split() for _ in range(5)]
        assert min(rows) == ["NAME", "ADDRESS", "MODEL"]
        addresses = {row[1] for row in rows} - {"ADDRESS"}
        assert addresses == {f"127.0.0.{40 + i}:{port}" for i in range(4)}
        for i in range(4):
            with socket.create_connection((f"127.0.0.{40 + i}", port), timeout=5):
                pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def test_files_with_the_names_of_modules_lie_in_the_folder(crowded: Path) -> None:
    """The processes of a fleet are children, and import what is installed."""
    command = [Path(sys.executable).parent / "simfleet", "fleet", "--replicas", "2", "--processes", "2"]
    command += ["--address", "127.0.0.62", "--port", str(free_port()), "--model", "m"]
    process = subprocess.Popen(
        command, cwd=crowded, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        rows = [process.stdout.readline().split() for _ in range(3)]
        assert sorted(row[0] for row in rows) == ["NAME", "simfleet-0", "simfleet-1"]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_children_end_with_their_parent() -> None:
    port = free_port()
    command = [sys.executable, "-m", "simulator", "fleet", "--replicas", "2", "--processes", "2"]
    command += ["--address", "127.0.0.60", "--port", str(port), "--model", "m"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
    finally:
        process.kill()
        process.communicate(timeout=10)
    deadline = time.monotonic() + 10
    for host in ("127.0.0.60", "127.0.0.61"):
        while True:
            with socket.socket() as sock:
                if sock.connect_ex((host, port)) != 0:
                    break
            assert time.monotonic() < deadline, "a child outlived its parent"
            time.sleep(0.02)  # between two looks


def test_log_lines_as_json() -> None:
    with serving("--log-format", "json", "--dtype", "auto", env={"VLLM_LOG_STATS_INTERVAL": "0.2"}) as server:
        server.request("POST", "/v1/completions", {"prompt": "hello", "max_tokens": 4})
        time.sleep(0.5)  # for the statistics line
        server.process.send_signal(signal.SIGTERM)
        out, _ = server.process.communicate(timeout=10)
    lines = [json.loads(line) for line in out.splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "flags without effect in a simulator"
    assert lines[0]["flags"] == "dtype"
    ready = next(line for line in lines if line["event"] == "ready")
    assert ready["address"] == f"http://127.0.0.1:{server.port}"
    assert ready["pid"] == server.process.pid
    statistics = [event for event in events if event.startswith("Engine 000: Avg prompt throughput: ")]
    rest = r"Avg generation throughput: [\d.]+ tokens/s, Running: 0 reqs, Waiting: 0 reqs, "
    assert re.search(rest + r"GPU KV cache usage: 0\.0%", statistics[0])
    assert events[-1] == "stopped"


@pytest.mark.parametrize("is_replaced", [False, True], ids=["own", "another's"])
def test_unix_socket(tmp_path: Path, is_replaced: bool) -> None:
    path = tmp_path / "s"
    command = [sys.executable, "-m", "simulator", "serve", "--uds", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while "ready" not in process.stderr.readline():
            assert process.poll() is None
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
        if is_replaced:
            path.rename(tmp_path / "old")
            path.touch()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert path.exists() is is_replaced
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)
        assert os.getpid() != process.pid
