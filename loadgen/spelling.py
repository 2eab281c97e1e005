"""The scenario that the flags of `run`, `plan`, `sweep` and `compare` name or spell.

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
from loadgen.flags import ARRIVAL_FLAGS, CLASS_FLAGS, TOP_FLAGS, positive

if TYPE_CHECKING:
    from loadgen.scenario.read import Overrides
    from loadgen.scenario.scenario import Scenario


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

    given, args.load_rate = args.load_rate, None
    _refuse_load_flags(args, f"the load stands in {args.scenario}")
    if given is not None:
        over.extra["rate"] = positive(given, "--rate")
    return load_scenario(args.scenario, over)


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
    if "tokenizer" in top:
        top["tokenizer"] = str(Path(str(top["tokenizer"])).resolve())
    for name in ("api_key_env", "redact"):
        if getattr(args, name):
            top[name] = getattr(args, name)
    if args.http2:
        top["http2"] = True
    if args.no_chunk_times:
        top["chunk_times"] = False
    top |= _nested(args)
    if args.slo:
        top["slo"] = _pairs(args.slo, "--slo", "=")
    if args.expect:
        top["expect"] = list(args.expect)
    return top


def _nested(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """`tls:` and `scrape:`, where flags say something of them."""
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
    return {key: value for key, value in nested.items() if value}


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
