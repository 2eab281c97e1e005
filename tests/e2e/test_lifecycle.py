"""From `up` to nothing: what starts, what is shown, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.commands.up import preset
from tests.e2e.labkit import Lab, Labs, completion
from tests.ports import free_port
from tests.waiting import until


def simfleet(labs: Labs, *argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SIMFLEET_STATE_DIR": str(labs.state)}
    command = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())", *argv]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False, **more)


def descendants(pid: int) -> set[int]:
    """All processes below `pid`."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            child = int(path.parent.name)
            found |= {child} | descendants(child)
    return found


def ports_of(lab: Lab) -> list[tuple[str, int]]:
    report = lab.status
    places = [(pod["address"], port) for pod in report["pods"] for port in pod["ports"]]
    urls = [g["admin_url"] for g in report["gateways"]] + [g["url"] for g in report["gateways"]]
    urls += ["//" + p["grpc"] for p in report["pickers"]] + [p["metrics_url"] for p in report["pickers"]]
    return places + [(httpx.URL(url).host, httpx.URL(url).port or 0) for url in urls]


def listening(places: list[tuple[str, int]]) -> set[str]:
    """Inodes of the sockets that listen there: another process may take a port that was given back."""
    wanted = {f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}" for host, port in places}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and row[1] in wanted}


def assert_nothing_left(labs: Labs, name: str, pids: set[int], sockets: set[str]) -> None:
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 5.0, f"processes {pids}")
    still = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    assert not sockets & still
    assert not (labs.state / name).exists()


@pytest.mark.parametrize("how", ["down", "SIGINT", "SIGTERM", "SIGHUP"])
def test_nothing_is_left(labs: Labs, how: str) -> None:
    lab = labs.up(name=how.lower())
    pids, places = descendants(lab.process.pid), ports_of(lab)
    sockets = listening(places)
    assert len(pids) == 2, "Envoy and the picker"
    assert len(sockets) >= len(set(places))
    if how == "down":
        assert simfleet(labs, "down", "--name", lab.name).stdout == "down is down\n"
    else:
        lab.process.send_signal(getattr(signal, how))
    assert lab.process.wait(10) == 0, lab.text
    assert_nothing_left(labs, lab.name, pids, sockets)


def test_children_die_with_a_stack_that_is_killed(labs: Labs) -> None:
    lab = labs.up(name="murdered")
    pids, sockets = descendants(lab.process.pid), listening(ports_of(lab))
    lab.process.kill()
    lab.process.wait(5)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 5.0, "children")
    assert simfleet(labs, "ps").stdout.startswith("no stack is running")
    assert_nothing_left(labs, lab.name, pids, sockets)


def ready_in(text: str) -> float:
    """Seconds that a stack says it took."""
    (seconds,) = re.findall(r"^ready in ([0-9.]+) s$", text, re.MULTILINE)
    return float(seconds)


def test_interrupted_while_starting(labs: Labs) -> None:
    lab = labs.start(name="early")
    until(lambda: "pod " in lab.text, 20.0, "the first pod")
    pids = descendants(lab.process.pid)
    lab.process.send_signal(signal.SIGINT)
    assert lab.process.wait(10) == 0, lab.text
    assert_nothing_left(labs, lab.name, pids, set())


def test_files_with_the_names_of_modules_lie_in_the_folder(labs: Labs, crowded: Path) -> None:
    """The detached stack and its picker are children, and import what is installed."""
    command = Path(sys.executable).parent / "simfleet"
    env = {**os.environ, "SIMFLEET_STATE_DIR": str(labs.state)}
    for argv in (("up", "--detach", "--epp", "reference"), ("ps",), ("down",)):
        done = subprocess.run(
            [command, *argv, "--name", "crowded"],
            cwd=crowded,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "crowded" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_come_again_change_nothing(labs: Labs, number: signal.Signals) -> None:
    lab = labs.up(name=f"again-{number.name.lower()}")
    deadline = time.monotonic() + 30
    while lab.process.poll() is None:
        assert time.monotonic() < deadline, lab.text
        lab.process.send_signal(number)
        time.sleep(0.001)  # the pace of the signals
    assert lab.process.returncode == 0, lab.text
    assert "Traceback" not in lab.text
    assert "Exception ignored" not in lab.text


def test_detach_ps_logs_down(labs: Labs, http: httpx.Client) -> None:
    done = simfleet(labs, "up", "--detach", "--name", "bg", "--epp", "reference")
    assert done.returncode == 0, done.stderr
    assert ready_in(done.stdout) < 10.0, "for three replicas"
    stack = json.loads(simfleet(labs, "ps", "--format", "json").stdout)["stacks"][0]
    assert stack["name"] == "bg"
    assert http.post(stack["url"] + "/v1/completions", json=completion()).status_code == 200
    for pod in stack["pods"]:
        assert "vllm:num_requests_running" in http.get(pod["metrics_urls"][0]).text
    assert "inference_pool_ready_pods" in http.get(stack["pickers"][0]["metrics_url"]).text
    table = simfleet(labs, "ps", "--wide").stdout
    assert all(pod["name"] in table for pod in stack["pods"])
    access = until(lambda: simfleet(labs, "logs", "access", "--name", "bg").stdout, 5.0, "access log")
    assert '"status":200' in access
    assert "ready in" in simfleet(labs, "logs", "up").stdout
    pod = stack["pods"][0]["name"]
    set_ = simfleet(labs, "fault", pod, "truncate", "slow=3", "--name", "bg")
    assert set_.stdout == f"pod {pod}: latency_factor 3.0, truncate\n"
    assert len(simfleet(labs, "fault", "all", "off").stdout.splitlines()) == len(stack["pods"])
    bad = simfleet(labs, "fault", "all", "meteor")
    assert (bad.returncode, "there is no fault 'meteor'" in bad.stderr) == (2, True)
    again = simfleet(labs, "up", "--name", "bg")
    assert (again.returncode, "is running" in again.stderr) == (2, True)
    assert simfleet(labs, "down").returncode == 0
    assert not (labs.state / "bg").exists()


def test_two_stacks_at_once(labs: Labs, http: httpx.Client) -> None:
    one, two = labs.up(name="one"), labs.up(name="two")
    assert not {p["address"] for p in one.pods} & {p["address"] for p in two.pods}
    for lab in (one, two):
        served = http.post(lab.url + "/v1/completions", json=completion()).headers["x-inference-pod"]
        assert served in {p["name"] for p in lab.pods}
    refused = simfleet(labs, "kill", "x")
    assert (refused.returncode, "choose one with --name: one, two" in refused.stderr) == (1, True)
    one.down()
    assert http.post(two.url + "/v1/completions", json=completion()).status_code == 200
    two.down()


def test_a_hundred_replicas(labs: Labs, http: httpx.Client) -> None:
    lab = labs.up("--replicas", "100", name="hundred")
    assert ready_in(lab.text) < 20.0
    assert len(lab.pods) == 100
    answers = [http.post(lab.url + "/v1/completions", json=completion()) for _ in range(20)]
    assert {a.status_code for a in answers} == {200}
    assert len({a.headers["x-inference-pod"] for a in answers}) > 5
    assert lab.down() == 0


def test_manifests_from_standard_input_at_a_port_of_one_s_own(labs: Labs) -> None:
    text, port = Path(preset()[0]).read_text(), free_port()
    argv = ("up", "-f", "-", "--name", "piped", "-d", "--replicas", "1", "--port", f"80={port}")
    done = simfleet(labs, *argv, input=text)
    assert done.returncode == 0, done.stderr
    assert f"curl -s -i http://127.0.0.1:{port}/v1/completions" in done.stdout
    taken = simfleet(labs, "up", "--name", "second", "--port", str(port))
    assert (taken.returncode, f"--port {port}: taken" in taken.stderr) == (2, True)
    assert simfleet(labs, "down", "--name", "piped").returncode == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "bad.yaml:"),
        ("kind: Deployment", "apiVersion"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "nothing to run"),
    ],
)
def test_bad_manifests_say_where(labs: Labs, text: str, words: str) -> None:
    done = simfleet(labs, "up", "-f", labs.manifests(text, "bad.yaml"), "--name", "bad")
    assert done.returncode in {1, 2}
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (labs.state / "bad").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--replicas", "x"], "whole number"),
        (["--name", "No Good"], "lower-case"),
        (["-f", "/nowhere.yaml"], "no such file"),
        (["--epp", "/nowhere"], "not an executable file"),
        (["--epp-config", "/nowhere"], "no such file"),
        (["--envoy", "/nowhere"], "not an executable file"),
        (["--port", "http"], "LISTENER=PORT"),
    ],
)
def test_bad_arguments_exit_2(labs: Labs, argv: list[str], words: str) -> None:
    done = (
        simfleet(labs, "up", "--name", "bad", *argv) if "--name" not in argv else simfleet(labs, "up", *argv)
    )
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_server_flags_that_would_not_start_are_an_error_with_a_line(labs: Labs) -> None:
    text = Path(preset()[0]).read_text().replace("- --max-loras", "- --max-lorries")
    done = simfleet(labs, "up", "-f", labs.manifests(text, "flags.yaml"), "--name", "bad")
    assert done.returncode == 2
    assert re.search(r"flags\.yaml:\d+: .*max-lorries", done.stderr, re.DOTALL), done.stderr


def test_a_picker_config_that_is_wrong_ends_up_with_its_words(labs: Labs) -> None:
    text = Path(preset()[0]).read_text().replace("- type: queue-scorer", "- type: queue-scourer")
    done = simfleet(labs, "up", "-f", labs.manifests(text, "epp.yaml"), "--name", "bad", "--epp", "reference")
    assert done.returncode == 1
    assert "queue-scourer" in done.stderr
    assert not (labs.state / "bad").exists()


def test_the_live_table_on_a_terminal(labs: Labs, crowded: Path) -> None:
    """On a terminal the pods are drawn, by a child; Ctrl-C ends table and stack alike."""
    env = {
        **os.environ,
        "SIMFLEET_STATE_DIR": str(labs.state),
        "TERM": "xterm",
        "COLUMNS": "160",
        "LINES": "50",
    }
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(crowded)
        code = "import sys; from gateway.cli import main; sys.exit(main())"
        argv = ["-P", "-c", code, "up", "--name", "tty", "--epp", "reference"]
        os.execve(sys.executable, [sys.executable, *argv], env)
    shown = b""
    deadline = time.monotonic() + 20
    while b"picks/s" not in shown:
        assert time.monotonic() < deadline, shown.decode(errors="replace")
        shown += os.read(terminal, 65536)
    os.write(terminal, b"\x03")
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            break  # the other side is gone
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode(errors="replace")
    assert b"inference-model-server" in shown
    assert not (labs.state / "tty").exists()
