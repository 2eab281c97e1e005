"""What was found, in words and as data: every number tried, the answer, its cost, values for the chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from gateway.simulate.summary import Slo, shown
from gateway.size.search import Found, holds
from gateway.size.wanted import Kind

_HEAD = (
    "N",
    "holds",
    "goodput",
    "TTFT p50",
    "p95",
    "p99",
    "TPOT p95",
    "E2E p95",
    "KV mean/max",
    "queue",
    "cost/h",
    "per Mtok",
)


def rows(found: Found) -> list[dict[str, Any]]:
    """One row for each number of replicas that was tried, in order."""
    return [row(found.kind, count, found.tried[count]) for count in sorted(found.tried)]


def row(kind: Kind, replicas: float, figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of one try; `replicas` may be a mean. Costs are None without a price."""
    hours = figures["virtual_s"] / 3600
    tokens = figures["prompt_tokens"] + figures["output_tokens"]
    per_hour = None if kind.price is None else kind.price * replicas
    return {
        "replicas": replicas,
        "profile": kind.profile,
        "picker": None if kind.picker is None else kind.picker.stem,
        "holds": holds(figures),
        "goodput": figures["goodput"],
        "slo": figures["slo"],
        "latency_s": figures["latency_s"],
        "load": figures["load"],
        "outcomes": figures["outcomes"],
        "cached_share": figures["cached_share"],
        "cost_per_hour": per_hour,
        "cost_per_million_tokens": per_hour * hours / tokens * 1e6
        if per_hour is not None and tokens
        else None,
    }


def as_text(found: Found, slo: Sequence[Slo], most: int) -> str:
    """The table of one kind and its answer."""
    lines = [found.kind.name, "".join(f"{title:>13}" for title in _HEAD)]
    lines += ["".join(f"{cell:>13}" for cell in _cells(each)) for each in rows(found)]
    limits = " and ".join(f"{each.name} <= {shown(each.limit)}" for each in slo)
    if found.answer is None:
        lines.append(f"{limits}: not with {most} replicas; raise --max-replicas or loosen a limit")
    else:
        fails = f"; {found.answer - 1} fails" if found.answer - 1 in found.tried else ""
        lines.append(
            f"{limits}: {found.answer} replicas{fails} (the bottleneck alone asks for {found.bottleneck})"
        )
    return "\n".join(lines) + "\n"


def _cells(found: dict[str, Any]) -> list[str]:
    latency, load = found["latency_s"], found["load"]

    def time(metric: str, name: str) -> str:
        return "-" if latency[metric] is None else shown(latency[metric][name])

    replicas, costs = found["replicas"], (found["cost_per_hour"], found["cost_per_million_tokens"])
    return [
        f"{replicas:g}" if isinstance(replicas, int) else f"{replicas:.2f}",
        "yes" if found["holds"] else "no",
        f"{100 * found['goodput']:.1f} %",
        *(time("ttft", name) for name in ("p50", "p95", "p99")),
        time("tpot", "p95"),
        time("e2e", "p95"),
        f"{100 * load['kv_mean']:.0f}/{100 * load['kv_max']:.0f} %",
        f"{load['waiting_mean']:.1f}",
        *("-" if cost is None else f"{cost:.2f}" for cost in costs),
    ]


def best(found: Sequence[Found]) -> Found | None:
    """The cheapest answer; without prices the one of fewest replicas. None where no kind has an answer."""
    answered = [each for each in found if each.answer is not None]
    if not answered:
        return None
    return min(
        answered,
        key=lambda each: (each.answer or 0) * (each.kind.price if each.kind.price is not None else 1.0),
    )


def values(found: Found, server_args: Sequence[str]) -> str:
    """values.yaml of charts/lab for the answer."""
    simulator: dict[str, Any] = {"replicaCount": found.answer, "profile": found.kind.profile}
    if server_args:
        simulator["args"] = list(server_args)
    chart: dict[str, Any] = {"simulator": simulator}
    if found.kind.picker is not None:
        chart["gateway"] = {"epp": {"config": yaml.safe_load(found.kind.picker.read_text("utf-8"))}}
    head = f"# {found.answer} replicas of {found.kind.name}: `helm install lab charts/lab -f` this file\n"
    return head + yaml.safe_dump(chart, sort_keys=False)
