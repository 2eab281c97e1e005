"""A comparison as tables of text, for terminal, Markdown and HTML."""

from collections.abc import Mapping
from typing import Any

from loadgen.report.tables import NOTHING, Table, share

Data = Mapping[str, Any]


def differences(data: Data, arm: str) -> Table:
    """All metrics of one arm against the baseline."""
    rows = []
    for d in data["differences"][arm]:
        mark = (
            ("better" if d["improves"] else "worse")
            if d["significant"]
            else ""
            if d["judged"]
            else "not judged"
        )
        p = NOTHING if d["p_adjusted"] is None else _p(d["p_adjusted"])
        rows.append((d["label"], d["shown"][0], d["shown"][1], d["amount"], p, mark))
    heads = ("", arm, data["baseline"], "difference", "p", "")
    note = (
        f"{data['repeats']} paired repeats; [95 % interval]; p corrected over judged metrics and arms (Holm)"
        if data["repeats"] > 2
        else "fewer than 3 repeats: the intervals know the scatter inside the runs, not that between runs"
    )
    return Table(f"{arm} against {data['baseline']}", heads, tuple(rows), note)


def routing(data: Data) -> Table:
    """How the arms routed, side by side (last repeat)."""
    rows = []
    for arm, card in data["cards"].items():
        spread, prefix, lora, herd = (card.get(key) or {} for key in ("spread", "prefix", "lora", "herding"))
        rows.append(
            (
                arm,
                share(card["outcomes"]["shares"]["ok"]),
                share(card["outcomes"]["shares"]["shed"]),
                f"{spread['max_over_mean']:.2f}" if spread else NOTHING,
                f"{spread['jain']:.3f}" if spread else NOTHING,
                share(prefix.get("hit_share")),
                share(prefix.get("reached")),
                share(lora.get("routed_loaded_share")),
                f"{herd['index']:.2f}" if herd.get("index") is not None else NOTHING,
                f"{card['queue']['mean']:.2f}" if card.get("queue") else NOTHING,
            )
        )
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


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.2g}"
