"""The report of hand-made records, and report.json read back into its type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import RecordError
from loadgen.judge.report import Report, SessionOutcomes, read_report
from loadgen.numbers.figure import as_json
from loadgen.records.rundir import EventLine
from tests.loadgen.judge.reports import answered, mixed, report_of
from tests.loadgen.report.golden_runs import REAL, unpacked


def test_what_it_says_of_the_run() -> None:
    run = report_of(mixed()).run
    assert (run.name, run.status, run.requests, run.warmup_requests) == ("by hand", "finished", 10, 0)
    assert (run.dir, run.t0, run.ceiling, run.arm) == ("by-hand", 1e9, None, None)


def test_lengths_are_of_ok_answers_bytes_of_all_that_was_sent() -> None:
    lengths = report_of(mixed()).lengths
    assert lengths.prompt_tokens is not None
    assert lengths.output_tokens is not None
    assert lengths.bytes_out is not None
    assert (lengths.prompt_tokens.count, lengths.output_tokens.mean, lengths.bytes_out.count) == (6, 5.0, 9)


def test_causes_are_told_with_the_most_frequent_first() -> None:
    causes = report_of(mixed()).outcomes.causes
    assert [(c.outcome, c.status, c.text, c.count) for c in causes] == [
        ("shed_429", 429, "full", 2),
        ("reset", None, "gone <away>", 1),
    ]


def test_sessions_succeed_whole() -> None:
    records = [
        answered("a0", 0.0, session="a", turn=0),
        answered("a1", 1.0, session="a", turn=1),
        answered("b0", 2.0, session="b", turn=0, outcome="timeout"),
        answered("c0", 3.0, session="c", turn=0, outcome="missed"),
    ]
    found = report_of(records).session_outcomes
    assert found == SessionOutcomes(total=2, succeeded=1, failed=1, turns=3, turns_ok=2)
    assert report_of(mixed()).session_outcomes is None


def test_events_stand_in_their_order() -> None:
    lines = (EventLine(t=1.0, name="x", exit=3), EventLine(t=2.0, name="y", source="mark"))
    found = report_of(mixed(), lines).events
    assert [(e.at, e.name, e.source, e.exit) for e in found] == [
        (1.0, "x", "timeline", 3),
        (2.0, "y", "mark", None),
    ]


def test_nothing_makes_a_report() -> None:
    found = report_of([])
    assert (found.run.requests, found.timeline, found.latency.given(), found.curves) == (0, None, {}, {})
    assert found.outcomes.due == 0
    assert not found.trusted


# --- read back -----------------------------------------------------------------------------------


def saved(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("records", [mixed(), [], [answered("a", 0.0)]])
def test_what_is_written_is_read_back(tmp_path: Path, records: list[Any]) -> None:
    report = report_of(records)
    assert read_report(saved(tmp_path / "report.json", as_json(report))) == report


@pytest.mark.parametrize("name", REAL)
def test_reports_of_real_runs_are_read(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path) / "expected" / "report.json"
    report = read_report(path)
    assert json.loads(as_json(report)) == json.loads(path.read_text())


def test_cards_that_are_missing_are_null_and_fields_of_them_are_needed(tmp_path: Path) -> None:
    whole = json.loads(as_json(report_of(mixed())))
    assert whole["lora"] is None
    for change, words in (
        ({"spread": {}}, "missing required field `pods` - at `$.spread`"),
        ({"spread": {**whole["spread"], "evenness": 1}}, "unknown field `evenness` - at `$.spread`"),
        ({"novelty": 1}, "unknown field `novelty`"),
        ({"outcomes": None}, "Expected `object`, got `null` - at `$.outcomes`"),
    ):
        path = saved(tmp_path / "report.json", {**whole, **change})
        with pytest.raises(RecordError) as caught:
            read_report(path)
        assert words in str(caught.value)
        assert f"`loadgen report {tmp_path}` makes it anew" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_what_is_no_report_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecordError, match=r"report\.json: not a report of form 1"):
        read_report(saved(tmp_path / "report.json", text))


def test_another_form_and_a_missing_file(tmp_path: Path) -> None:
    content = json.loads(as_json(report_of([]))) | {"report": 2}
    with pytest.raises(RecordError, match="a report of form 2; this loadgen reads 1"):
        read_report(saved(tmp_path / "report.json", content))
    with pytest.raises(RecordError, match="No such file"):
        read_report(tmp_path / "nothing.json")


def test_what_a_report_leaves_out_defaults(tmp_path: Path) -> None:
    content = json.loads(as_json(report_of(mixed())))
    del content["expectations"], content["exit_code"]
    found: Report = read_report(saved(tmp_path / "report.json", content))
    assert (found.expectations, found.exit_code) == ([], 0)


def test_a_report_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b'{"\xff":1}')
    with pytest.raises(RecordError, match=r"report\.json: not a report of form \d+: 'utf-8' codec"):
        read_report(path)
