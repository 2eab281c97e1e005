"""A run in which nothing succeeded says so and ends with 1; what was not sent at all ends with 2."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadgen.records.records import RecordsHeader, write_records
from loadgen.records.table import read_records
from loadgen.report.verdict import finish
from tests.loadgen.synthetic import T0, Fleet, write_run

FAILURES: list[dict[str, Any]] = [
    {"outcome": "upstream_5xx", "status": 503, "error": "worn out"},
    {"outcome": "timeout", "status": None, "error": "after 60 s"},
    {"outcome": "connect_error", "status": None, "error": "refused"},
    {"outcome": "shed_429", "status": 429, "error": "rejected-saturated"},
    {"outcome": "rejected_4xx", "status": 400, "error": "no such model"},
]


def failed_run(path: Path, fleet: Fleet, *, spare: int = 0, **change: Any) -> Path:
    """A run whose requests all went wrong but the first `spare`."""
    write_run(path, fleet)
    (path / "scrapes.jsonl").unlink()
    gone = {
        "first_token": None,
        "last_token": None,
        "chunk_times": None,
        "output_tokens": None,
        "headers": {},
    }
    records = [
        record if i < spare else msgspec.structs.replace(record, **gone, **change)
        for i, record in enumerate(read_records(path))
    ]
    write_records(path / "records.jsonl", RecordsHeader(t0=T0), records)
    return path


@pytest.mark.parametrize("change", FAILURES, ids=lambda change: str(change["outcome"]))
def test_nothing_succeeded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    path = failed_run(tmp_path / "run", Fleet(requests=60), **change)
    assert finish(path) == 1
    said = " ".join(filter(None, (change["outcome"], str(change["status"] or ""), change["error"])))
    sentence = f"Nothing succeeded: none of 60 requests was ok; most often {said}"
    assert sentence in " ".join(capsys.readouterr().out.split())
    for name in ("report.md", "report.html", "report.json", "junit.xml"):
        assert sentence in (path / name).read_text(), name
    suites = ET.parse(path / "junit.xml").getroot()
    assert [case.get("name") for case in suites.iter("testcase") if case.find("failure") is not None] == [
        "a request succeeds"
    ]


def test_one_that_succeeded_is_enough(tmp_path: Path) -> None:
    path = failed_run(tmp_path / "run", Fleet(requests=60), spare=1, **FAILURES[0])
    assert finish(path) == 0
    assert json.loads((path / "report.json").read_text())["expectations"] == []


@pytest.mark.parametrize(
    ("expect", "code"),
    [
        ("outcomes.ok == 0%", 0),
        ("count.ok < 1", 0),
        ("outcomes.ok > 50%", 1),
        ("outcomes.upstream_5xx > 10%", 1),
    ],
)
def test_a_scenario_that_says_how_many_ought_to_be_ok(tmp_path: Path, expect: str, code: int) -> None:
    assert finish(failed_run(tmp_path / "run", Fleet(requests=60, expect=[expect]), **FAILURES[0])) == code


def test_all_cancelled_by_plan_is_no_failure(tmp_path: Path) -> None:
    assert finish(failed_run(tmp_path / "run", Fleet(requests=60), outcome="client_cancel")) == 0


def test_nothing_sent_is_no_run(tmp_path: Path) -> None:
    never = {"outcome": "missed", "start": None, "end": None, "first_byte": None, "pod": None}
    assert finish(failed_run(tmp_path / "run", Fleet(requests=60), **never)) == 2
