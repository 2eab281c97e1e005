"""Whole reports of synthetic runs: every form, the self-checks, the verdict and its exit codes."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from loadgen.cli import main
from loadgen.errors import RecordError
from loadgen.judge.named_figures import of_report
from loadgen.judge.report import Report, build, read_report
from loadgen.records.records import Record, RecordsHeader, write_records
from loadgen.records.rundata import load_run
from loadgen.records.rundir import Ceiling, read_meta, write_meta
from loadgen.records.table import read_records
from loadgen.report import benchmark_report
from loadgen.report.markdown import markdown
from loadgen.report.verdict import finish, judged_report
from tests.lateness import UNTRUSTED, only_late, was_late
from tests.loadgen.synthetic import T0, Fleet, write_run

FULL = Fleet(
    adapters=("sql", "legal"),
    classes=("chat", "code"),
    kill=(2, 5.0),
    requests=800,
    shed_above=6,
    expect=[
        "outcomes.ok > 50%",
        "prefix.reached > 80%",
        "class[chat].ttft.p99 < 5s",
        "recovery.seconds < 10s",
    ],
)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_run(tmp_path_factory.mktemp("runs") / "full", FULL)
    assert finish(path) == 0
    return path


@pytest.fixture(scope="module")
def report(full: Path) -> Report:
    return read_report(full / "report.json")


def rewrite(path: Path, change: Any) -> None:
    """Pass every record through `change`; None drops it."""
    kept = [r for r in map(change, read_records(path)) if r is not None]
    write_records(path / "records.jsonl", RecordsHeader(t0=T0), kept)


def statuses(path: Path) -> dict[str, str]:
    return {check.name: check.status for check in build(load_run(path)).selfchecks}


# --- the figures ---------------------------------------------------------------------------------


def test_counts_add_up_over_every_split(report: Report) -> None:
    ok = report.outcomes.groups.ok
    assert sum(report.outcomes.counts.values()) == 800
    assert sum(report.spread.counts.values()) == ok
    assert sum(report.timeline.outcomes.ok) == ok
    assert sum(sum(column) for column in report.timeline.pods.values()) == ok
    assert sum(part.outcomes.due for part in report.by["class"].values()) == 800
    assert sum(map(sum, report.lora.matrix)) == ok


def test_prefix_card_matches_the_simulation(report: Report, full: Path) -> None:
    prefix = report.prefix
    records = [r for r in read_records(full) if r.outcome == "ok"]
    assert prefix.cached_tokens == sum(r.cached_tokens or 0 for r in records)
    assert prefix.capacity_tokens == 4 * 2048 * 16
    assert 0.9 < prefix.reached <= 1
    assert prefix.best_capacity <= prefix.best_infinite


def test_events_and_recovery(report: Report) -> None:
    (row,) = report.recovery
    assert row.event == "kill sim-2"
    assert row.judged
    assert report.events[0].at == 5.0
    assert report.spread.expected == "by lifetime"


def test_figures_by_name(report: Report) -> None:
    lookup = of_report(report)
    assert lookup("ttft.p99").value == report.latency.ttft.p99
    assert lookup("class[code].outcomes.ok").dimension == "share"
    assert lookup("count.shed_429").value == report.outcomes.counts.get("shed_429", 0)
    assert lookup("spread.share[sim-0]").value == report.spread.shares["sim-0"]
    assert lookup("prefix.decisions.best_share").value > 0.5
    assert lookup("recovery[kill sim-2].seconds").dimension == "time"
    assert lookup("goodput.attained.ttft").value <= 1
    for path, message in (
        ("ttft.p98", "did you mean"),
        ("class[nobody].ttft.p50", "there is chat, code"),
        ("outcomes.fine", "no figure"),
        ("refused[nothing].p50", "no refused"),
    ):
        with pytest.raises(KeyError, match=message):
            lookup(path)


def test_a_figure_this_run_cannot_give_has_no_value(tmp_path: Path) -> None:
    lookup = of_report(judged_report(write_run(tmp_path / "r", Fleet(requests=120))))
    for path in (
        "lora.reached",
        "sessions.sticky_share",
        "recovery.seconds",
        "staleness.age.p99",
        "refused[timeout].p50",
    ):
        assert lookup(path).value != lookup(path).value, path


# --- the forms -----------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Counts tags, checks that they nest, and notes what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: dict[str, int] = {}
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href") and tag != "a"]
        if tag not in ("meta", "br", "link"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_the_page_is_one_small_file_without_script(full: Path) -> None:
    text = (full / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.stack == []
    assert page.fetched == []
    assert "script" not in page.tags
    assert page.tags["svg"] >= 20  # each picture for a wide and a narrow screen
    assert len(text) < 2_000_000
    for words in (
        "Prefix cache",
        "LoRA adapters",
        "kill sim-2",
        "Is the run to be trusted?",
        "prefers-color-scheme:dark",
        "@media print",
    ):
        assert words in text


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=60, adapters=("<b>&x",)))
    finish(path)
    text = (path / "report.html").read_text()
    assert "<b>&" not in text
    assert "&lt;b&gt;&amp;x" in text


def test_markdown_has_its_tables(report: Report) -> None:
    text = markdown(report)
    assert text.startswith("# synthetic prefix\n\n**All 4 expectations hold")
    for heading in (
        "## Latency",
        "## Outcomes",
        "## Pods",
        "## Routing",
        "## Self-checks",
        "## Expectations",
    ):
        assert heading in text
    rows = [line for line in text.splitlines() if line.startswith("| TTFT |")]
    assert rows
    assert rows[0].count("|") == 8


def test_junit_for_ci(full: Path) -> None:
    root = ET.parse(full / "junit.xml").getroot()
    expectations, checks = root.findall("testsuite")
    assert expectations.get("tests") == "4"
    assert expectations.get("failures") == "0"
    assert [case.get("name") for case in expectations.findall("testcase")] == list(FULL.expect)
    assert int(checks.get("tests", 0)) >= 10


def test_junit_of_failures(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=120, expect=["ttft.p50 < 1us", "nothing.here > 1"]))
    assert finish(path) == 2
    suite = ET.parse(path / "junit.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")


def test_report_once_more_by_the_command_line(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(full)]) == 0
    out = capsys.readouterr().out
    for words in (
        "Latency",
        "Routing",
        "Self-checks",
        "prefix.reached > 80%",
        "All 4 expectations hold",
        "report.html",
    ):
        assert words in out


def test_report_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "not the directory of a run" in capsys.readouterr().err


# --- the Benchmark Report ------------------------------------------------------------------------


def closed(**properties: Any) -> dict[str, Any]:
    """An object with these members and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


UNITS = ["count", "s", "ms", "s/token", "tokens/s", "queries/s", "percent", "fraction", "bytes"]
POINTS = ("0p1", 1, 5, 10, 25, 50, 75, 90, 95, 99, "99p9")
NUMBERS = ["mean", "stddev", "min", "max", *(f"p{q}" for q in POINTS)]
STATISTIC = closed(units={"enum": UNITS}, **{name: {"type": "number"} for name in NUMBERS})
SERIES = closed(units={"type": "string"}, series={"type": "array", "items": {"required": ["ts"]}})
LENGTH = closed(
    distribution={"enum": ["fixed", "gaussian", "uniform", "other"]},
    value={"type": "number"},
    std_dev={"type": "number"},
    min={"type": "integer"},
    max={"type": "integer", "minimum": 1},
)
LATENCIES = [
    "time_to_first_token",
    "normalized_time_per_output_token",
    "time_per_output_token",
    "inter_token_latency",
    "request_latency",
]
RATES = ["input_token_rate", "output_token_rate", "total_token_rate", "request_rate"]
RESOURCES = ["kv_cache_usage", "cache_hit_rate", "running_requests", "waiting_requests", "preemptions"]
TEXT, OBJECT, WHOLE = {"type": "string"}, {"type": "object"}, {"type": "integer"}
PERFORMANCE = closed(
    aggregate=closed(
        requests=closed(
            total=WHOLE,
            failures=WHOLE,
            incomplete=WHOLE,
            **dict.fromkeys(("input_length", "output_length", "request_size"), STATISTIC),
        ),
        latency=closed(**dict.fromkeys(LATENCIES, STATISTIC)),
        throughput=closed(**dict.fromkeys(RATES, STATISTIC)),
    ),
    time_series=closed(
        latency=closed(**dict.fromkeys(LATENCIES, SERIES)),
        throughput=closed(**dict.fromkeys(RATES, SERIES)),
    ),
)
COMPONENT = closed(
    component_label=TEXT, replica_id=TEXT, aggregate=closed(**dict.fromkeys(RESOURCES, STATISTIC))
)
LOAD = closed(
    metadata=closed(cfg_id=TEXT, description=TEXT),
    standardized=closed(
        tool=TEXT,
        tool_version=TEXT,
        parallelism=WHOLE,
        source={"const": "random"},
        stage=WHOLE,
        input_seq_len=LENGTH,
        output_seq_len=LENGTH,
        multi_turn=OBJECT,
        rate_qps={"type": "number", "exclusiveMinimum": 0},
    ),
    native=closed(args=OBJECT, config={}),
)
BENCHMARK_REPORT = closed(
    version={"const": "0.2.1"},
    run=closed(
        uid=TEXT,
        eid=TEXT,
        time=closed(start=TEXT, end=TEXT, duration={"pattern": "^PT[0-9.]+S$"}),
        description=TEXT,
        keywords={"type": "array"},
    ),
    scenario=closed(
        stack={"type": "array", "items": {"required": ["metadata", "standardized", "native"]}}, load=LOAD
    ),
    results=closed(
        request_performance=PERFORMANCE,
        session_performance=OBJECT,
        observability={
            "type": "object",
            "properties": {"drop_rate": STATISTIC, "components": {"type": "array", "items": COMPONENT}},
        },
    ),
)
"""What we write of the schema, by the reference (loadgen.md 2.7); the published classes are the judge."""


def test_benchmark_report_by_the_reference(full: Path) -> None:
    jsonschema.validate(yaml.safe_load((full / "report.yaml").read_text()), BENCHMARK_REPORT)


@pytest.fixture
def published_classes(tmp_path: Path) -> Iterator[ModuleType]:
    """The classes that the inference-perf wheel carries, imported without what it depends on."""
    wanted = "inference-perf==0.7.0"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--python-version", "3.12"]
    done = subprocess.run(
        [*command, "--only-binary=:all:", wanted, "-d", str(tmp_path)], check=False, timeout=120
    )
    if done.returncode:
        pytest.skip(f"{wanted} could not be downloaded")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    package = ModuleType("published_br")
    package.__path__ = [str(tmp_path / "inference_perf" / "reportgen" / "br" / "v0_2")]
    sys.modules["published_br"] = package
    try:
        yield importlib.import_module("published_br.schema_v0_2_1")
    finally:
        for name in [name for name in sys.modules if name.startswith("published_br")]:
            del sys.modules[name]


@pytest.mark.slow
def test_benchmark_report_against_the_published_classes(full: Path, published_classes: ModuleType) -> None:
    document = yaml.safe_load((full / "report.yaml").read_text())
    parsed = published_classes.BenchmarkReportV021.model_validate(document)
    assert parsed.results.request_performance.aggregate.requests.total == 800
    assert len(parsed.results.observability.components) == 4


def test_benchmark_report_counts_from_the_actual_start(full: Path, report: Report) -> None:
    document = yaml.safe_load((full / "report.yaml").read_text())
    assert document["version"] == "0.2.1"
    latency = document["results"]["request_performance"]["aggregate"]["latency"]
    assert latency["time_to_first_token"]["p99"] == report.latency.ttft_sent.p99
    assert latency["time_per_output_token"]["units"] == "s/token"
    ours = document["results"]["observability"]["loadgen"]
    assert ours["scheduled_time_to_first_token"]["p99"] == report.latency.ttft.p99
    assert ours["spread"]["jain"] == report.spread.jain
    assert benchmark_report.document(report, "exp")["run"]["eid"] == "exp"


# --- is the run to be trusted? -------------------------------------------------------------------


def test_a_good_run_passes_its_checks(tmp_path: Path) -> None:
    found = statuses(write_run(tmp_path / "r", Fleet(requests=900)))
    assert set(found.values()) == {"ok"}, found


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("records", lambda r: None if r.id == "r00007" else r),
        ("start lateness", lambda r: msgspec.structs.replace(r, start=r.intended + 0.5)),
        ("missed starts", lambda r: msgspec.structs.replace(r, outcome="missed") if r.id < "r00009" else r),
        ("pods add up to ok", lambda r: msgspec.structs.replace(r, pod=None) if r.id == "r00007" else r),
        ("ids at the pods", lambda r: msgspec.structs.replace(r, pod="sim-0") if r.pod == "sim-1" else r),
    ],
)
def test_a_run_that_does_not_add_up_is_not_trusted(
    tmp_path: Path, check: str, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=300, expect=["outcomes.ok == 100%"]))
    rewrite(path, change)
    assert statuses(path)[check] == "fail"
    assert finish(path) == UNTRUSTED
    printed = capsys.readouterr().out
    assert was_late(UNTRUSTED, printed) is only_late(UNTRUSTED, printed) is (check == "start lateness")


def test_twice_the_same_id(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=120))
    records = read_records(path)
    write_records(path / "records.jsonl", RecordsHeader(t0=T0), [*records, records[0]])
    assert statuses(path)["records"] == "fail"


@pytest.mark.parametrize(
    ("share", "status"), [(0.5, "ok"), (0.8, "warn"), (1.2, "fail")], ids=["half", "above 70 %", "above all"]
)
def test_the_ceiling_of_the_client(tmp_path: Path, share: float, status: str) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=120))
    meta = read_meta(path)
    meta.ceiling = Ceiling(rate=100, cpu=0.01, total=100, asked=share * 100, share=share)
    write_meta(path, meta)
    assert statuses(path)["client ceiling"] == status


def test_arrivals_that_are_not_poisson(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=400))
    first = read_records(path)[0].intended

    def even(record: Record) -> Record:
        at = first + int(record.id[1:]) / 60
        return msgspec.structs.replace(record, intended=at, start=at)

    rewrite(path, even)
    assert statuses(path)["arrivals of chat"] == "warn"


def test_hits_that_the_pods_did_not_count(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=300))
    rewrite(path, lambda r: msgspec.structs.replace(r, cached_tokens=(r.cached_tokens or 0) // 2))
    assert statuses(path)["cache hits at the pods"] == "warn"


def test_a_killed_run_reports_what_it_had(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=300))
    whole = (path / "records.jsonl").read_bytes()
    (path / "records.jsonl").write_bytes(whole[: len(whole) // 2])
    meta = read_meta(path)
    meta.status = "running"
    write_meta(path, meta)
    assert finish(path) == 2
    found = read_report(path / "report.json")
    assert 100 < found.run.requests < 200
    assert found.latency.ttft.count > 100
    assert {c.name: c.status for c in found.selfchecks}["finished"] == "fail"


def test_records_alone_make_a_report(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=120))
    for name in ("meta.json", "plan.jsonl", "scrapes.jsonl", "scenario.yaml"):
        (path / name).unlink()
    assert finish(path) == 2
    assert "TTFT" in (path / "report.md").read_text()
    with pytest.raises(RecordError):
        load_run(tmp_path)


def test_expectations_decide(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", Fleet(requests=120, expect=["outcomes.ok == 100%"]))
    bad = write_run(tmp_path / "bad", Fleet(requests=120, expect=["ttft.p50 < 1ms"]))
    unread = write_run(tmp_path / "unread", Fleet(requests=120, expect=["ttft.p5O < 1ms"]))
    assert [finish(path) for path in (good, bad, unread)] == [0, 1, 2]
    (found,) = read_report(bad / "report.json").expectations
    assert found.status == "failed"
    assert found.reason.startswith("ttft.p50 = ")


def test_warm_up_is_left_out_of_the_figures(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", Fleet(requests=300))
    scenario = (path / "scenario.yaml").read_text()
    (path / "scenario.yaml").write_text(scenario + "\nwarmup: 2s\n")
    found = judged_report(path)
    assert found.run.warmup_requests > 50
    assert found.outcomes.due == 300 - found.run.warmup_requests
    assert found.trusted


@pytest.mark.parametrize("on", [True, False])
def test_a_report_leaves_the_collector_as_it_was(tmp_path: Path, *, on: bool) -> None:
    before = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        finish(write_run(tmp_path / "run", Fleet(requests=60)))
        assert gc.isenabled() is on
        with pytest.raises(RecordError):
            finish(tmp_path)
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()
