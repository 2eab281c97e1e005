"""The page of a comparison: the sentence, the effects with their intervals, arms side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from loadgen.compare import arm_plots, tables
from loadgen.compare.arm_plots import Effect
from loadgen.compare.data import ArmsReport, Row, RunRow
from loadgen.judge.paired import ENOUGH_REPEATS, METRICS, PRIMARY, Verdict
from loadgen.numbers.figure import named
from loadgen.numbers.quantity import Dimension, show
from loadgen.report import plots
from loadgen.report.html import header, in_pairs, page, section, table, tiles
from loadgen.report.pictures import Picture
from loadgen.report.plots import colour
from loadgen.report.tables import expectations
from loadgen.score.scorecard import Scorecard

_TONES: dict[Verdict, str] = {
    "beats": "good",
    "loses to": "bad",
    "trades with": "warn",
    "is not told apart from": "none",
    "is not judged against": "warn",
}
# Figures of the routing, which are not judged and say why arms differ.
_EXPLAINING = {metric.path for metric in METRICS} & named(Scorecard).keys()
_STRIPS: tuple[tuple[str, str, Dimension], ...] = (
    ("ttft.p90", "TTFT p90", "time"),
    ("ttft.p50", "TTFT p50", "time"),
    ("e2e.p90", "E2E p90", "time"),
    ("prefix.hit_share", "Prompt tokens from cache", "share"),
)


def comparison_html(data: ArmsReport) -> str:
    """The whole document."""
    verdicts = [
        (words, _TONES[data.verdicts[arm]])
        for arm, words in zip(data.differences, data.sentences, strict=True)
    ]
    broken = [f"{run.arm}, repeat {run.repeat}: not to be trusted" for run in data.runs if not run.trusted]
    verdicts += [(words, "none") for words in data.notes] + [(words, "warn") for words in broken]
    count = f"{data.repeats} interleaved repeats" if data.repeats > 1 else "one run each"
    subtitle = f"{escape(', '.join(data.arms))}: {count}; baseline {escape(data.baseline)}"
    return page(
        data.name,
        [
            header(data.name, subtitle, verdicts),
            tiles(_tiles(data)),
            section("Expectations", table(expectations(data.expectations), bare=True)),
            *(_arm_section(data, arm) for arm in data.differences),
            section("Arms side by side", _key(data), in_pairs(_cdfs(data)), in_pairs(_strips(data))),
            section("Routing", in_pairs(_shares(data)), table(tables.routing(data))),
            section("Runs", _runs(data)),
            f"<footer>{_method(data)}</footer>",
        ],
    )


def _arm_section(data: ArmsReport, arm: str) -> str:
    shown = [d for d in data.differences[arm] if d.judged or d.metric in _EXPLAINING]
    effects = [_effect(d) for d in shown]
    title = f"{arm} against {data.baseline}"
    keys = (("good", "better"), ("bad", "worse"), ("none", "not told apart, or not judged"))
    forest = Picture(
        "Differences",
        lambda width: arm_plots.forest(width, title, effects),
        "relative change (shares: points) with 95 % intervals; left is less",
        keys,
        full=True,
    )
    return section(title, in_pairs([forest]), table(tables.differences(data, arm), bare=True))


def _effect(d: Row) -> Effect:
    if d.low is None or d.high is None:
        return Effect(d.label, d.effect, d.effect, d.effect, "none", d.amount)
    tone = ("good" if d.improves else "bad") if d.significant else "none"
    return Effect(d.label, d.effect, d.low, d.high, tone, d.amount)


def _tiles(data: ArmsReport) -> list[tuple[str, str]]:
    items = []
    for arm, found in data.differences.items():
        items.append(_decision(data, arm, found))
        faster = data.paired.get(arm)
        if faster:
            items.append((f"{100 * faster.share:.0f} %", f"of requests faster, {arm}"))
    for arm in data.arms:
        times = [value for value in data.values[arm].get(PRIMARY, []) if value is not None]
        if times:
            items.append((show(sum(times) / len(times), "time"), f"TTFT p90, {arm}"))
    return items


def _decision(data: ArmsReport, arm: str, found: list[Row]) -> tuple[str, str]:
    """What was decided of an arm: the difference that its verdict names first, or that there is none."""
    named_first = next((d for path in data.decided[arm] for d in found if d.metric == path), None)
    if named_first is not None:
        words = "better" if named_first.improves else "worse"
        return named_first.amount.partition(" [")[0], f"{named_first.label}, {arm}: {words}"
    words = "not judged" if data.verdicts[arm] == "is not judged against" else "not told apart"
    return words, f"{arm} and {data.baseline}"


def _key(data: ArmsReport) -> str:
    names = "".join(
        f'<span class="key"><i class="{colour(i)}"></i>{escape(arm)}</span>'
        for i, arm in enumerate(data.arms)
    )
    return f'<div class="legend">{names}</div>'


def _cdfs(data: ArmsReport) -> list[Picture]:
    out = []
    for key, title in (("ttft", "Time to first token"), ("e2e", "End-to-end latency")):
        curves = [
            (arm, data.curves[arm][key], colour(i))
            for i, arm in enumerate(data.arms)
            if data.curves[arm].get(key)
        ]
        if curves:
            out.append(_cdf(title, curves))
    return out


def _cdf(title: str, curves: Sequence[tuple[str, Sequence[float], str]]) -> Picture:
    return Picture(
        title, lambda width: plots.cdf(width, title, curves), "all repeats pooled, from intended start"
    )


def _strips(data: ArmsReport) -> list[Picture]:
    out = []
    for path, title, dimension in _STRIPS:
        rows = [
            (arm, [v for v in data.values[arm].get(path, []) if v is not None], colour(i))
            for i, arm in enumerate(data.arms)
        ]
        if all(column for _, column, _ in rows):
            out.append(_strip(title, rows, dimension))
    return out


def _strip(title: str, rows: Sequence[tuple[str, Sequence[float], str]], dimension: Dimension) -> Picture:
    def draw(width: int) -> str:
        return arm_plots.strips(width, title, rows, lambda value: show(value, dimension))

    return Picture(title, draw, "a dot for each repeat, a bar at their mean")


def _shares(data: ArmsReport) -> list[Picture]:
    out = []
    for index, (arm, card) in enumerate(data.cards.items()):
        spread = card.spread
        if spread and spread.pods > 1:
            # Pods of a fresh fleet have new names; sorted by load the arms can be laid side by side.
            ranked = sorted(spread.shares.items(), key=lambda item: -item[1])[:24]
            rows = [(name, part, colour(index)) for name, part in ranked]
            out.append(_bars(arm, rows, 1 / spread.pods))
    return out


def _bars(arm: str, rows: Sequence[tuple[str, float, str]], even: float) -> Picture:
    title = f"Share of answers, {arm}"
    return Picture(
        title, lambda width: plots.bars(width, title, rows, mark=even), "last repeat; dashed: an even share"
    )


def _runs(data: ArmsReport) -> str:
    rows = "".join(
        f'<tr><td><a href="{escape(run.dir)}/report.html">{escape(run.arm)}</a></td>'
        f"<td>{run.repeat}</td><td>{_badge(run)}</td></tr>"
        for run in data.runs
    )
    head = "<thead><tr><th>arm</th><th>repeat</th><th>self-checks</th></tr></thead>"
    return f'<div class="card"><div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div></div>'


def _badge(run: RunRow) -> str:
    if run.trusted:
        return '<span class="badge good">ok</span>'
    return f'<span class="badge bad">fail</span> {escape("; ".join(run.failed_checks))}'


def _method(data: ArmsReport) -> str:
    if data.repeats < ENOUGH_REPEATS:
        return f"With fewer than {ENOUGH_REPEATS} repeats nothing tells how much is chance between runs."
    return (
        "Each repeat gives one difference per metric; Student's t over the repeats gives p and interval. "
        f"Both hold for all judged metrics{', arms and looks' if data.stopped else ' and arms'} at once "
        "(Bonferroni, 5 %)."
    )
