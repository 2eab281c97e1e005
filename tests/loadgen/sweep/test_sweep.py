"""A sweep on the wire: its forms in the default suite; in the slow one, servers of known capacity."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from loadgen.cli import main
from loadgen.judge.figures import figures
from loadgen.records.frame import Frame
from loadgen.records.records import Record
from loadgen.sweep.data import SweepReport, point_of
from tests.ports import free_port

STUB = Path(__file__).with_name("full_server.py")
SERVE = "import sys; from simulator.cli import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def running(command: Sequence[str], ready: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path.cwd()
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if ready in line:
                break
        else:
            pytest.fail(f"{command} ended before it was ready")
        yield
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def swept(out: Path, *arguments: str) -> tuple[int, SweepReport]:
    code = main(["sweep", "--model", "m", "--no-selftest", "--quiet", "-o", str(out), *arguments])
    return code, msgspec.json.decode((out / "sweep.json").read_bytes(), type=SweepReport)


def test_rates_that_were_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with running([sys.executable, "-P", str(STUB), str(port), "8", "0.01"], "ready"):
        code, report = swept(
            tmp_path / "s",
            *("--target", f"http://127.0.0.1:{port}", "--no-stream", "--duration", "1s"),
            *("--rates", "40,10", "--arrival", "constant", "--slo", "e2e=5s"),
        )
    assert code == 0
    assert [point.asked for point in report.points] == [10.0, 40.0]
    assert [point.good for point in report.points] == [1.0, 1.0]
    assert (report.aim, report.limit, report.sentence) == ("rates", None, "2 rates")
    page = (tmp_path / "s" / "sweep.html").read_text()
    assert page.count("<svg") >= 4
    assert "Within the limits" in page
    assert sorted(path.name for path in (tmp_path / "s").glob("rate-*")) == ["rate-01-10", "rate-02-40"]
    assert "asked /s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rates", "5,x"), "--rates takes requests per second such as 5,10,20, not 'x'"),
        (("--rates", "5", "--find", "saturation"), "leave one of them out"),
        (("--find", "goodput"), "needs the limits to keep: --slo"),
        (("--good", "0"), "--good takes a share such as 95%, not '0'"),
        (("--runs", "0"), "--runs must be at least 1"),
        (("--slice", "0/2"), "run by one machine"),
        (("--users", "3", "--requests", "9"), "class load is a closed loop"),
    ],
)
def test_what_cannot_be_swept(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "s"
    given = [] if "--users" in arguments else ["--duration", "1s"]
    code = main(
        ["sweep", "--model", "m", "--target", "http://127.0.0.1:9", "-o", str(out), *given, *arguments]
    )
    assert code == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def records(rate: float, service: float, seconds: float = 20.0) -> list[Record]:
    """A queue with one server: every `service` seconds one answer, arrivals evenly at `rate`."""
    free, found = 0.0, []
    for number in range(int(rate * seconds)):
        at = number / rate
        free = max(free, at) + service
        found.append(
            Record(
                id=f"r{number}", cls="c", intended=at, start=at, end=free, outcome="ok", model="m", worker=0
            )
        )
    return found


@pytest.mark.parametrize(
    ("rate", "keeps_up", "served"),
    [(8.0, True, 8.0), (9.9, True, 9.9), (10.0, True, 10.0), (10.6, False, 10.0), (40.0, False, 10.0)],
)
def test_a_point_of_a_queue(rate: float, keeps_up: bool, served: float) -> None:
    frame = Frame(records(rate, 0.1))
    latency = figures(frame, {})

    class Told:
        """The parts of a report that a point reads."""

        latency = None
        goodput = None
        trusted = True

    Told.latency = latency.latency  # type: ignore[assignment]
    point = point_of(Told, frame, rate, "x")  # type: ignore[arg-type]
    assert point.started == pytest.approx(rate, rel=0.02)
    assert point.served == pytest.approx(served, rel=0.02)
    assert point.keeps_up is keeps_up


SERVERS = {
    "four of 100 ms": ([sys.executable, "-P", str(STUB), "PORT", "4", "0.1"], "ready", 40.0),
    "one of 5 ms": ([sys.executable, "-P", str(STUB), "PORT", "1", "0.005"], "ready", 200.0),
    "eight sequences of 0.29 s": (
        [
            *(sys.executable, "-P", "-c", SERVE, "serve", "--model", "m", "--port", "PORT"),
            *("--time-to-first-token", "100ms", "--inter-token-latency", "10ms", "--max-num-seqs", "8"),
        ],
        "INFO ready",
        8 / 0.29,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_the_saturation_point_of_servers_of_known_capacity(name: str, tmp_path: Path) -> None:
    command, ready, capacity = SERVERS[name]
    port = free_port()
    with running([str(port) if word == "PORT" else word for word in command], ready):
        code, report = swept(
            tmp_path / "s",
            *("--target", f"http://127.0.0.1:{port}", "--no-stream", "--duration", "12s", "--rate", "10"),
            *("--output-tokens", "20", "--ignore-eos", "--input-tokens", "16"),
        )
    assert code == 0, report.sentence
    assert report.limit == pytest.approx(capacity, rel=0.05)


@pytest.mark.slow
def test_the_highest_goodput_of_a_queue(tmp_path: Path) -> None:
    """Evenly spaced requests meet no queue up to the capacity, so that is where the limit breaks too."""
    port = free_port()
    with running([sys.executable, "-P", str(STUB), str(port), "4", "0.1"], "ready"):
        code, report = swept(
            tmp_path / "s",
            *("--target", f"http://127.0.0.1:{port}", "--no-stream", "--duration", "10s", "--rate", "10"),
            *("--arrival", "constant", "--slo", "e2e=400ms", "--good", "95%"),
        )
    assert code == 0, report.sentence
    assert report.aim == "goodput"
    assert report.limit == pytest.approx(40.0, rel=0.07)
