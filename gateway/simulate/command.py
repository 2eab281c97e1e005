"""The command line of `simfleet simulate`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import GatewayError, UsageError
from gateway.machine.flags import Parser, add_manifests, add_repeatable
from gateway.simulate.batch import Order, Show, run_all
from gateway.simulate.inputs import Source, add_trace
from gateway.simulate.summary import as_text, shown
from kit.console import complain, say, show
from kit.durations import parse_duration


def parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    made = Parser(
        prog="simfleet simulate",
        description="The manifests' own picker, the engines and a plan of load in virtual time.",
    )
    what = "manifests, as for `simfleet up`; without it the preset `lab`, as the scenario supposes it"
    add_manifests(made, "FILE|DIR|-", what)
    made.add_argument(
        "--replicas", type=int, metavar="N", help="replicas of every model server, instead of the manifests'"
    )
    _add_load(made.add_argument_group("load (one of the first three)"))
    _add_picker(made.add_argument_group("picker and gateway"))
    _add_output(made.add_argument_group("output"))
    return made


def _add_load(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--plan", type=Path, metavar="FILE", help="a plan of `loadgen plan`")
    add("--scenario", metavar="NAME|FILE", help="a scenario of loadgen: its plan is made of --seed")
    add_trace(group)
    add("--model", help="what requests of a trace name (the model that is served)")
    add("--seeds", type=int, default=1, metavar="N", help="so many runs, of --seed and those after it")


def _add_picker(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    arms = "EndpointPickerConfig instead of the manifests'; repeatable: an arm each"
    add_repeatable(group, "--epp-config", type=Path, metavar="FILE", help=arms)
    add_repeatable(group, "--plugin", type=Path, metavar="FILE", help="plugin of the picker; repeatable")
    add(
        "--gateway-delay",
        default="1.2ms",
        metavar="TIME",
        help="what gateway and network add (1.2ms; loadgen's scenario gateway-overhead measures yours)",
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "-o",
        "--out",
        type=Path,
        metavar="DIR",
        help="a run directory for `loadgen report`; of several runs, DIR/ARM-SEED",
    )
    add("--scrape-interval", metavar="TIME", help="between looks at replicas in it (the scenario's, else 1s)")
    add(
        "--decisions",
        choices=("none", "brief", "all"),
        default="brief",
        help="the picker's log in it (brief)",
    )
    add("--arm", help=argparse.SUPPRESS)  # of `loadgen compare --simulate`
    add("--repeat", type=int, help=argparse.SUPPRESS)
    add("--json", metavar="FILE", help="the figures as JSON; - for standard output")
    add("--jobs", type=int, default=1, metavar="N", help="processes for several runs (1)")
    add("-q", "--quiet", action="store_true", help="no progress")
    add("--progress", choices=("auto", "lines"), default="auto", help=argparse.SUPPRESS)  # of the live page


def run(argv: Sequence[str]) -> int:
    """The command; its exit code."""
    try:
        return _run(parser().parse_args(argv), argv)
    except GatewayError as error:
        complain(f"simfleet simulate: {error}")
        return error.exit_code


def _run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    sources = [each for each in (args.plan, args.scenario, args.trace) if each is not None]
    if len(sources) != 1:
        raise UsageError("give one of --plan FILE, --scenario NAME and --trace FILE")
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} must be at least 1")
    if args.rate_scale <= 0:
        raise UsageError("--rate-scale must be above 0")
    orders = _orders(args, argv)
    found = run_all(orders, args.jobs, _told(args))
    if args.json is not None:
        text = json.dumps(found[0] if len(found) == 1 else found, indent=2) + "\n"
        if args.json == "-":
            show(text)
            return 0
        Path(args.json).write_text(text, encoding="utf-8")
    if len(found) == 1:
        show(as_text(found[0]))
        if found[0]["directory"]:
            say(f"run directory: {found[0]['directory']} (loadgen report, loadgen diff)")
    else:
        _show_table(found)
    return 0


def _orders(args: argparse.Namespace, argv: Sequence[str]) -> list[Order]:
    source = Source(args.plan, args.scenario, args.trace, args.limit, args.rate_scale, args.model)
    arms = _arms(args.epp_config)
    several = len(arms) * args.seeds > 1
    if args.plan is not None and args.seeds > 1:
        complain(
            "simfleet simulate: --plan is the same for all seeds; they change the picker's and engines' draws"
        )
    orders = []
    for seed in range(args.seed, args.seed + args.seeds):
        for name, config in arms.items():
            out = args.out / f"{name}-{seed}" if args.out is not None and several else args.out
            orders.append(
                Order(
                    sources=tuple(args.sources),
                    namespace=args.namespace,
                    replicas=args.replicas,
                    source=source,
                    seed=seed,
                    arm=args.arm or (name if several else None),
                    repeat=args.repeat,
                    config=config.resolve() if config is not None else None,
                    plugins=tuple(path.resolve() for path in args.plugin),
                    gateway_delay=_seconds("--gateway-delay", args.gateway_delay),
                    scrape_every=None
                    if args.scrape_interval is None
                    else _seconds("--scrape-interval", args.scrape_interval),
                    decisions=args.decisions,
                    out=out,
                    command=("simfleet", "simulate", *argv),
                )
            )
    return orders


def _arms(configs: Sequence[Path]) -> dict[str, Path | None]:
    """The pickers' configurations by the names of their arms; None: the manifests' own."""
    if len({config.stem for config in configs}) < len(configs):
        raise UsageError("two --epp-config have the same file name; arms are named by it")
    return {config.stem: config for config in configs} or {"manifests": None}


def _seconds(flag: str, text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error
    if seconds < 0:
        raise UsageError(f"{flag} must be 0 or more")
    return seconds


def _told(args: argparse.Namespace) -> Show | None:
    if args.progress == "lines":
        return _progress_line
    return None if args.quiet or not sys.stderr.isatty() else _progress


def _progress_line(label: str, done: int, planned: int, seconds: float) -> None:
    complain(f"{label}{done} of {planned} requests, {seconds:.0f} virtual seconds")


def _progress(label: str, done: int, planned: int, seconds: float) -> None:
    sys.stderr.write(f"\r{label}{done}/{planned} requests, {seconds:.1f} virtual seconds ")
    sys.stderr.flush()


def _show_table(found: list[dict[str, object]]) -> None:
    titles = ("TTFT mean", "TTFT p95", "TPOT p95", "E2E p95")
    say(f"{'arm':<24}{'seed':>6}{'ok':>10}" + "".join(f"{title:>12}" for title in titles) + f"{'cached':>9}")
    for row in found:
        latency, outcomes = row["latency_s"], row["outcomes"]
        assert isinstance(latency, dict)
        assert isinstance(outcomes, dict)
        cells = [
            _cell(latency["ttft"], "mean"),
            *(_cell(latency[metric], "p95") for metric in ("ttft", "tpot", "e2e")),
        ]
        ok = f"{outcomes.get('ok', 0)}/{row['requests']}"
        cached = f"{100 * float(str(row['cached_share'])):.1f} %"
        say(
            f"{row['arm']!s:<24}{row['seed']!s:>6}{ok:>10}"
            + "".join(f"{cell:>12}" for cell in cells)
            + f"{cached:>9}"
        )


def _cell(numbers: dict[str, float] | None, name: str) -> str:
    return "-" if numbers is None else shown(numbers[name])
