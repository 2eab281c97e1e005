"""The flags of `run`, `plan` and `compare`, and the scenario that they spell.

Simple load from flags is written down as the YAML it stands for and read like any scenario, so there is
one set of meanings and messages. Values may be inline YAML: `--input-tokens '{mean: 200, stddev: 40}'`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.durations import parse_seconds
from loadgen.errors import ScenarioError

if TYPE_CHECKING:
    from loadgen.scenario.options import RunOptions
    from loadgen.scenario.read import Overrides
    from loadgen.scenario.scenario import Scenario
    from loadgen.sweep.run import SweepOptions

CLASS_FLAGS = (
    ("--api", "api", "completions | chat | responses | messages | embeddings"),
    ("--prompt", "prompt", "one fixed prompt"),
    ("--input-tokens", "input_tokens", "prompt length: number or {mean, stddev}, {min, max}, {values}"),
    ("--output-tokens", "output_tokens", "answer length, in the same forms"),
    ("--max-tokens", "max_tokens", "max_tokens of every request, whatever --output-tokens draws"),
    ("--form", "form", "text | tokens"),
    ("--preset", "preset", "production traffic: chat | code | doc-qa | agent"),
    ("--objective", "objective", "x-gateway-inference-objective"),
    ("--fairness-id", "fairness_id", "x-gateway-inference-fairness-id"),
    ("--timeout", "timeout", "the client's own timeout (60s)"),
    ("--ttft-timeout", "ttft_timeout", "how long the first token of a stream may take (--timeout)"),
    ("--itl-timeout", "itl_timeout", "how long a stream may pause between two tokens (--timeout)"),
    ("--cancel-after", "cancel_after", "leave after so many tokens"),
    ("--priority", "priority", "vLLM's priority field"),
)
ARRIVAL_FLAGS = (
    ("--rate", "rate", "requests per second; of a whole scenario where one is named"),
    ("--arrival", "process", "poisson (default) | constant | gamma | burst | closed | trace | clients"),
    ("--requests", "requests", "how many, instead of or besides --duration"),
    ("--burstiness", "burstiness", "gamma's shape as in vLLM: below 1 is burstier than Poisson"),
    ("--ramp-to", "to", "let the rate move to this one over --duration"),
    ("--ramp-shape", "shape", "linear | exponential"),
    ("--users", "users", "closed loop with so many users"),
    ("--think", "think", "a user's pause between requests"),
    ("--burst-size", "size", "requests at one instant (--arrival burst)"),
    ("--every", "every", "seconds between bursts"),
    ("--time-scale", "time_scale", "times of a trace multiplied by this: 0.5 is twice as fast"),
)
TOP_FLAGS = (
    ("--grace", "grace", "how long what runs may go on after the last start (30s)"),
    ("--ready-timeout", "ready_timeout", "how long to wait for the target (10s)"),
    ("--warmup", "warmup", "leave the first seconds out of the figures"),
    ("--connections", "connections", "connections opened before the start"),
    ("--max-in-flight", "max_in_flight", "limit; what is due beyond it is recorded as missed"),
)


def add_load_flags(parser: argparse.ArgumentParser) -> None:
    """What load to make."""
    basic = parser.add_argument_group("load")
    basic.add_argument("--target", help="http(s)://HOST:PORT of the gateway or server")
    basic.add_argument("--model", help="model name")
    basic.add_argument("--duration", help="30s, 5m ...")
    basic.add_argument("--seed", type=int, help="one seed, one plan (0)")
    basic.add_argument("--processes", type=int, help="worker processes (1)")
    for flag, key, words in (*ARRIVAL_FLAGS, *CLASS_FLAGS):
        basic.add_argument(flag, dest=f"load_{key}", metavar="V", help=words)
    basic.add_argument("--no-stream", action="store_true", help="ask for whole answers")
    basic.add_argument("--ignore-eos", action="store_true", help="answers of exactly max_tokens")
    basic.add_argument("--adapter", action="append", default=[], metavar="NAME[=WEIGHT]", help="LoRA mix")
    basic.add_argument("-H", "--header", action="append", default=[], metavar="KEY:VALUE")
    basic.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="environment variable with the API key (OPENAI_API_KEY, if it is set)",
    )
    basic.add_argument("--api-key", metavar="KEY", help="the API key itself, which `ps` shows to others")
    basic.add_argument(
        "--redact", action="append", default=[], metavar="NAME", help="a header or field that is secret too"
    )
    basic.add_argument("--prefix", metavar="V", help="{groups: 8, tokens: 512, zipf: 1.0} shared beginnings")
    basic.add_argument("--sessions", metavar="V", help="{turns: 4, think: 1s} conversations")
    basic.add_argument(
        "--trace",
        metavar="FORMAT:FILE",
        help="mooncake | azure | burstgpt | bailian | sharegpt | timed_trace | openai",
    )
    basic.add_argument("--trace-limit", type=int, metavar="N", help="the first N rows of --trace only")
    basic.add_argument(
        "--prompts", metavar="FILE", help="requests in OpenAI's fields, one a line (--trace openai:FILE)"
    )
    basic.add_argument("--retries", type=int, metavar="N", help="attempts in all; off by default")
    for flag, key, words in TOP_FLAGS:
        basic.add_argument(flag, dest=f"top_{key}", metavar="V", help=words)
    basic.add_argument("--http2", action="store_true", help="HTTP/2, over TLS by ALPN (extra h2)")
    basic.add_argument("--no-chunk-times", action="store_true", help="keep no time of each token")
    basic.add_argument("--insecure", action="store_true", help="take any certificate")
    basic.add_argument("--ca", help="file of the CA that signed the target's certificate")
    basic.add_argument("--server-name", help="name to verify instead of the URL's host")
    verdict = parser.add_argument_group("verdict")
    verdict.add_argument("--slo", action="append", default=[], metavar="METRIC=LIMIT", help="ttft=300ms ...")
    verdict.add_argument("--expect", action="append", default=[], metavar="EXPR", help="'ttft.p99 < 300ms'")
    verdict.add_argument(
        "--scrape", action="append", default=[], metavar="[NAME=]URL", help="a pod's /metrics"
    )
    verdict.add_argument("--fleet", help="command or file that gives `simfleet ps --format json`")
    verdict.add_argument(
        "--name", dest="stack", help="the stack that is meant, where the fleet lists several"
    )
    verdict.add_argument("--epp", action="append", default=[], metavar="URL", help="the picker's /metrics")
    verdict.add_argument("--prometheus", metavar="URL", help="a Prometheus that scrapes the pods")
    verdict.add_argument("--scrape-interval", metavar="V", help="between scrapes (1s)")
    verdict.add_argument("--decision-log", help="the picker's log of its decisions")


def add_conduct_flags(parser: argparse.ArgumentParser) -> None:
    """How to run."""
    group = parser.add_argument_group("conduct")
    group.add_argument("-o", "--out", type=Path, default=None, help="directory of the run (runs/NAME-TIME)")
    group.add_argument("-q", "--quiet", action="store_true", help="no live view")
    group.add_argument("--no-selftest", action="store_true", help="do not measure this client's ceiling")
    group.add_argument("--slice", default=None, metavar="I/N", help="this machine's part of the plan, from 0")
    group.add_argument("--start-at", type=float, default=None, metavar="UNIX", help="wall-clock start")


def run_options(args: argparse.Namespace) -> RunOptions:
    """The conduct flags as options of a run; ScenarioError for a slice that is none."""
    from loadgen.scenario.options import RunOptions  # noqa: PLC0415

    part = (0, 1)
    if args.slice is not None:
        first, _, second = args.slice.partition("/")
        if not (first.isdigit() and second.isdigit() and int(first) < int(second)):
            raise ScenarioError(f"--slice must look like 0/4 (0 to 3 of 4), not {args.slice!r}")
        part = (int(first), int(second))
    return RunOptions(
        out=args.out,
        plan=getattr(args, "plan", None),
        quiet=args.quiet,
        selftest=not args.no_selftest,
        slice=part,
        start_at=args.start_at,
        command=tuple(args.command_line),
    )


def sweep_options(args: argparse.Namespace, scenario: Scenario) -> SweepOptions:
    """What a sweep looks for; ScenarioError for a rate or share that is none."""
    from loadgen.sweep.run import SweepOptions  # noqa: PLC0415

    if args.slice is not None or args.start_at is not None:
        raise ScenarioError("a sweep is run by one machine: leave --slice and --start-at out")
    rates = tuple(_positive(text, "--rates") for text in args.rates.split(",")) if args.rates else ()
    if rates and args.find is not None:
        raise ScenarioError("--rates runs these rates, --find looks for one; leave one of them out")
    if args.runs < 1:
        raise ScenarioError(f"--runs must be at least 1, not {args.runs}")
    return SweepOptions(
        rates=tuple(sorted(set(rates))),
        find=args.find or ("goodput" if scenario.slo else "saturation"),
        good=_share(args.good, "--good"),
        within=_share(args.within, "--within"),
        most=args.runs,
        out=args.out,
        quiet=args.quiet,
        selftest=not args.no_selftest,
        command=tuple(args.command_line),
    )


def _positive(text: str, flag: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ScenarioError(f"{flag} takes requests per second such as 5,10,20, not {text!r}")
    return value


def _share(text: str, flag: str) -> float:
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number) / (100 if "%" in text else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise ScenarioError(f"{flag} takes a share such as 95%, not {text!r}")
    return value


def scenario_of(args: argparse.Namespace) -> Scenario:
    """The scenario that the arguments name or spell; ScenarioError for one that cannot be used."""
    from loadgen.scenario.read import Overrides  # noqa: PLC0415
    from loadgen.scenario.redaction import Secrets, learn_arguments  # noqa: PLC0415

    try:
        duration = parse_seconds(args.duration) if args.duration else None
    except ValueError:
        raise ScenarioError(f"--duration must look like 30s or 5m, not {args.duration!r}") from None
    secrets = Secrets(marked=frozenset(name.lower() for name in args.redact))
    learn_arguments(secrets, args.command_line)
    over = Overrides(
        secrets=secrets,
        model=args.model,
        target=args.target,
        seed=args.seed,
        duration=duration,
        processes=args.processes,
        extra=_top(args),
    )
    scenario = _scenario(args, over)
    return replace(scenario, api_key=_api_key(args, scenario))


def _api_key(args: argparse.Namespace, scenario: Scenario) -> str | None:
    """The key of requests without an authorization of their own; from where clients look for it."""
    name = scenario.api_key_env or "OPENAI_API_KEY"
    key: str | None = args.api_key or os.environ.get(name)
    if not key and scenario.api_key_env is not None:
        raise ScenarioError(f"--api-key-env: the environment has no {name}")
    if key:
        scenario.secrets.learn_value("api-key", key)
    return key or None


def _scenario(args: argparse.Namespace, over: Overrides) -> Scenario:
    from loadgen.plan.plan import read_plan_header  # noqa: PLC0415
    from loadgen.scenario.read import load_scenario, read_scenario  # noqa: PLC0415

    plan: Path | None = getattr(args, "plan", None)
    if plan is not None:
        _refuse_load_flags(args, "--plan fixes the load")
        if args.model or args.seed is not None or args.duration:
            raise ScenarioError("--plan fixes model, seed and duration; leave the flags out")
        header = read_plan_header(plan)
        over.replay = True
        if args.scenario is not None:
            return load_scenario(args.scenario, over)
        return read_scenario(header.yaml, header.source or str(plan), Path(header.source).parent, over)
    if args.scenario is not None:
        return _scaled(args, over)
    return read_scenario(spelled(args), "command line", Path(), over)


def _scaled(args: argparse.Namespace, over: Overrides) -> Scenario:
    """A scenario by name or file, at the rate that --rate gives all of it together."""
    from loadgen.scenario.read import load_scenario  # noqa: PLC0415
    from loadgen.scenario.scale import scaled  # noqa: PLC0415

    given, args.load_rate = args.load_rate, None
    _refuse_load_flags(args, f"the load stands in {args.scenario}")
    scenario = load_scenario(args.scenario, over)
    return scenario if given is None else scaled(scenario, _positive(given, "--rate"))


def _refuse_load_flags(args: argparse.Namespace, why: str) -> None:
    given = [
        flag for flag, key, _ in (*CLASS_FLAGS, *ARRIVAL_FLAGS) if getattr(args, f"load_{key}") is not None
    ]
    given += [
        f"--{name}" for name in ("prefix", "sessions", "trace", "retries") if getattr(args, name) is not None
    ]
    given += [f"--{name}" for name in ("adapter", "header") if getattr(args, name)]
    given += [f"--{name.replace('_', '-')}" for name in ("no_stream", "ignore_eos") if getattr(args, name)]
    if given:
        raise ScenarioError(f"{why}: leave {', '.join(given)} out")


def _value(text: str) -> Any:
    """A flag's value as YAML reads it."""
    from kit.yamldoc import load_value  # noqa: PLC0415 - YAML, which --help need not pay
    from loadgen.scenario.yamlnodes import COMMAND_LINE  # noqa: PLC0415

    try:
        return load_value(text, COMMAND_LINE, ScenarioError)
    except ScenarioError as error:
        raise ScenarioError(f"{text!r} is no YAML value: {error.message}", COMMAND_LINE) from error


def _pairs(items: list[str], flag: str, separator: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in items:
        key, found, value = item.partition(separator)
        if not found or not key.strip():
            raise ScenarioError(f"{flag} must look like KEY{separator}VALUE, not {item!r}")
        pairs[key.strip()] = value.strip()
    return pairs


def _top(args: argparse.Namespace) -> dict[str, Any]:
    """What flags say outside of classes; laid over a scenario's own keys."""
    top: dict[str, Any] = {
        key: args_value for _, key, _ in TOP_FLAGS if (args_value := _given(args, f"top_{key}"))
    }
    for name in ("api_key_env", "redact"):
        if getattr(args, name):
            top[name] = getattr(args, name)
    if args.http2:
        top["http2"] = True
    if args.no_chunk_times:
        top["chunk_times"] = False
    tls = {"insecure": args.insecure or None, "ca": args.ca, "server_name": args.server_name}
    scrape = {
        "pods": args.scrape or None,
        "fleet": args.fleet,
        "stack": args.stack,
        "epp": args.epp or None,
        "prometheus": args.prometheus,
        "interval": args.scrape_interval,
        "decision_log": str(Path(args.decision_log).resolve()) if args.decision_log else None,
    }
    nested = {"tls": _kept(tls), "scrape": _kept(scrape)}
    top |= {key: value for key, value in nested.items() if value}
    if args.slo:
        top["slo"] = _pairs(args.slo, "--slo", "=")
    if args.expect:
        top["expect"] = list(args.expect)
    return top


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _given(args: argparse.Namespace, name: str) -> Any:
    text = getattr(args, name)
    return None if text is None else _value(text)


def spelled(args: argparse.Namespace) -> str:
    """The YAML of simple load from flags."""
    import yaml  # noqa: PLC0415

    document: dict[str, Any] = {"name": "flags", "classes": {"load": _load(args)}}
    for name in ("target", "model", "duration", "seed", "processes"):
        value = getattr(args, name)
        if value is not None:
            document[name] = value
    document.update(_top(args))
    return yaml.safe_dump(document, sort_keys=False)


def _load(args: argparse.Namespace) -> dict[str, Any]:
    """What flags say of the one class."""
    load = _values(args, CLASS_FLAGS)
    load["arrival"] = _values(args, ARRIVAL_FLAGS)
    if not load["arrival"] and args.trace is None and args.prompts is None:
        raise ScenarioError(
            "needs a scenario, or a load: --rate 50 --duration 30s, or --users 8 --requests 500"
        )
    if args.no_stream:
        load["stream"] = False
    if args.ignore_eos:
        load["ignore_eos"] = True
    if args.header:
        load["headers"] = _pairs(args.header, "--header", ":")
    if args.retries is not None:
        load["retry"] = {"attempts": args.retries}
    for name in ("prefix", "sessions"):
        if getattr(args, name) is not None:
            load[name] = _value(getattr(args, name))
    if args.adapter:
        weights = (item.partition("=") for item in args.adapter)
        load["adapters"] = {name: _value(weight) if weight else 1 for name, _, weight in weights}
    if (trace := _trace(args)) is not None:
        load["trace"] = trace
    return load


def _trace(args: argparse.Namespace) -> dict[str, Any] | None:
    """What flags say of the file that holds the requests; None without one."""
    if args.trace is not None and args.prompts is not None:
        raise ScenarioError("--prompts and --trace both say what is asked; leave one of them out")
    given = f"openai:{args.prompts}" if args.prompts is not None else args.trace
    if given is None:
        if args.trace_limit is not None:
            raise ScenarioError("--trace-limit needs --trace or --prompts")
        return None
    kind, found, file = given.partition(":")
    if not found:
        raise ScenarioError(f"--trace must look like FORMAT:FILE, as in azure:{given}, not {given!r}")
    trace: dict[str, Any] = {"format": kind, "file": str(Path(file).resolve())}
    if args.trace_limit is not None:
        trace["limit"] = args.trace_limit
    return trace


def _values(args: argparse.Namespace, flags: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """What was given of a table of flags, by key."""
    found = {key: _given(args, f"load_{key}") for _, key, _ in flags}
    return _kept(found)
