"""The command line of loadgen; exit codes 0 good, 1 expectations or all requests fail, 2 untrusted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kit.console import INTERRUPTED, complain, exit_code, say, show
from loadgen.errors import LoadgenError, ScenarioError

Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the console script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    code = exit_code(lambda: _answer(arguments))
    if code == INTERRUPTED:
        complain("loadgen: error: interrupted")
    return code


def _answer(arguments: list[str]) -> int:
    if "--version" in arguments:
        from importlib.metadata import version  # noqa: PLC0415

        say(version("vllm-simfleet"))
        return 0
    try:
        args = build_parser().parse_args(arguments)
        args.command_line = ["loadgen", *arguments]
        handler: Handler = args.handler
        return handler(args)
    except LoadgenError as error:
        complain(f"loadgen: error: {error}")
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        complain(f"loadgen: error: {place}{error.strerror or error}")
    return 2


def build_parser() -> argparse.ArgumentParser:
    """All commands; importing nothing that they need."""
    parser = argparse.ArgumentParser(
        prog="loadgen",
        description="Honest load for LLM inference gateways, and a verdict on the routing.",
        epilog="Exit codes: 0 good; 1 an expectation failed, or all requests; "
        "2 the run could not be made or trusted.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_plan(commands)
    _add_others(commands)
    completion = commands.add_parser("completion", help="a script that completes commands and flags")
    completion.add_argument("shell", choices=("bash", "zsh", "fish", "words"), metavar="bash|zsh|fish")
    completion.add_argument("kind", nargs="?", help=argparse.SUPPRESS)
    completion.set_defaults(handler=_completion, commands=commands.choices)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from loadgen.flags import add_conduct_flags, add_load_flags, add_telling_flags  # noqa: PLC0415

    run = commands.add_parser(
        "run",
        help="make load and judge it",
        description="Run a scenario (a YAML file or a packaged name), a plan, or simple load from flags.",
    )
    run.add_argument("scenario", nargs="?", help="YAML file, or a name out of `loadgen scenarios`")
    run.add_argument("--plan", type=Path, help="replay the plan in this file, byte for byte")
    add_load_flags(run)
    add_conduct_flags(run)
    add_telling_flags(run)
    run.add_argument(
        "--ui",
        nargs="?",
        const="print",
        choices=("print", "open"),
        metavar="open",
        help="serve the live page of the stack at the target meanwhile; `--ui open` shows it in the browser",
    )
    run.set_defaults(handler=_run)


def _add_plan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from loadgen.flags import add_load_flags  # noqa: PLC0415

    plan = commands.add_parser("plan", help="write the plan of a scenario to a file, sending nothing")
    plan.add_argument("scenario", nargs="?", help="YAML file, or a name out of `loadgen scenarios`")
    plan.add_argument("-o", "--out", type=Path, required=True, help="file to write (JSONL)")
    add_load_flags(plan)
    plan.set_defaults(handler=_plan)


def _add_others(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    mark = commands.add_parser("mark", help="put an event into the record of a running run")
    mark.add_argument("dir", type=Path, help="directory of the run")
    mark.add_argument("name", help="what happened")
    mark.set_defaults(handler=_mark)

    merge = commands.add_parser("merge", help="join the runs of several machines into one")
    merge.add_argument("dirs", type=Path, nargs="+", metavar="DIR")
    merge.add_argument("-o", "--out", type=Path, required=True, help="directory to write")
    merge.set_defaults(handler=_merge)

    scenarios = commands.add_parser("scenarios", help="list the packaged scenarios, or print one")
    scenarios.add_argument("name", nargs="?", help="print this one (with --manifests also a YAML file)")
    scenarios.add_argument(
        "--manifests",
        type=Path,
        metavar="FILE|-",
        help="print these manifests with the fleet that the scenario supposes (for `simfleet up -f -`)",
    )
    scenarios.set_defaults(handler=_scenarios)

    schema = commands.add_parser("schema", help="print the JSON schema of scenarios or of a run's files")
    schema.add_argument("name", choices=("scenario", "report", "meta", "comparison", "sweep"))
    schema.set_defaults(handler=_schema)

    report = commands.add_parser("report", help="render the report of a finished run again")
    report.add_argument("dir", type=Path)
    report.set_defaults(handler=_report)

    diff = commands.add_parser("diff", help="compare two finished runs")
    diff.add_argument("a", type=Path)
    diff.add_argument("b", type=Path)
    diff.add_argument("--out", type=Path, default=None, help="directory for the comparison's files")
    diff.set_defaults(handler=_diff)

    _add_compare(commands)
    _add_sweep(commands)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from loadgen.flags import add_conduct_flags, add_load_flags  # noqa: PLC0415

    compare = commands.add_parser(
        "compare",
        help="send the same plans under several policies, interleaved and repeated, and compare",
    )
    compare.add_argument("scenario", nargs="?", help="YAML file (with `arms:`), or a packaged name")
    compare.add_argument("--arms", default=None, help="comma-separated YAML files, one arm each")
    compare.add_argument(
        "--repeats", type=int, default=None, help="how often each arm runs (5); with --until at most (10)"
    )
    compare.add_argument(
        "--until",
        choices=("told-apart",),
        help="look after every repeat from the third on, and stop once every arm is told from the baseline; "
        "all looks together are wrong in at most 5 %% of comparisons",
    )
    compare.add_argument(
        "--same-plan",
        action="store_true",
        help="one plan for all repeats, not a seed for each: the verdict holds for that plan alone",
    )
    compare.add_argument(
        "--baseline", metavar="ARM", help="compare every other arm with this one (the last arm)"
    )
    compare.add_argument(
        "--setup",
        metavar="CMD",
        help="brings an arm up; {arm} is its file, $LOADGEN_FLEET has the fleet that the scenario supposes",
    )
    compare.add_argument(
        "--manifests",
        type=Path,
        metavar="FILE",
        help="manifests of that fleet, instead of those that `simfleet up` has",
    )
    compare.add_argument(
        "--plugin",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="Python plugin of the reference picker in every arm; repeatable",
    )
    compare.add_argument("--teardown", metavar="CMD", help="takes it down again")
    compare.add_argument(
        "--simulate",
        action="store_true",
        help="make every run in virtual time (`simfleet simulate`): seconds instead of minutes, no hook runs",
    )
    compare.add_argument("--jobs", type=int, metavar="N", help="with --simulate, arms that run at once (1)")
    add_load_flags(compare)
    add_conduct_flags(compare)
    compare.set_defaults(handler=_compare)


def _add_sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from loadgen.flags import add_conduct_flags, add_load_flags  # noqa: PLC0415

    words = "the same load at many rates: the curve, the saturation point, the highest goodput"
    parser = commands.add_parser("sweep", help=words, description=f"{words[0].upper()}{words[1:]}.")
    parser.add_argument("scenario", nargs="?", help="YAML file, or a name out of `loadgen scenarios`")
    search = parser.add_argument_group("search")
    search.add_argument("--rates", metavar="A,B,...", help="run these rates (requests/s) and no others")
    search.add_argument(
        "--find",
        choices=("saturation", "goodput"),
        help="the rate up to which the server keeps up, or up to which --good of the requests keep the SLO "
        "(goodput where there is one)",
    )
    search.add_argument("--good", metavar="SHARE", default="99%", help="share that must keep the SLO (99%%)")
    search.add_argument("--within", metavar="SHARE", default="5%", help="how close the search comes (5%%)")
    search.add_argument("--runs", type=int, default=16, metavar="N", help="runs at most (16)")
    add_load_flags(parser)
    add_conduct_flags(parser)
    parser.set_defaults(handler=_sweep)


def _sweep(args: argparse.Namespace) -> int:
    from loadgen.flags import sweep_options  # noqa: PLC0415
    from loadgen.spelling import scenario_of  # noqa: PLC0415
    from loadgen.sweep.run import sweep  # noqa: PLC0415

    own_rate = args.scenario or args.load_users or args.trace or args.prompts
    if args.load_rate is None and not own_rate:
        args.load_rate = "1"
    scenario = scenario_of(args)
    return sweep(scenario, sweep_options(args, scenario))


def _run(args: argparse.Namespace) -> int:
    from loadgen.flags import run_options  # noqa: PLC0415
    from loadgen.spelling import scenario_of  # noqa: PLC0415

    scenario = scenario_of(args)
    if scenario.arms:
        if args.ui is not None:
            raise ScenarioError("--ui shows the stack of one run; of arms each has a stack of its own")
        return _compare(args)
    from loadgen.judge.foreseen import check_expectations  # noqa: PLC0415
    from loadgen.report.verdict import finish  # noqa: PLC0415
    from loadgen.run.runner import execute  # noqa: PLC0415

    check_expectations(scenario)
    run_dir = execute(scenario, run_options(args))
    return finish(run_dir, scenario)


def _plan(args: argparse.Namespace) -> int:
    from loadgen.judge.foreseen import check_expectations  # noqa: PLC0415
    from loadgen.plan.prepare import prepare_plan  # noqa: PLC0415
    from loadgen.spelling import scenario_of  # noqa: PLC0415

    scenario = scenario_of(args)
    check_expectations(scenario)
    info = prepare_plan(scenario, None, args.out)
    rate = f", {info.rate:.1f} requests/s" if info.rate is not None else ""
    for note in info.header.notes:
        say(f"note: {note}")
    say(f"{args.out}: {info.planned} requests over {info.header.span:g} s{rate}, seed {info.header.seed}")
    return 0


def _mark(args: argparse.Namespace) -> int:
    from loadgen.run.timeline import mark  # noqa: PLC0415

    line = mark(args.dir, args.name)
    say(f"{line.name} at {line.t:.3f} s")
    return 0


def _merge(args: argparse.Namespace) -> int:
    from loadgen.records.merge import merge_runs  # noqa: PLC0415
    from loadgen.report.verdict import finish  # noqa: PLC0415

    merge_runs(args.dirs, args.out)
    return finish(args.out, None)


def _schema(args: argparse.Namespace) -> int:
    from loadgen.schemas import schema_text  # noqa: PLC0415

    show(schema_text(args.name))
    return 0


def _scenarios(args: argparse.Namespace) -> int:
    from loadgen.scenario.read import packaged_names, packaged_text, read_scenario  # noqa: PLC0415

    if args.name is not None and args.manifests is not None:
        return _print_manifests(args)
    if args.name is not None:
        if args.name not in packaged_names():
            raise ScenarioError(
                f"no packaged scenario {args.name!r}; there are {', '.join(packaged_names())}"
            )
        show(packaged_text(args.name))
        return 0
    width = max(map(len, packaged_names()), default=0)
    for name in packaged_names():
        description = read_scenario(packaged_text(name), f"{name}.yaml").description
        say(f"{name:{width}}  {' '.join(description.split())}")
    return 0


def _print_manifests(args: argparse.Namespace) -> int:
    from loadgen.scenario.fleetneeds import manifests_for  # noqa: PLC0415
    from loadgen.scenario.read import load_scenario  # noqa: PLC0415
    from loadgen.scenario.scenario import FleetNeeds  # noqa: PLC0415

    scenario = load_scenario(args.name)
    show(manifests_for(scenario.fleet or FleetNeeds(), args.manifests))
    return 0


def _completion(args: argparse.Namespace) -> int:
    from kit.completion import Words, flags_of, script  # noqa: PLC0415
    from loadgen.scenario.read import packaged_names  # noqa: PLC0415

    if args.shell == "words":
        show("\n".join([*packaged_names(), ""]))
        return 0
    words = Words(of={"run|plan|compare|sweep": "scenarios"})
    show(script(args.shell, "loadgen", {name: flags_of(main, name) for name in args.commands}, words))
    return 0


def _report(args: argparse.Namespace) -> int:
    from loadgen.report.verdict import run_report  # noqa: PLC0415

    return run_report(args)


def _diff(args: argparse.Namespace) -> int:
    from loadgen.compare.run import run_diff  # noqa: PLC0415

    return run_diff(args)


def _compare(args: argparse.Namespace) -> int:
    from loadgen.compare.run import run_compare  # noqa: PLC0415

    return run_compare(args)


if __name__ == "__main__":
    sys.exit(main())
