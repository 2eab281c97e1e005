"""`simfleet why` and `simfleet whatif`: the decision log as answers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.errors import UsageError
from gateway.stack.socket import ask
from gateway.stack.statedir import find_stack
from gateway.why.decision import Decision, as_json
from gateway.why.explain import explain, summary
from gateway.why.names import common_prefix, short_names
from gateway.why.sources import Sources, of_stack
from gateway.why.whatif import PICKERS, WhatIf, parse_weights, what_if
from kit.console import say
from kit.printable import cell

CHANGES_SHOWN = 10
_MAX_LAST = 100_000


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= _MAX_LAST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MAX_LAST}, not {text!r}")
    return int(text)


def add_source(parser: argparse.ArgumentParser) -> None:
    """The flags that say whose decisions are meant."""
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="a decision log instead of a running stack's"
    )
    parser.add_argument("--access-log", type=Path, metavar="FILE", help="the gateway's log beside --log")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def add_why(parser: argparse.ArgumentParser) -> None:
    """The flags of `why`."""
    help_ = "the request, as the gateway (x-request-id) or the client named it; its beginning is enough"
    parser.add_argument("request", nargs="?", metavar="REQUEST-ID", help=help_)
    parser.add_argument("--last", type=_count, metavar="N", help="the last N decisions (without any: 1)")
    parser.add_argument(
        "--pod", metavar="POD", help="only what went to this pod; the end of its name is enough"
    )
    add_source(parser)


def add_whatif(parser: argparse.ArgumentParser) -> None:
    """The flags of `whatif`."""
    help_ = "weights of scorers, by the beginnings of their names: queue=1,prefix=5; others stay as they are"
    parser.add_argument("--weights", default="", metavar="SCORER=NUMBER,...", help=help_)
    parser.add_argument("--picker", choices=tuple(PICKERS), help="another type of picker")
    parser.add_argument(
        "--last", type=_count, default=1000, metavar="N", help="of the last N decisions (1000)"
    )
    add_source(parser)


def _sources(arguments: argparse.Namespace) -> Sources:
    if arguments.log is not None:
        return Sources((arguments.log,), (arguments.access_log,) if arguments.access_log else ())
    return of_stack(ask(find_stack(arguments.stack).socket, "status", timeout_s=10.0))


def why(arguments: argparse.Namespace) -> int:
    """The exit code. UsageError when there is no such decision."""
    sources = _sources(arguments)
    if arguments.request:
        found = sources.find(arguments.request)
        decisions = [found] if found else []
    else:
        end = arguments.pod

        def wanted(decision: Decision) -> bool:
            pod = decision.chosen.pod if decision.chosen else ""
            return end is None or pod == end or pod.endswith(f"-{end}") or end in decision.pick

        decisions = sources.newest(arguments.last or 1, wanted)
    if not decisions:
        what = arguments.request or (f"for pod {arguments.pod}" if arguments.pod else "at all")
        raise UsageError(f"no decision {what} in {', '.join(map(str, sources.decisions))}")
    if arguments.format == "json":
        entries = sources.entries([d.request_id for d in decisions])
        told = [explain(d, entries.get(d.request_id)) for d in decisions]
        say(as_json({"decisions": told}).decode())
    elif len(decisions) == 1 and (arguments.last or 1) == 1:
        names = short_names({c.pod for c in decisions[0].candidates})
        _show_one(explain(decisions[0], sources.entry(decisions[0].request_id), names), names)
    else:
        _show_many([summary(decision) for decision in decisions])
    return 0


def _table(names: Mapping[str, str], *columns: str, left: Sequence[str] = ()) -> Table:
    """An empty table, below a line with what all pods begin with."""
    if prefix := common_prefix(names):
        say(f"pods are {prefix}...")
    table = Table(box=None, pad_edge=False, expand=False)
    for name in columns:
        table.add_column(cell(name), justify="left" if name in left else "right", no_wrap=name in left)
    return table


def _show_one(told: Mapping[str, Any], names: Mapping[str, str]) -> None:
    console = Console()
    say(told["sentence"])
    when = time.strftime("%H:%M:%S", time.localtime(told["time"])) + f".{int(told['time'] % 1 * 1000):03d}"
    about = [when, told["request_id"], told["model"], told["picker"] or "", f"priority {told['priority']}"]
    say("  ".join(filter(None, about)))
    if told["rows"]:
        say()
        console.print(_candidates(told, names))
    if told["shown"] < told["candidates"]:
        say(
            f"{told['shown']} of {told['candidates']} candidates: the log is brief, "
            "that of `simfleet up --decision-log FILE` has all"
        )
    if served := told["served"]:
        say()
        say(_outcome(served, names))


def _candidates(told: Mapping[str, Any], names: Mapping[str, str]) -> Table:
    """A row for each candidate: score x weight by scorer, the total, and what the picker knew of it."""
    scorers = short_scorers(told["weights"])
    table = _table(
        names,
        *("pod", *(f"{short} x{told['weights'][name]:g}" for name, short in scorers.items()), "total"),
        *("wait", "run", "KV %", "prefix", "age ms"),
        left=("pod",),
    )
    for row in told["rows"]:
        style = "bold" if row["picked"] else "" if row["total"] is not None else "dim"
        mark = "> " if row["picked"] else "  "
        values = [f"{row['parts'][name]:.3g}" if row["scores"][name] is not None else "" for name in scorers]
        total = f"{row['total']:.4g}" if row["total"] is not None else f"out: {row['removed_by'] or 'filter'}"
        age = f"{row['age_ms']:.0f}" if row["age_ms"] is not None else "never"
        blocks = f"{row['prefix'][0]}/{row['prefix'][1]}" if row["prefix"][1] else ""
        cells = [mark + names.get(row["pod"], row["pod"]), *values, total]
        cells += [str(row["waiting"]), str(row["running"]), f"{100 * row['kv_usage']:.0f}", blocks, age]
        table.add_row(*(cell(text, style) for text in cells))
    return table


def short_scorers(names: Sequence[str] | Mapping[str, float]) -> dict[str, str]:
    """Scorers as columns name them: their first word, or the whole name where two begin with it."""
    firsts = [name.partition("-")[0] for name in names]
    return {n: f if firsts.count(f) == 1 else n for n, f in zip(names, firsts, strict=True)}


def _outcome(served: Mapping[str, Any], names: Mapping[str, str]) -> str:
    pod = names.get(served["pod"] or "", served["pod"] or served["served"] or "no pod")
    where = {True: f"{pod}, as picked", False: f"{pod}, NOT as picked", None: pod}[served["as_picked"]]
    times = [
        f"{label} {served[key]:g} ms"
        for label, key in (("picker", "picker_ms"), ("first byte", "first_byte_ms"), ("whole", "duration_ms"))
        if isinstance(served[key], int | float)
    ]
    line = f"served: {served['status'] or 'no answer'} by {where}" + (
        f"; {', '.join(times)}" if times else ""
    )
    if served["cause"]:
        line += f"\ncause: {served['cause']}: {served['why']}\ncure: {served['cure']}"
    return line


def _show_many(rows: Sequence[Mapping[str, Any]]) -> None:
    names = short_names({row["pod"] for row in rows if row["pod"]})
    table = _table(
        names,
        *("time", "request", "pod", "reason", "margin", "prefix"),
        left=("time", "request", "pod", "reason"),
    )
    for row in rows:
        when = time.strftime("%H:%M:%S", time.localtime(row["time"]))
        blocks = f"{row['prefix'][0]}/{row['prefix'][1]}" if row["prefix"][1] else ""
        margin = f"{row['margin']:.3g}" if row["margin"] is not None else ""
        request = (row["client_id"] or row["request_id"]).rpartition("/")[2]
        pod = names.get(row["pod"], row["pod"] or row["pick"] or "")
        texts = (when, request[:18], pod, row["reason"], margin, blocks)
        table.add_row(*(cell(text) for text in texts))
    Console().print(table)


def whatif(arguments: argparse.Namespace) -> int:
    """The exit code. UsageError where there is nothing to decide anew, or the weights name no scorer."""
    sources = _sources(arguments)
    decisions = sources.newest(arguments.last)
    result = what_if(decisions, parse_weights(arguments.weights), arguments.picker)
    if not result.decisions - result.unscored:
        raise UsageError(
            f"none of the {result.decisions} decisions in {', '.join(map(str, sources.decisions))} was scored"
        )
    if arguments.format == "json":
        say(as_json(result).decode())
    else:
        _show_whatif(result)
    return 0


def _show_whatif(result: WhatIf) -> None:
    for name, weight in result.weights.items():
        old = result.logged_weights.get(name, 0.0)
        say(f"{name}: {old:g}" + (f" -> {weight:g}" if weight != old else ""))
    share = result.changed / result.decided if result.decided else 0.0
    say(f"{result.changed} of {result.decided} picks would change ({100 * share:.0f} %), by {result.picker}")
    for count, what in (
        (result.drawn, f"of the others would be drawn, {result.drawn_elsewhere:.3g} of them elsewhere"),
        (result.unscored, "decisions were left out: nobody scored them"),
        (result.unknown, "were left out: a candidate that the brief log does not have might have won"),
    ):
        if count:
            say(f"{count} {what}")
    names = short_names(result.after)
    say()
    spread = _table(names, "pod", "picks", "would be", "change", left=("pod",))
    for pod, after in result.after.items():
        before = result.before.get(pod, 0.0)
        texts = (names[pod], f"{before:g}", f"{after:.4g}", f"{after - before:+.4g}")
        spread.add_row(*(cell(text) for text in texts))
    Console().print(spread)
    for changed in result.changes[:CHANGES_SHOWN]:
        places = " or ".join(names.get(pod, pod) for pod in changed.after[:3])
        more = f" or {len(changed.after) - 3} more" if len(changed.after) > 3 else ""
        where = f"{names.get(changed.before, changed.before)} -> {places}{more}"
        request = (changed.client_id or changed.request_id).rpartition("/")[2]
        say(f"  {request[:36]}  {where}  by {changed.margin:.3g}")
    if len(result.changes) > CHANGES_SHOWN:
        say(f"  and {len(result.changes) - CHANGES_SHOWN} more (--format json has all)")
