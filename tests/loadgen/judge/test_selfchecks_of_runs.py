"""Every self-check of a run that is sound, and of the same run with one thing wrong in its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen.judge.selfchecks import Check, dispersion, selfchecks, trusted, variation
from loadgen.records.rundata import load_run
from loadgen.records.rundir import EVENTS, META, SCRAPES
from tests.loadgen.synthetic import Fleet, write_run

Rows = list[dict[str, Any]]
FLEET = Fleet(requests=300, noise=0.0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run") / "sound", FLEET)


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be spoilt."""
    for file in sound.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def checks(run: Path) -> dict[str, Check]:
    return {check.name: check for check in selfchecks(load_run(run))}


def spoil(path: Path, change: Callable[[Rows], object], first: int = 0) -> None:
    """Rewrite the lines of a file from line `first` on."""
    lines = path.read_text().splitlines()
    rows = [json.loads(line) for line in lines[first:]]
    change(rows)
    path.write_text("\n".join([*lines[:first], *map(json.dumps, rows)]) + "\n")


def meta(run: Path, **fields: object) -> None:
    path = run / META
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def records(run: Path, change: Callable[[Rows], object]) -> None:
    spoil(run / "records.jsonl", change, 1)


def told(check: Check) -> tuple[str, float | None]:
    return check.status, check.value


def test_a_sound_run_is_trusted(run: Path) -> None:
    found = selfchecks(load_run(run))
    assert trusted(found)
    assert {check.name: check.status for check in found if check.status not in ("ok", "skip")} == {}
    assert [check.name for check in found][:6] == [
        "finished", "records", "client ceiling", "start lateness", "missed starts", "latency for all",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "running"}, "the run was broken off while running; figures cover what was recorded"),
        ({"status": "interrupted"}, "the run was interrupted; figures cover what was recorded"),
        ({"status": "failed", "error": "disk full"}, "the run failed: disk full; figures cover what"),
    ],
)
def test_a_run_that_did_not_come_to_its_end(run: Path, fields: dict[str, str], words: str) -> None:
    meta(run, **fields)
    check = checks(run)["finished"]
    assert check.status == "fail"
    assert check.words.startswith(words)


def test_a_record_twice_and_a_record_that_is_missing(run: Path) -> None:
    records(run, lambda rows: rows.pop())
    assert told(checks(run)["records"]) == ("fail", 1)
    records(run, lambda rows: rows.append({**rows[0]}))
    assert told(checks(run)["records"]) == ("fail", 1)
    assert "recorded more than once" in checks(run)["records"].words
    meta(run, planned=0)
    records(run, lambda rows: rows.pop())
    assert checks(run)["records"].status == "skip"


@pytest.mark.parametrize(
    ("share", "status"),
    [(0.1, "ok"), (0.7, "ok"), (0.71, "warn"), (1.0, "warn"), (1.01, "fail"), (None, "skip")],
)
def test_the_ceiling_of_the_client(run: Path, share: float | None, status: str) -> None:
    meta(run, ceiling={"rate": 100.0, "cpu": 0.01, "total": 200.0, "share": share})
    check = checks(run)["client ceiling"]
    assert told(check) == (status, share)
    if share == 0.7:
        assert check.words == "asked for 70.0 % of the 200 requests/s this client can send"


def test_starts_that_were_missed(run: Path) -> None:
    def miss(count: int) -> Callable[[Rows], object]:
        return lambda rows: [row.update(outcome="missed", start=None) for row in rows[:count]]

    assert told(checks(run)["missed starts"]) == ("ok", 0)
    records(run, miss(1))
    assert told(checks(run)["missed starts"]) == ("fail", 1)  # 1 of 300 is more than a thousandth
    assert checks(run)["missed starts"].words == "1 of 300 requests could not be sent"
    assert told(checks(run)["latency for all"]) == ("warn", 1)
    records(run, miss(300))
    assert checks(run)["start lateness"].words == "no request was started"


def test_pods_that_are_not_named(run: Path) -> None:
    records(run, lambda rows: rows[0].update(pod=None))
    assert told(checks(run)["pods add up to ok"]) == ("fail", 299)
    records(run, lambda rows: [row.update(pod=None) for row in rows])
    assert checks(run)["pods add up to ok"].status == "skip"


def grow(run: Path, series: str, by: float) -> None:
    """Add to a counter of one pod in its last scrape."""

    def change(rows: Rows) -> None:
        last = max((r for r in rows if r["phase"] == "after"), key=lambda r: r["t"])
        name = next(name for name in last["samples"] if name.startswith(series))
        last["samples"][name] += by

    spoil(run / SCRAPES, change)


def test_a_pod_that_counted_fewer_requests_than_it_answered(run: Path) -> None:
    grow(run, "vllm:request_success_total", -2)
    check = checks(run)["ids at the pods"]
    assert told(check) == ("fail", 2)
    assert check.words.endswith("counted 2 fewer than it answered")
    (run / EVENTS).write_text('{"t":1.0,"name":"restart sim-0","did":"true","exit":0}\n')
    check = checks(run)["ids at the pods"]
    assert told(check) == ("warn", 2)
    assert check.words.endswith("but things were done to the fleet during the run")


def test_a_pod_that_counted_requests_of_others(run: Path) -> None:
    grow(run, "vllm:request_success_total", 3)
    check = checks(run)["ids at the pods"]
    assert (told(check), check.words) == (("warn", 3), "pods counted 3 requests that are not ours")


def test_answers_that_we_lost_may_be_finished_at_the_pods(run: Path) -> None:
    records(run, lambda rows: [row.update(outcome="timeout") for row in rows[:3]])
    assert told(checks(run)["ids at the pods"]) == ("ok", 0)
    grow(run, "vllm:request_success_total", 2)
    check = checks(run)["ids at the pods"]
    assert (told(check), check.words) == (("warn", 5), "pods counted 2 requests that are not ours")


def test_cached_tokens_on_both_sides(run: Path) -> None:
    before = checks(run)["cache hits at the pods"]
    assert told(before) == ("ok", 0)
    grow(run, "vllm:prefix_cache_hits_total", 1000)
    after = checks(run)["cache hits at the pods"]
    assert after.status == "warn"
    assert after.value is not None
    mine = int(before.words.split(" in the answers")[0].split()[-1])
    assert after.value == pytest.approx(1000 / (mine + 1000))
    assert after.words == f"{mine + 1000} tokens at the pods, {mine} in the answers"


@pytest.mark.parametrize("phase", ["before", "after"])
def test_counters_need_a_look_before_and_one_after(run: Path, phase: str) -> None:
    spoil(run / SCRAPES, lambda rows: [row.update(phase="during") for row in rows if row["phase"] == phase])
    found = checks(run)
    assert [found[name].status for name in ("ids at the pods", "cache hits at the pods")] == ["skip", "skip"]


def test_what_could_not_be_read_is_a_note_that_warns(run: Path) -> None:
    (run / SCRAPES).write_text("x\n{}\n")
    meta(run, warnings=["a warning of the run"])
    notes = [check for check in selfchecks(load_run(run)) if check.name == "notes"]
    assert [check.status for check in notes] == ["warn", "warn"]
    assert "scrapes.jsonl:1: not a ScrapeLine line" in notes[0].words
    assert notes[1].words == "a warning of the run"


def test_a_scenario_that_is_no_utf_8_is_a_note(run: Path) -> None:
    (run / "scenario.yaml").write_bytes(b"name: \xff\n")
    loaded = load_run(run)
    assert any("scenario.yaml: cannot be read: 'utf-8' codec" in note for note in loaded.notes)
    assert loaded.scenario is not None  # the plan carries it


def test_variation_and_dispersion_by_hand() -> None:
    assert variation(np.array([0.0, 1.0, 2.0, 3.0])) == 0
    assert variation(np.array([0.0, 1.0, 4.0])) == 0.5  # gaps 1 and 3: mean 2, deviation 1
    assert np.isnan(variation(np.array([1.0])))
    assert np.isnan(variation(np.array([1.0, 1.0])))
    steady = np.arange(0.0, 100.0)
    assert dispersion(steady, 10.0) == pytest.approx(0.0, abs=0.02)
    pairs = np.repeat(np.arange(0.0, 100.0, 2.0), 2)
    assert dispersion(pairs, 1.0) == pytest.approx(1.0, abs=0.05)  # counts 2 and 0: variance 1, mean 1
    assert np.isnan(dispersion(steady, 30.0))  # fewer than five windows
