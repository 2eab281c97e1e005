"""`simfleet simulate` as a whole: its sources, its run directory, and what reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.simulate.command import run
from loadgen.judge.report import build
from loadgen.plan.plan import ClassPlan, PlanHeader, write_plan
from loadgen.records.rundata import load_run
from loadgen.report.sentences import verdict
from tests.gateway.simulate.world import PAGE, ROUND_ROBIN, manifests, request


def plan(folder: Path) -> Path:
    file = folder / "given.jsonl"
    write_plan(
        file,
        [
            PlanHeader(scenario="small", span=1.0, classes={"c": ClassPlan()}),
            *(request(i, i * 0.1) for i in range(10)),
        ],
    )
    return file


def test_a_run_directory_is_one_of_loadgen_and_says_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    flags = (
        "-f",
        str(manifests(tmp_path)),
        "--plan",
        str(plan(tmp_path)),
        "--out",
        str(out),
        "--gateway-delay",
        "2ms",
    )
    assert run(flags) == 0
    assert "10 requests over" in capsys.readouterr().out
    data = load_run(out)
    report = build(data)
    assert data.meta.simulated == {"clock": "virtual", "gateway_delay_s": "0.002", "seed": "0"}
    assert report.trusted
    assert verdict(report).startswith("Simulated: 100.0 % ok, TTFT p50 102 ms")
    assert report.spread is not None
    assert report.spread.pods == 2
    assert {check.name: check.status for check in report.selfchecks}["ids at the pods"] == "ok"
    decisions = [json.loads(line) for line in (out / "decisions.jsonl").read_text().splitlines()]
    assert len(decisions) == 10
    assert {row["client_id"] for row in decisions} == {f"simulated/r{i}" for i in range(10)}
    assert all(each["age_ms"] is not None for row in decisions for each in row["candidates"])


def test_two_runs_leave_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        flags = ("-f", str(manifests(tmp_path, config=PAGE)), "--plan", str(plan(tmp_path)), "--quiet")
        assert run([*flags, "--out", str(tmp_path / name)]) == 0
    for file in ("records.jsonl", "scrapes.jsonl", "decisions.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_arms_and_seeds_run_in_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.yaml").write_text(PAGE)
    (tmp_path / "turns.yaml").write_text(ROUND_ROBIN)
    arms = ("--epp-config", str(tmp_path / "page.yaml"), "--epp-config", str(tmp_path / "turns.yaml"))
    flags = ("-f", str(manifests(tmp_path)), "--plan", str(plan(tmp_path)), "--seeds", "2", *arms)
    assert run([*flags, "--json", str(tmp_path / "one.json")]) == 0
    assert run([*flags, "--json", str(tmp_path / "two.json"), "--jobs", "2"]) == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert [(row["arm"], row["seed"]) for row in one] == [
        ("page", 0),
        ("turns", 0),
        ("page", 1),
        ("turns", 1),
    ]
    assert [row["latency_s"] for row in one] == [row["latency_s"] for row in two]
    assert "TTFT mean" in capsys.readouterr().out


def test_a_trace_in_disorder_is_read_and_what_never_fits_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte order mark, unsorted rows, zones, a failed row, and a prompt beyond the model's context."""
    file = tmp_path / "trace.csv"
    file.write_text(
        "\ufeffTIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 19:00:02.0000000+01:00,100,3\n"
        "2023-11-16 18:00:01.5000000,100,3\n"
        "2023-11-16 18:00:03.0000000Z,90000,3\n"
        "2023-11-16 18:00:01.0000000,0,0\n",
        encoding="utf-8",
    )
    flags = ("-f", str(manifests(tmp_path)), "--trace", str(file), "--json", "-")
    assert run(flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcomes"] == {"ok": 2}
    assert found["virtual_s"] == pytest.approx(0.5 + 0.12 + 0.0012)
    (note,) = found["notes"]
    assert note.startswith(
        f"{file}: 1 request is over-long and left out: 2: 90003 tokens exceed max_model_len"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give one of --plan FILE, --scenario NAME and --trace FILE"),
        (("--plan", "a", "--trace", "b"), "give one of"),
        (("--plan", "/nowhere"), "cannot be read"),
        (("--scenario", "no-such-scenario"), "no-such-scenario"),
        (("--trace", "/nowhere"), "cannot be read"),
        (("--plan", "a", "--gateway-delay", "soon"), "is not a duration"),
        (("--plan", "a", "--seeds", "0"), "--seeds must be at least 1"),
    ],
)
def test_what_cannot_be_simulated(
    tmp_path: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-f", str(manifests(tmp_path)), *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_configuration_that_the_picker_refuses_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = PAGE.replace("queue-scorer", "no-such-scorer")
    assert run(["-f", str(manifests(tmp_path, config=config)), "--plan", str(plan(tmp_path))]) == 1
    assert "the picker would not start" in capsys.readouterr().err
