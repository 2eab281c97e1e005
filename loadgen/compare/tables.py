"""A comparison as tables of text, for terminal, Markdown and HTML."""

from __future__ import annotations

from loadgen.compare.data import ArmsReport, Cards, Row
from loadgen.judge.paired import ENOUGH_REPEATS
from loadgen.report.tables import NOTHING, Table, share


def differences(data: ArmsReport, arm: str) -> Table:
    """All metrics of one arm against the baseline."""
    rows = [_cells(row) for row in data.differences[arm]]
    heads = ("", arm, data.baseline, "difference", "p", "")
    at_once = "metrics, arms and looks" if data.stopped else "metrics and arms"
    note = (
        f"{data.repeats} paired repeats; p, and the [95 % intervals] of judged metrics, hold for all judged "
        f"{at_once} at once (Bonferroni)"
        if data.repeats >= ENOUGH_REPEATS
        else f"fewer than {ENOUGH_REPEATS} repeats: nothing tells how much is chance between runs"
    )
    return Table(f"{arm} against {data.baseline}", heads, tuple(rows), note)


def routing(data: ArmsReport) -> Table:
    """How the arms routed, side by side (last repeat)."""
    rows = [(arm, *_routed(card)) for arm, card in data.cards.items()]
    heads = (
        "",
        "ok",
        "shed",
        "busiest/mean",
        "Jain",
        "cache hits",
        "of best",
        "adapter loaded",
        "herding",
        "queue",
    )
    return Table("How they routed", heads, tuple(rows), "of the last repeat")


def _cells(row: Row) -> tuple[str, ...]:
    mark = "" if row.judged else "not judged"
    if row.significant:
        mark = "better" if row.improves else "worse"
    p = NOTHING if row.p_adjusted is None else _p(row.p_adjusted)
    return row.label, *row.shown, row.amount, p, mark


def _routed(card: Cards) -> tuple[str, ...]:
    shares, spread, herd = card.outcomes.shares, card.spread, card.herding
    return (
        share(shares.ok),
        share(shares.shed),
        f"{spread.max_over_mean:.2f}" if spread else NOTHING,
        f"{spread.jain:.3f}" if spread else NOTHING,
        share(card.prefix.hit_share if card.prefix else None),
        share(card.prefix.reached if card.prefix else None),
        share(card.lora.routed_loaded_share if card.lora else None),
        f"{herd.index:.2f}" if herd and herd.index is not None else NOTHING,
        f"{card.queue.mean:.2f}" if card.queue else NOTHING,
    )


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.2g}"
