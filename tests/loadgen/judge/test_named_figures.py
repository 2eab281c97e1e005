"""Every name that expectations may call: its value, its dimension, and what is said of a wrong one."""

from __future__ import annotations

import math

import pytest

from loadgen.judge.named_figures import GROUPS, of_arms, of_report, values
from loadgen.judge.paired import METRICS
from loadgen.judge.report import Report
from loadgen.numbers.expect import judge
from loadgen.numbers.figure import named
from loadgen.numbers.outcomes import OUTCOMES
from loadgen.numbers.stats import Summary
from tests.loadgen.judge.reports import answered, mixed, report_of


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(mixed())


@pytest.mark.parametrize(
    ("path", "value", "dimension"),
    [
        ("ttft.p50", 0.1, "time"),
        ("ttft_sent.max", 0.099, "time"),
        ("tpot.mean", 0.01, "time"),
        ("itl.count", 24.0, "number"),
        ("e2e.p99", 0.15, "time"),
        ("lateness.p90", 0.001, "time"),
        ("outcomes.ok", 0.6, "share"),
        ("outcomes.shed", 0.2, "share"),
        ("outcomes.shed_429", 0.2, "share"),
        ("outcomes.reset", 0.1, "share"),
        ("outcomes.timeout", 0.0, "share"),
        ("outcomes.missed", 0.1, "share"),
        ("count.due", 10, "number"),
        ("count.error", 1, "number"),
        ("count.ok", 6, "number"),
        ("throughput.requested_rate", 1.0, "rate"),
        ("throughput.output_tokens", 30.0, "number"),
        ("throughput.bytes_out", 1000.0, "number"),
        ("spread.pods", 2, "number"),
        ("spread.jain", 1.0, "number"),
        ("spread.share[p-0]", 0.5, "share"),
        ("herding.longest_run", 1, "number"),
        ("class[chat].outcomes.ok", 0.6, "share"),
        ("class[chat].count.due", 10, "number"),
        ("pod[p-1].e2e.p50", 0.15, "time"),
        ("refused[shed_429].p50", 0.149, "time"),
        ("refused[shed_429].count", 2, "number"),
    ],
)
def test_values_by_hand(report: Report, path: str, value: float, dimension: str) -> None:
    found = of_report(report)(path)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.dimension == dimension


@pytest.mark.parametrize("path", sorted(named(Report)))
def test_every_figure_of_a_card_can_be_called(report: Report, path: str) -> None:
    figure = named(Report)[path]
    found = of_report(report)(f"{path}.x" if figure.keyed else path)
    expected = math.nan if figure.keyed else figure.of(report)
    assert found.dimension == ("share" if path.startswith("outcomes.") else figure.unit)
    assert math.isnan(found.value) if expected is None or figure.keyed else found.value == expected


@pytest.mark.parametrize("name", [*GROUPS, *OUTCOMES])
def test_every_outcome_can_be_called(report: Report, name: str) -> None:
    lookup = of_report(report)
    assert lookup(f"outcomes.{name}").value == lookup(f"count.{name}").value / 10


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("ttft.p98", "no figure 'ttft.p98'; did you mean ttft.p"),
        ("outcomes.fine", "no figure 'outcomes.fine'"),
        ("outcomes.due", "no figure 'outcomes.due'; did you mean outcomes.shed or outcomes.ok or "),
        ("class[nobody].ttft.p50", "no class 'nobody' in this run; there is chat"),
        ("adapter[a].ttft.p50", "no adapter 'a' in this run; there is none"),
        ("class[chat].spread.jain", "no figure 'class[chat].spread.jain'"),
        ("spread.share[p-9]", "no spread.share 'p-9' in this run; there is p-0, p-1"),
        ("refused[bored].p50", "no refused 'bored' in this run; there is reset, shed_429"),
        ("refused[reset].p98", "no figure 'refused[reset].p98'; did you mean refused[reset].p9"),
        ("recovery.minutes", "no figure 'recovery.minutes'; did you mean recovery.seconds"),
        ("spread.counts", "no figure 'spread.counts'"),
        ("ttft", "no figure 'ttft'"),
        ("", "no figure ''"),
    ],
)
def test_what_is_said_of_a_wrong_name(report: Report, path: str, words: str) -> None:
    with pytest.raises(KeyError) as caught:
        of_report(report)(path)
    assert caught.value.args[0].startswith(words)


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("lora.reached", "0%"),
        ("goodput.share", "0%"),
        ("goodput.attained.ttft", "0%"),
        ("recovery.seconds", "0s"),
        ("refused[timeout].p50", "0s"),
    ],
)
def test_what_a_run_cannot_give_has_no_value_and_fails(report: Report, path: str, least: str) -> None:
    assert math.isnan(of_report(report)(path).value)
    found = judge(f"{path} >= {least}", of_report(report))
    assert not found.passed
    assert found.reason == f"{path} has no value in this run"


def test_all_statistics_of_refusals(report: Report) -> None:
    lookup = of_report(report)
    for name in named(Summary):
        assert lookup(f"refused[reset].{name}").value == getattr(report.refusals["reset"], name)


def test_of_arms() -> None:
    slow = report_of([answered("a", 0.0, first_token=0.3), answered("b", 1.0, first_token=1.5)])
    quick = report_of([answered("a", 0.0), answered("b", 1.0)])
    lookup = of_arms({"x": [slow, quick], "y": [quick]}, [])
    assert lookup("arm[x].ttft.max").value == pytest.approx((0.5 + 0.1) / 2)
    assert lookup("arm[y].ttft.max").value == pytest.approx(0.1)
    for path, words in (
        ("arm[z].ttft.max", "no arm 'z' in this run; there is x, y"),
        ("delta[x].ttft.p90", "no arm 'x'"),
        ("ttft.p90", "ttft.p90: in a comparison figures begin with"),
    ):
        with pytest.raises(KeyError) as caught:
            lookup(path)
        assert caught.value.args[0].startswith(words)


def test_plain_values_leave_out_what_is_missing(report: Report) -> None:
    found = values(report, [metric.path for metric in METRICS])
    assert found["outcomes.ok"] == 0.6
    assert "goodput.share" not in found
    assert found.keys() == {m.path for m in METRICS} - {
        "goodput.share",
        "prefix.hit_share",
        "lora.routed_loaded_share",
    }
