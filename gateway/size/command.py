"""The command line of `simfleet size`."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError, UsageError
from gateway.machine.flags import Parser, add_manifests, add_repeatable
from gateway.simulate.inputs import Source, add_trace, totals_of
from gateway.size.autoscale import Hpa
from gateway.size.keda import read_scaled_object
from gateway.size.picture import page
from gateway.size.search import Found
from gateway.size.table import as_text, best, row, rows, values
from gateway.size.trial import Load, figures_of, manifests_text, sized
from gateway.size.wanted import Kind, kinds_of, slo_of
from kit.console import complain, say, show
from kit.durations import parse_duration


def parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    made = Parser(prog="simfleet size", description="The least number of replicas that keeps the limits.")
    _add_load(made.add_argument_group("load (--trace or --scenario)"))
    _add_fleet(made.add_argument_group("what is tried"))
    _add_autoscaler(made.add_argument_group("autoscaling, against the fixed number"))
    output = made.add_argument_group("output")
    output.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="profiles and pickers tried at once (1)"
    )
    output.add_argument("--json", metavar="FILE", help="everything as JSON; - for standard output")
    output.add_argument("--html", type=Path, metavar="FILE", help="the knee as a picture")
    output.add_argument("--values", type=Path, metavar="FILE", help="values.yaml for charts/lab")
    return made


def _add_load(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add_trace(group)
    add("--scenario", metavar="NAME|FILE", help="a scenario of loadgen")
    add(
        "--slo",
        action="append",
        default=[],
        metavar="METRIC.pNN=TIME",
        help="a limit, such as ttft.p95=500ms (ttft, tpot, e2e); repeatable",
    )


def _add_fleet(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--profile", metavar="A[,B]", help="names out of `simfleet profiles`")
    add("--picker", metavar="FILE[,FILE]", help="EndpointPickerConfigs; the manifests' own without it")
    add_repeatable(group, "--plugin", type=Path, metavar="FILE", help="plugin of the picker; repeatable")
    add_manifests(group, "FILE", "manifests (the lab)")
    add(
        "--server-arg",
        action="append",
        default=[],
        metavar="ARG",
        help="a further flag of the model servers, as --server-arg=--max-model-len=32768; repeatable",
    )
    add("--max-replicas", type=int, default=64, metavar="N", help="no more than these (64)")
    add(
        "--price",
        action="append",
        default=[],
        metavar="A=3.5/h",
        help="of one replica of a profile; repeatable",
    )


def _add_autoscaler(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--autoscale",
        metavar="MIN:MAX",
        help="the chart's HorizontalPodAutoscaler between these, tried as well",
    )
    add(
        "--scaled-object",
        type=Path,
        metavar="FILE",
        help="a KEDA ScaledObject with prometheus triggers, tried as well",
    )
    add(
        "--target-waiting",
        type=float,
        default=4.0,
        metavar="X",
        help="its target: requests waiting per pod (4)",
    )
    add("--pod-start", default="60s", metavar="TIME", help="until an added pod is ready (60s)")


def run(argv: Sequence[str]) -> int:
    """The command; 0 with an answer, 1 without one, 2 for what cannot be asked."""
    try:
        return _run(parser().parse_args(argv))
    except GatewayError as error:
        complain(f"simfleet size: {error}")
        return error.exit_code


def _run(args: argparse.Namespace) -> int:
    if (args.trace is None) == (args.scenario is None):
        raise UsageError("give one of --trace FILE and --scenario NAME")
    if not args.slo or not args.profile:
        raise UsageError("give --profile and at least one --slo, such as --slo ttft.p95=500ms")
    if args.max_replicas < 1 or args.jobs < 1 or args.rate_scale <= 0:
        raise UsageError("--max-replicas and --jobs must be at least 1, --rate-scale above 0")
    source = Source(None, args.scenario, args.trace, args.limit, args.rate_scale)
    load = Load(
        source=source,
        slo=tuple(slo_of(text) for text in args.slo),
        manifests=manifests_text(args.sources, source),
        namespace=args.namespace,
        server_args=tuple(args.server_arg),
        plugins=tuple(path.resolve() for path in args.plugin),
        seed=args.seed,
    )
    kinds = kinds_of(args.profile, args.picker, args.price)
    scaler = _scaler(args)
    with tempfile.TemporaryDirectory(prefix="simfleet-size-") as folder:
        totals = totals_of(source, args.seed, Path(folder))
    say(f"{totals[0]} prompt and {totals[1]} answer tokens over {totals[2]:.0f} s")
    found = _search_all(load, kinds, args, totals)
    for each in found:
        show("\n" + as_text(each, load.slo, args.max_replicas))
        for note in next(iter(each.tried.values()))["notes"]:
            say(f"note: {note}")
    chosen = best(found)
    scaled = _autoscaled(load, chosen, scaler) if chosen is not None and scaler is not None else None
    _write(args, load, found, chosen, scaled)
    return 0 if chosen is not None else 1


def _search_all(
    load: Load, kinds: list[Kind], args: argparse.Namespace, totals: tuple[int, int, float]
) -> list[Found]:
    if args.jobs == 1 or len(kinds) == 1:
        return [sized(load, kind, args.max_replicas, totals) for kind in kinds]
    with ProcessPoolExecutor(min(args.jobs, len(kinds)), mp_context=get_context("spawn")) as pool:
        asked = [pool.submit(sized, load, kind, args.max_replicas, totals) for kind in kinds]
        return [each.result() for each in asked]


def _scaler(args: argparse.Namespace) -> Hpa | None:
    """The autoscaler that is asked for; UsageError for one that cannot be simulated."""
    if not args.autoscale and args.scaled_object is None:
        return None
    if args.autoscale and args.scaled_object is not None:
        raise UsageError("give --autoscale or --scaled-object, not both")
    try:
        startup = parse_duration(args.pod_start)
    except ValueError as error:
        raise UsageError(f"--pod-start: {error}") from error
    if args.scaled_object is not None:
        asked = read_scaled_object(args.scaled_object)
        return Hpa(asked.least, asked.most, startup=startup, triggers=asked.triggers, behavior=asked.behavior)
    least, _, most = args.autoscale.partition(":")
    if not (least.isdigit() and most.isdigit() and 1 <= int(least) <= int(most)):
        raise UsageError(f"--autoscale {args.autoscale}: write it as MIN:MAX, such as 2:12")
    return Hpa(int(least), int(most), args.target_waiting, startup=startup)


def _autoscaled(load: Load, chosen: Found, scaler: Hpa) -> dict[str, Any]:
    """The autoscaler under the same load: its row, and pods over time."""
    figures = figures_of(load, chosen.kind, scaler.least, scaler)
    found = row(chosen.kind, figures["load"]["pods_mean"], figures)
    found["pods_over_time"] = [[at, pods] for at, pods, *_ in figures["series"]]
    asked = "; ".join(str(trigger) for trigger in scaler.triggers) or f"{scaler.target:g} waiting per pod"
    fixed = chosen.tried[chosen.answer or 0]["load"]["pod_hours"]
    say(
        f"\nautoscaled {scaler.least} to {scaler.most}, {asked}: limits "
        f"{'kept' if found['holds'] else 'not kept'}, goodput {100 * found['goodput']:.1f} %, "
        f"{figures['load']['pods_mean']:.2f} pods on average, {figures['load']['pods_max']:.0f} at most, "
        f"{figures['load']['pod_hours']:.2f} pod hours against {fixed:.2f} of the fixed number"
    )
    return found


def _write(
    args: argparse.Namespace,
    load: Load,
    found: list[Found],
    chosen: Found | None,
    scaled: dict[str, Any] | None,
) -> None:
    if chosen is not None:
        say(f"\nanswer: {chosen.answer} replicas of {chosen.kind.name}")
        told = values(chosen, load.server_args)
        if args.values is not None:
            args.values.write_text(told, encoding="utf-8")
        else:
            show(told)
    if args.html is not None:
        title = f"How many replicas for {args.scenario or args.trace.name}?"
        args.html.write_text(page(found, load.slo, title), encoding="utf-8")
        say(f"picture: {args.html}")
    if args.json is not None:
        document = {
            "answers": [
                {
                    "profile": each.kind.profile,
                    "picker": each.kind.picker and each.kind.picker.stem,
                    "replicas": each.answer,
                }
                for each in found
            ],
            "tried": [each for kind in found for each in rows(kind)],
            "autoscaled": scaled,
        }
        text = json.dumps(document, indent=2) + "\n"
        if args.json == "-":
            show(text)
        else:
            Path(args.json).write_text(text, encoding="utf-8")
