"""The forms of hand-made reports: exact cells and words, narrow terminals, names that want to be markup."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from msgspec import structs
from msgspec.structs import replace
from rich.console import Console

from loadgen.judge.report import Expected, Report
from loadgen.judge.selfchecks import Check
from loadgen.numbers.figure import named
from loadgen.records.rundir import EventLine
from loadgen.report import benchmark_report, tables
from loadgen.report.files import FORMS, write_all
from loadgen.report.html import html
from loadgen.report.junit import junit, suites
from loadgen.report.markdown import markdown, plain
from loadgen.report.sentences import SUCCEEDS, scorecard, verdict
from loadgen.report.terminal import print_report
from loadgen.report.verdict import exit_code, nothing_succeeded
from loadgen.score.recovery import Recovery
from loadgen.score.scorecard import Scorecard
from tests.loadgen.judge.reports import answered, mixed, report_of

NASTY = '<script>alert("x")</script> & |[bold]'


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(mixed())


def expected(
    status: str = "passed", text: str = "ttft.p50 < 1s", reason: str = "ttft.p50 = 0.1 s"
) -> Expected:
    return Expected(text=text, line=3, where="s.yaml", status=status, seen={}, reason=reason)  # type: ignore[arg-type]


# --- tables --------------------------------------------------------------------------------------


def test_outcomes_by_hand(report: Report) -> None:
    assert tables.outcomes(report).rows == (
        ("ok", "6", "60.0 %", "", "-", ""),
        ("shed_429", "2", "20.0 %", "shed", "149 ms", "429 full"),
        ("reset", "1", "10.0 %", "", "149 ms", "gone <away>"),
        ("missed", "1", "10.0 %", "", "-", ""),
    )


def test_pods_by_hand(report: Report) -> None:
    table = tables.pods(report)
    assert table is not None
    assert table.rows == tuple(
        (name, "3", "50.0 %", "100 ms", "100 ms", "-", "-", "-", "-") for name in ("p-0", "p-1")
    )


def test_latency_rows_keep_their_order(report: Report) -> None:
    table = tables.latency(report)
    assert table is not None
    names = ["TTFT", "E2E", "NTPOT", "TTFT, sent", "E2E, sent", "NTPOT, sent", "TPOT", "ITL", "lateness"]
    assert [row[0] for row in table.rows] == names
    assert table.rows[0][2] == "100 ms"
    assert "too short a run for an interval: TTFT, E2E" in table.note
    latency = structs.replace(
        report.latency, ttft=structs.replace(report.latency.ttft, ci={"p50": (0.09, 0.12)})
    )
    table = tables.latency(structs.replace(report, latency=latency))
    assert table is not None
    assert table.rows[0][2] == "100 ms [90, 120]"
    assert "an interval: E2E" in table.note


def test_of_a_large_fleet_the_busiest_and_the_idlest() -> None:
    records = [answered(f"r{n}", n / 10, pod=f"p-{n if n < 40 else 7}") for n in range(60)]
    table = tables.pods(report_of(records))
    assert table is not None
    assert len(table.rows) == 24
    assert table.rows[0][:2] == ("p-7", "21")
    assert table.note == "the 12 busiest and the 12 idlest of 40 pods"


def test_events_judged_and_not(report: Report) -> None:
    rows = [
        Recovery(event="a", at=1.0, judged=False, why="hardly any request after it"),
        Recovery(event="b", at=2.0, judged=True, p90_before=0.1, ok_before=1.0, p90_worst=None, ok_worst=0.0),
        Recovery(
            event="c",
            at=3.0,
            judged=True,
            p90_before=0.1,
            ok_before=1.0,
            p90_worst=0.2,
            ok_worst=0.5,
            seconds=1.5,
        ),
    ]
    table = tables.recovery(replace(report, recovery=rows))
    assert table is not None
    assert table.rows == (
        ("a", "1.00 s", "-", "-", "hardly any request after it"),
        ("b", "2.00 s", "100 ms → -", "100.0 % → 0.0 %", "not in this run"),
        ("c", "3.00 s", "100 ms → 200 ms", "100.0 % → 50.0 %", "1.50 s"),
    )


def test_the_list_of_all_figures_has_each_that_has_a_value(report: Report) -> None:
    table = tables.figures(report)
    assert table is not None
    shown = {row[0]: row[1:] for row in table.rows}
    known = {path: figure for path, figure in named(Scorecard).items() if not figure.keyed}
    assert shown.keys() == {path for path, figure in known.items() if figure.of(report) is not None}
    assert shown["spread.jain"] == ("1", known["spread.jain"].meaning)
    assert tables.figures(report_of([])) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (12.3456, "12.35"), (12345.6, "12,346"), (-20000.0, "-20,000")],
)
def test_plain_numbers(value: float | None, text: str) -> None:
    assert tables.plain(value) == text


# --- sentences and verdicts ----------------------------------------------------------------------


def test_the_sentence_on_top(report: Report) -> None:
    broken = [Check("finished", "fail", "no")]
    fine = [Check("finished", "ok", "yes")]
    good = replace(report, selfchecks=fine)
    nothing = expected("failed", SUCCEEDS, "Nothing succeeded: all gone")
    assert verdict(replace(good, selfchecks=broken)) == "This run is not to be trusted: finished"
    assert verdict(good) == "60.0 % ok, TTFT p50 100 ms, p99 100 ms"
    assert verdict(replace(good, expectations=[expected()])).startswith("All 1 expectations hold: 60.0 % ok")
    assert (
        verdict(replace(good, expectations=[expected(), expected("failed")])) == "1 of 2 expectations failed"
    )
    assert verdict(replace(good, expectations=[nothing])) == "Nothing succeeded: all gone"


def test_sentences_of_the_routing(report: Report) -> None:
    said = dict(scorecard(report))
    assert said["spread"].startswith(
        "2 pods, the busiest at 1.00 of the mean, Jain 1.000; no more uneven than"
    )
    assert said["herding"].startswith("longest run on one pod 1, mean 1.00 (independent picks: 2.00)")
    assert said.keys() == {"spread", "herding"}


@pytest.mark.parametrize(
    ("states", "trusted", "code"),
    [((), True, 0), (("passed",), True, 0), (("passed", "failed"), True, 1), (("failed", "error"), True, 2),
     ((), False, 2), (("failed",), False, 2)],
)  # fmt: skip
def test_exit_codes(states: tuple[str, ...], trusted: bool, code: int) -> None:
    assert exit_code([expected(state) for state in states], trusted) == code


def test_nothing_succeeded_is_said_once_for_all_repeats() -> None:
    lost = report_of([answered("a", 0.0, outcome="upstream_5xx", status=500, error="no", pod=None)])
    good = report_of([answered("a", 0.0)])
    (found,) = nothing_succeeded([lost, lost], (), " in x")
    assert found.reason == "Nothing succeeded in x: none of 2 requests was ok; most often upstream_5xx 500 no"
    assert nothing_succeeded([lost, good], ()) == []
    assert nothing_succeeded([report_of([])], ()) == []


# --- names from outside --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nasty() -> Report:
    records = [answered(f"r{n}", float(n), pod=NASTY, adapter=NASTY, group=NASTY) for n in range(4)]
    records += [answered("e", 4.0, outcome="reset", error=NASTY, pod=None)]
    made = report_of(records, (EventLine(t=1.5, name=NASTY),))
    made.run = replace(
        made.run, name=NASTY, description=NASTY, target=NASTY, scenario_text="a: 1", command=[NASTY]
    )
    made.expectations = [expected("failed", NASTY, NASTY), expected("error", NASTY, NASTY)]
    return made


def test_html_shows_markup_as_text(nasty: Report) -> None:
    page = html(nasty)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10
    assert "could not be drawn" not in page


def test_junit_shows_markup_as_text(nasty: Report) -> None:
    root = ET.fromstring(junit(nasty))
    assert [case.get("name") for case in root[0].findall("testcase")] == [NASTY, NASTY]
    assert (root[0].get("tests"), root[0].get("failures"), root[0].get("errors")) == ("2", "1", "1")


def test_markdown_tables_keep_their_columns(nasty: Report) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", markdown(nasty), flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
    assert "<script" not in re.sub(r"^(?!\|).*$", "", markdown(nasty), flags=re.MULTILINE)


def test_yaml_of_the_benchmark_report_is_read_back(nasty: Report) -> None:
    document = yaml.safe_load(benchmark_report.dump(nasty))
    assert document["run"]["description"] == NASTY
    assert document["scenario"]["load"]["native"]["config"] == {"a": 1}


@pytest.mark.parametrize("width", [80, 160])
def test_a_terminal_shows_markup_as_text_and_keeps_its_width(nasty: Report, width: int) -> None:
    out = io.StringIO()
    print_report(nasty, [], Console(file=out, width=width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("[bold]" in line for line in lines)


# --- JUnit and the Benchmark Report --------------------------------------------------------------


def test_junit_by_hand() -> None:
    checks = [
        Check("a", "ok", "good"),
        Check("b", "fail", "bad"),
        Check("c", "skip", "none"),
        Check("d", "warn", "w"),
    ]
    root = ET.fromstring(suites("n", [expected(), expected("failed", reason="")], checks))
    expectations, selfchecks = root
    counts = ("tests", "failures", "errors", "skipped")
    assert [expectations.get(name) for name in counts] == ["2", "1", "0", "0"]
    assert [selfchecks.get(name) for name in counts] == ["4", "0", "1", "1"]
    passed, failed = expectations
    assert (passed.get("file"), passed.get("line"), passed[0].tag) == ("s.yaml", "3", "system-out")
    assert failed[0].get("message") == "does not hold"


def test_the_benchmark_report_by_hand(report: Report) -> None:
    results = benchmark_report.document(report)["results"]
    aggregate = results["request_performance"]["aggregate"]
    assert aggregate["requests"]["total"] == 9
    assert (aggregate["requests"]["failures"], aggregate["requests"]["incomplete"]) == (3, 0)
    assert aggregate["requests"]["output_length"]["mean"] == 5.0
    assert aggregate["latency"]["time_to_first_token"]["p50"] == pytest.approx(0.099)
    assert aggregate["latency"]["request_latency"]["units"] == "s"
    assert results["observability"]["drop_rate"] == {"units": "fraction", "mean": 0.2}
    ours = results["observability"]["loadgen"]
    assert ours["scheduled_time_to_first_token"]["p50"] == pytest.approx(0.1)
    cards = {name for name in Scorecard.__struct_fields__ if getattr(report, name)}
    assert cards <= ours.keys()
    assert "session_performance" not in results


def test_the_benchmark_report_of_nothing() -> None:
    document = benchmark_report.document(report_of([]))
    performance = document["results"]["request_performance"]
    assert performance["aggregate"]["latency"] == {}
    assert performance["time_series"] == {}
    assert document["scenario"]["load"]["standardized"]["input_seq_len"]["value"] == 0


# --- texts of others -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pod-1", "pod-1"),
        ("shed_429 of ttft_sent", "shed_429 of ttft_sent"),
        ("_x_ *y* ~~z~~ $m$", r"\_x\_ \*y\* \~\~z\~\~ \$m\$"),
        ("[here](http://x)", r"[here\](http://x)"),
        ("![p](http://x) [a][b]", r"![p\](http://x) [a\][b]"),
        ("12 [10, 14]", "12 [10, 14]"),
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("<img src=x> &lt; & co", "&lt;img src=x> &amp;lt; & co"),
        ("one\n# two\n\n- three", "one # two - three"),
        ("", ""),
    ],
)  # fmt: skip
def test_text_of_others_in_markdown(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_no_form_lets_a_control_character_through(tmp_path: Path) -> None:
    """A pod's name that sets the window's title does so in no terminal that shows a report."""
    hostile = "p\x1b]0;owned\x07\x9b2J\u202e\x7f"
    report = report_of([answered(f"r{n}", n / 10, pod=hostile) for n in range(4)])
    report.run.name = hostile
    report.expectations = [expected(status="failed", reason=hostile)]
    assert {path.name for path in write_all(tmp_path, report, FORMS)} == {name for name, _ in FORMS}
    for name in ("report.md", "report.html", "junit.xml"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "\\x1b]0;owned" in text, name
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text), name
    ET.parse(tmp_path / "junit.xml")
    assert json.loads((tmp_path / "report.json").read_text())["run"]["name"] == hostile
