"""Every form of a report when parts of it are missing: no pod names, no scrapes, no cached tokens ..."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from loadgen.judge.figures import Latencies
from loadgen.judge.named_figures import of_report
from loadgen.judge.report import Report
from loadgen.report import benchmark_report, pictures, sentences, tables
from loadgen.report.files import FORMS, write_all
from loadgen.report.html import html
from loadgen.report.junit import junit
from loadgen.report.markdown import markdown
from loadgen.report.terminal import print_report
from loadgen.report.verdict import judged_report
from tests.loadgen.synthetic import Fleet, write_run

DRAWN = ("spread", "prefix", "lora", "timeline", "goodput", "pod_gauges", "recovery")
"""Cards that pictures or several tables read: all combinations."""
ALONE = (
    "herding", "sessions", "picks", "queue", "running", "kv", "staleness", "scraping", "session_outcomes",
)  # fmt: skip
"""Cards with a line of their own: each missing beside each combination of two others."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    fleet = Fleet(requests=60, pods=3, rate=30.0, adapters=("a", "b"), classes=("x", "y"), kill=(1, 1.2))
    return judged_report(write_run(tmp_path_factory.mktemp("runs") / "full", fleet))


def without(report: Report, missing: tuple[str, ...]) -> Report:
    empty: dict[str, Any] = {"pod_gauges": {}}
    left = replace(report, **{name: empty.get(name) for name in missing})
    if "spread" in missing:  # no answer names its pod
        left.by = {**left.by, "pod": {}}
        left.timeline = left.timeline and replace(left.timeline, pods={})
        if left.prefix:
            left.prefix = replace(left.prefix, pods={})
    return left


def subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for size in range(len(names) + 1):
        yield from itertools.combinations(names, size)


def test_the_full_report_has_every_card_that_is_taken_away(report: Report) -> None:
    assert [name for name in DRAWN if not getattr(report, name)] == []
    assert "could not be drawn" not in html(report)


def test_every_form_over_all_combinations_of_missing_cards(report: Report) -> None:
    screen = Console(file=open("/dev/null", "w"), width=160)  # noqa: SIM115
    for missing in subsets(DRAWN):
        left = without(report, missing)
        page = html(left)
        assert "could not be drawn" not in page, missing
        assert markdown(left)
        assert junit(left)
        assert benchmark_report.document(left)
        if len(missing) < 2:  # the same tables and sentences once more
            print_report(left, [], screen)
        of_report(left)
    screen.file.close()


@pytest.mark.parametrize("name", [*DRAWN, *ALONE])
def test_cards_with_a_line_of_their_own(report: Report, name: str) -> None:
    for others in itertools.combinations((*DRAWN, *ALONE), 2):
        left = without(report, (name, *others))
        assert sentences.verdict(left)
        said = {what for what, _ in sentences.scorecard(left)}
        assert not said & {name, *others}
        assert tables.all_tables(left)
        assert benchmark_report.document(left)


@pytest.mark.parametrize("latencies", [(), ("e2e",), ("e2e", "e2e_sent", "ntpot")])
def test_runs_with_few_latencies(report: Report, latencies: tuple[str, ...]) -> None:
    few = Latencies(**{key: value for key, value in report.latency.given().items() if key in latencies})
    curves = {key: value for key, value in report.curves.items() if key in latencies}
    left = replace(report, latency=few, curves=curves)
    assert "could not be drawn" not in html(left)
    assert markdown(left)
    assert benchmark_report.document(left)


def test_cached_tokens_of_nameless_pods_make_a_report(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", Fleet(requests=160))
    lines = (path / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines[1:]]
    for record in records:
        record.update(pod=None, port=None, namespace=None, headers={})
    (path / "records.jsonl").write_text("\n".join([lines[0], *map(json.dumps, records)]) + "\n")
    (path / "scrapes.jsonl").unlink()
    found = judged_report(path)
    assert found.spread is None
    assert found.prefix is not None
    assert [file.name for file in write_all(path, found, FORMS)] == [name for name, _ in FORMS]
    assert "could not be drawn" not in (path / "report.html").read_text()


def test_a_picture_that_fails_costs_itself(
    report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise KeyError("nothing <here>")

    monkeypatch.setattr(pictures.plots, "matrix", broken)
    monkeypatch.setattr(pictures, "_gauge", broken)
    page = html(report)
    assert page.count("could not be drawn: KeyError: &#x27;nothing &lt;here&gt;&#x27;") >= 2
    assert "Share of answers" in page
    assert page.endswith("</html>\n")


def test_a_form_that_fails_costs_itself(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> str:
        raise TypeError("no")

    (tmp_path / "report.html").write_text("an earlier one")
    forms = [(name, broken if name == "report.html" else make) for name, make in FORMS]
    written = write_all(tmp_path, report, forms)
    assert [path.name for path in written] == ["report.json", "report.md", "report.yaml", "junit.xml"]
    assert "loadgen: report.html could not be made: TypeError: no" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
