"""Whole runs of the command line: files, exit codes, and what each kind of failure says."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.plan.plan import load_plan
from loadgen.records.rundir import read_events, read_meta
from loadgen.records.table import read_records
from tests.loadgen.fakes import FakeServer, Reply, Seen, plain
from tests.ports import free_port

pytestmark = pytest.mark.usefixtures("patient")

SIMPLE = ["--model", "null", "--input-tokens", "8", "-q", "--no-selftest"]


class NullServer:
    """The built-in null server as a process of its own."""

    def __init__(self, *flags: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loadgen.client.nullserver", "--port", str(self.port), *flags],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert "listening" in self.process.stdout.readline()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def null() -> Iterator[NullServer]:
    server = NullServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def loadgen(*arguments: str) -> int:
    return main(list(arguments))


def test_a_simple_run_leaves_everything_behind(null: NullServer, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert (
        loadgen("run", "--target", null.url, *SIMPLE, "--rate", "100", "--duration", "1s", "-o", str(out))
        == 0
    )
    meta, records, plan = read_meta(out), read_records(out), load_plan(out / "plan.jsonl")
    assert meta.status == "finished"
    assert meta.planned == len(records) == len(plan.requests)
    assert {record.outcome for record in records} == {"ok"}
    assert meta.totals.outcomes == {"ok": len(records)}
    assert meta.client.late_p99 is not None
    assert meta.models == ["null"]
    assert sorted(record.id for record in records) == sorted(request.id for request in plan.requests)


def test_a_target_without_a_scheme_is_taken_for_http_and_said_to_be(
    null: NullServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    bare = null.url.removeprefix("http://")
    load = ("--model", "null", "--users", "1", "--requests", "3", "--no-selftest", "-o", str(out))
    assert loadgen("run", "--target", bare, *load) == 0
    assert f"the target {bare} has no scheme: taken for http://{bare}" in capsys.readouterr().err
    assert f"taken for http://{bare}" in (out / "report.md").read_text()


def test_workers_share_a_run(null: NullServer, tmp_path: Path) -> None:
    out = tmp_path / "run"
    flags = ("--rate", "200", "--duration", "1s", "--processes", "2", "-o", str(out))
    assert loadgen("run", "--target", null.url, *SIMPLE, *flags) == 0
    records = read_records(out)
    assert {record.worker for record in records} == {0, 1}
    assert len({record.id for record in records}) == len(records) == read_meta(out).planned


def test_a_plan_is_replayed_to_the_byte(null: NullServer, tmp_path: Path) -> None:
    plan, out = tmp_path / "p.jsonl", tmp_path / "run"
    assert (
        loadgen("plan", *SIMPLE[:4], "--rate", "50", "--duration", "1s", "--seed", "9", "-o", str(plan)) == 0
    )
    flags = ("--plan", str(plan), "-q", "--no-selftest", "-o", str(out))
    assert loadgen("run", "--target", null.url, *flags) == 0
    assert (out / "plan.jsonl").read_bytes() == plan.read_bytes()
    assert read_meta(out).seed == 9
    again = tmp_path / "again"
    assert (
        loadgen("run", "--target", null.url, "--plan", str(plan), "-q", "--no-selftest", "-o", str(again))
        == 0
    )
    assert [r.id for r in read_records(out)] == [r.id for r in read_records(again)]


def run_with_timeline(null: NullServer, tmp_path: Path, duration: str, timeline: str) -> Path:
    """A scenario file of 50 requests a second with a timeline; its run directory."""
    path = tmp_path / "s.yaml"
    path.write_text(
        f"""
name: events
model: "null"
classes:
  a: {{arrival: {{process: constant, rate: 50, duration: {duration}}}, input_tokens: 8}}
expect: [outcomes.ok == 100%]
timeline:
{timeline}"""
    )
    out = tmp_path / "run"
    assert loadgen("run", str(path), "--target", null.url, "-q", "--no-selftest", "-o", str(out)) == 0
    return out


def test_a_scenario_file_with_timeline_and_expectations(null: NullServer, tmp_path: Path) -> None:
    timeline = f"""\
- {{at: 300ms, name: touched, run: "echo hello $LOADGEN_RUN_DIR"}}
- {{at: 500ms, name: called, url: "{null.url}/anything", body: "{{}}"}}
"""
    out = run_with_timeline(null, tmp_path, "2s", timeline)
    touched, called = read_events(out)
    assert 0.3 <= touched.t < 1.5
    assert touched.output == f"hello {out.resolve()}"
    assert (touched.exit, called.exit) == (0, 0)


def test_events_that_the_end_of_the_run_cuts_off_are_told(null: NullServer, tmp_path: Path) -> None:
    timeline = """\
- {at: 100ms, name: endless, run: "exec sleep 60"}
- {at: 50s, name: never, run: "echo never"}
"""
    out = run_with_timeline(null, tmp_path, "1s", timeline)
    (endless,) = read_events(out)
    assert (endless.name, endless.exit, endless.output) == ("endless", None, "cut off by the end of the run")
    assert 0 < (endless.took or 0) < 50
    cut, never = read_meta(out).warnings
    assert cut == "event 'endless' (line 8) failed: cut off by the end of the run"
    assert never == "event 'never' (line 9) was not done: the run ended before it"


def test_an_expectation_that_fails_is_exit_code_1(null: NullServer, tmp_path: Path) -> None:
    flags = ("--rate", "50", "--duration", "1s", "--expect", "ttft.p50 < 1us", "-o", str(tmp_path / "run"))
    assert loadgen("run", "--target", null.url, *SIMPLE, *flags) == 1


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a run that cannot be made says on its way to exit code 2."""
    assert loadgen(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("loadgen: error: ")
    assert "Traceback" not in error
    return error


def test_a_run_that_could_not_start_leaves_no_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = ("--target", f"http://127.0.0.1:{free_port()}", "--model", "m", "--ready-timeout", "100ms")
    assert loadgen("run", "-q", "--no-selftest", *target, "--rate", "5", "--duration", "1s") == 2
    assert "cannot be reached" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_run_says_why(
    null: NullServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        return refused(capsys, "run", "-q", "--no-selftest", "-o", str(tmp_path / "run"), *arguments)

    load = ("--rate", "5", "--duration", "1s")
    port = free_port()
    nobody = run("--target", f"http://127.0.0.1:{port}", "--model", "m", *load, "--ready-timeout", "200ms")
    assert f"cannot be reached, tried for 0.2 s: Connection refused at 127.0.0.1:{port}" in nobody
    wrong = run("--target", null.url, "--model", "other", *load)
    assert "does not serve other; it lists null" in wrong
    assert "TLS" in run("--target", null.url.replace("http:", "https:"), "--model", "null", *load)
    assert "must look like http" in run("--target", "ftp://x", "--model", "m", *load)
    assert "cannot resolve" in run("--target", "http://nowhere.invalid", "--model", "m", *load)
    assert "no target" in run("--model", "m", *load)
    assert "needs `model:`" in run("--target", null.url, *load)
    assert "--duration must look like" in run(
        "--target", null.url, "--model", "m", "--rate", "5", "--duration", "x"
    )
    assert "needs a scenario, or a load" in run("--target", null.url, "--model", "m")
    assert "holds no request" in run(
        "--target", null.url, "--model", "null", "--rate", "0.001", "--duration", "1ms"
    )
    assert "leave --users out" in run("steady.yaml", "--users", "5")
    bad = tmp_path / "bad.yaml"
    bad.write_text("model: m\nclasses:\n  a:\n    arrivel: {rate: 5}\n")
    assert "bad.yaml:4: classes.a.arrivel: unknown key; did you mean `arrival`?" in run(str(bad))
    assert "is not a plan" in run("--plan", str(bad), "--target", null.url)


def test_a_directory_with_a_run_is_not_overwritten(
    null: NullServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "run",
        "--target",
        null.url,
        *SIMPLE,
        "--rate",
        "20",
        "--duration",
        "500ms",
        "-o",
        str(tmp_path / "r"),
    )
    assert loadgen(*arguments) == 0
    capsys.readouterr()
    assert "holds a run already" in refused(capsys, *arguments)


def test_files_with_the_names_of_modules_lie_in_the_folder(null: NullServer, crowded: Path) -> None:
    """Workers and the self-test's null server are children, and import what is installed."""
    load = ("--model", "null", "--input-tokens", "8", "-q", "--rate", "50", "--duration", "200ms")
    done = subprocess.run(
        [Path(sys.executable).parent / "loadgen", "run", "--target", null.url, *load, "-o", "out"],
        cwd=crowded,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "taken for" not in done.stderr
    assert done.returncode in (0, 2), done.stdout + done.stderr  # 2: a busy machine was late
    assert {record.outcome for record in read_records(crowded / "out")} == {"ok"}
    assert read_meta(crowded / "out").ceiling is not None


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "loadgen.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def wait_for_records(out: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    path = out / "records.jsonl"
    while time.monotonic() < deadline:
        if path.is_file() and path.read_bytes().count(b"\n") > count:
            return
        time.sleep(0.05)
    raise AssertionError("no records were written")


def test_killed_in_mid_run_it_keeps_what_it_had(null: NullServer, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(
        "run", "--target", null.url, *SIMPLE, "--rate", "200", "--duration", "30s", "-o", str(out)
    )
    try:
        wait_for_records(out, 100)
    finally:
        process.kill()
        process.communicate()
    records = read_records(out)
    assert len(records) >= 100
    # The orphaned worker ends what it had in flight or due, and records it as that.
    told = {(record.outcome, record.error) for record in records}
    assert ("ok", None) in told
    assert told <= {("ok", None), ("client_cancel", "interrupted"), ("missed", "interrupted")}
    assert read_meta(out).status == "running"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        before = len(read_records(out))
        time.sleep(0.6)
        if len(read_records(out)) == before:
            break
    else:
        raise AssertionError("the worker went on after its parent was killed")
    assert loadgen("report", str(out)) == 2


def test_interrupted_it_ends_in_order(null: NullServer, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(
        "run", "--target", null.url, *SIMPLE, "--rate", "100", "--duration", "30s", "-o", str(out)
    )
    wait_for_records(out, 50)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 2
    meta = read_meta(out)
    assert meta.status == "interrupted"
    assert sum(meta.totals.outcomes.values()) == len(read_records(out))


def test_a_mark_by_hand_stands_in_the_record(null: NullServer, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start("run", "--target", null.url, *SIMPLE, "--rate", "50", "--duration", "3s", "-o", str(out))
    wait_for_records(out, 10)
    assert loadgen("mark", str(out), "policy changed") == 0
    process.communicate(timeout=30)
    assert process.returncode in (0, 2)  # 2: the machine made it late
    assert read_meta(out).status == "finished"
    (line,) = read_events(out)
    assert line.name == "policy changed"
    assert line.source == "mark"
    assert 0 < line.t < 30


def test_parts_on_several_machines_merge_exactly(null: NullServer, tmp_path: Path) -> None:
    common = ("run", "--target", null.url, *SIMPLE, "--rate", "100", "--duration", "1s", "--seed", "5")
    whole = tmp_path / "whole"
    assert loadgen(*common, "-o", str(whole)) == 0
    parts = [tmp_path / f"part{i}" for i in range(2)]
    for index, part in enumerate(parts):
        assert loadgen(*common, "--slice", f"{index}/2", "-o", str(part)) == 0
    merged = tmp_path / "merged"
    assert loadgen("merge", *map(str, parts), "-o", str(merged)) == 0
    assert {r.id for r in read_records(merged)} == {r.id for r in read_records(whole)}
    meta = read_meta(merged)
    assert meta.planned == read_meta(whole).planned == len(read_records(merged))
    assert meta.totals.late.count == len(read_records(merged))
    assert loadgen("merge", str(parts[0]), str(whole), "-o", str(tmp_path / "no")) == 2


def test_refusals_from_the_start_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(plain(404, {"error": {"message": "The model `m` does not exist."}}))

    ready, stop = threading.Event(), threading.Event()
    ports: list[int] = []

    async def serve() -> None:
        async with FakeServer(script) as server:
            ports.append(server.port)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        target = f"http://127.0.0.1:{ports[0]}"
        flags = ("--model", "m", "--rate", "100", "--duration", "20s", "-q", "--no-selftest")
        begin = time.monotonic()
        error = refused(capsys, "run", "--target", target, *flags, "-o", str(tmp_path / "r"))
        assert "The model `m` does not exist" in error
        assert time.monotonic() - begin < 15
    finally:
        stop.set()
        thread.join()


def test_the_ceiling_is_measured_and_remembered(null: NullServer, tmp_path: Path) -> None:
    flags = ("--model", "null", "--input-tokens", "8", "-q", "--rate", "20", "--duration", "500ms")
    for name, cached in (("a", False), ("b", True)):
        out = tmp_path / name
        assert loadgen("run", "--target", null.url, *flags, "-o", str(out)) == 0
        ceiling = read_meta(out).ceiling
        assert ceiling is not None
        assert ceiling.cached is cached
        assert ceiling.total > 1000
        assert ceiling.share is not None
        assert ceiling.share < 0.5


def test_help_is_quick() -> None:
    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(3):
        begin = cpu()
        subprocess.run([sys.executable, "-m", "loadgen.cli", "--help"], check=True, capture_output=True)
        times.append(cpu() - begin)
    assert min(times) < 0.4
    heavy = "('numpy', 'yaml', 'rich', 'msgspec', 'uvloop')"
    code = f"import sys, loadgen.cli as c; c.build_parser(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.replace("'", '"')) == []
