"""From what the command line names to what is simulated: manifests, feed, and what a scenario supposes."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import SimulateError, UsageError
from gateway.manifests.load import Manifests, load
from gateway.simulate.feed import Feed, feed_of_plan, feed_of_trace, yaml_of_plan
from gateway.simulate.timeline import Event
from gateway.stack.plan import Plan, make_plan
from kit.children import python
from kit.durations import parse_seconds
from simulator.engine.config import EngineConfig
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.errors import ConfigError
from simulator.replay.trace import fitting, read_trace, scale_rate

_LOADGEN = "import sys; from loadgen.cli import main; sys.exit(main())"
_CHILD_S = 600.0  # a plan of millions of requests takes minutes
_ARRIVALS = 600  # looks at the replicas in a long run, at most
_LEAST_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Source:
    """What the load is: exactly one of `plan`, `scenario` (a name or a YAML file) and `trace`."""

    plan: Path | None = None
    scenario: str | None = None
    trace: Path | None = None
    limit: int | None = None
    rate_scale: float = 1.0
    model: str | None = None


def add_trace(group: argparse._ActionsContainer) -> None:
    """The flags of a trace, and the seed that everything else is drawn by."""
    add = group.add_argument
    add("--trace", type=Path, metavar="FILE", help="Mooncake's JSONL, an Azure CSV, or requests.jsonl")
    add("--limit", type=int, metavar="N", help="only the first N requests of the trace")
    add("--rate-scale", type=float, default=1.0, metavar="X", help="arrivals of the trace X times as fast")
    add("--seed", type=int, default=0, metavar="N", help="of the plan, the picker and the engines (0)")


@dataclass(slots=True)
class Given:
    """A feed with what its scenario says besides: events, looks at replicas, its text."""

    feed: Feed
    events: list[Event] = field(default_factory=list)
    scrape_every: float | None = None
    text: str | None = None
    notes: list[str] = field(default_factory=list)


def manifests_of(sources: Sequence[str], namespace: str, source: Source, scratch: Path) -> Manifests:
    """Those given, or the lab preset; a scenario's `fleet:` is applied to the preset.

    Raises ManifestError, or SimulateError where the scenario cannot be read.
    """
    if sources:
        return load(sources, namespace)
    lab = _lab()
    if source.scenario is None:
        return load(lab, namespace)
    told = scratch / "lab.yaml"
    told.write_text(preset_text(), encoding="utf-8")
    fitted = scratch / "fleet.yaml"
    fitted.write_text(loadgen("scenarios", source.scenario, "--manifests", str(told)), encoding="utf-8")
    return load([str(fitted)], namespace)


def _lab() -> list[str]:
    folder = files("gateway").joinpath("presets", "lab")
    return sorted(str(file) for file in folder.iterdir() if file.name.endswith(".yaml"))


def preset_text() -> str:
    """The lab preset as one stream of YAML documents."""
    return "---\n".join(Path(file).read_text("utf-8") for file in _lab())


def totals_of(source: Source, seed: int, scratch: Path) -> tuple[int, int, float]:
    """Prompt tokens that no request had before, answer tokens, and seconds of a load, as far as it says so.

    A plan counts words. UsageError for a source that cannot be read.
    """
    if source.trace is not None:
        return _totals_of_trace(source.trace, source)
    feed = feed_of_plan(_plan_file(source, seed, scratch))
    asks = [
        ask for unit in (*feed.opened, *(u for us in feed.closed.values() for u in us)) for ask in unit.asks
    ]
    fresh = sum(max(ask.prompt_tokens - ask.shared_tokens, 0) for ask in asks)
    return fresh, sum(ask.max_tokens or 0 for ask in asks), max(feed.span, 1.0)


def _totals_of_trace(trace: Path, source: Source) -> tuple[int, int, float]:
    try:
        rows = scale_rate(read_trace(trace, RegexTokenizer().encode, source.limit), source.rate_scale)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    seen: set[int] = set()
    prompt = 0
    for row in rows:
        for name, count in row.prompt.parts() if row.prompt.ids is None else ((-1, row.prompt.length),):
            if name < 0 or name not in seen:
                prompt += count
                seen.add(name)
    return prompt, sum(row.output_tokens for row in rows), rows[-1].arrival


def _plan_file(source: Source, seed: int, scratch: Path) -> Path:
    if source.plan is not None:
        return source.plan
    assert source.scenario is not None
    path = scratch / f"plan-{seed}.jsonl"
    loadgen("plan", source.scenario, "--seed", str(seed), "--out", str(path))
    return path


def plan_of(manifests: Manifests, replicas: int | None) -> Plan:
    """The plan of a stack. UsageError for manifests without model servers."""
    plan = make_plan(manifests, replicas)
    if not plan.servers:
        raise UsageError("nothing to simulate: these manifests have no InferencePool with pods")
    return plan


def given(source: Source, seed: int, plan: Plan, engine: EngineConfig, scratch: Path) -> Given:
    """The feed of a source. Raises UsageError or SimulateError for one that cannot be read."""
    if source.trace is not None:
        return _of_trace(source, plan, engine)
    path = _plan_file(source, seed, scratch)
    found = Given(feed_of_plan(path), text=yaml_of_plan(path))
    _read_scenario(found)
    return found


def _of_trace(source: Source, plan: Plan, engine: EngineConfig) -> Given:
    assert source.trace is not None
    try:
        rows = read_trace(source.trace, RegexTokenizer().encode, source.limit)
        kept, left_out = fitting(scale_rate(rows, source.rate_scale), engine)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    notes = [f"{source.trace}: {left_out}"] if left_out is not None else []
    if not kept:
        raise UsageError(f"{source.trace}: no request fits; {left_out}")
    feed = feed_of_trace(source.trace.stem, kept, source.model or first_model(plan))
    feed.notes += notes
    every = max(_LEAST_LOOK, feed.span / _ARRIVALS)
    return Given(feed, scrape_every=every, notes=notes)


def first_model(plan: Plan) -> str:
    """The name under which the first workload is served, as far as its arguments say it; else empty."""
    words = [str(word) for word in plan.servers[0].container.args]
    named = {"--served-model-name": "", "--model": ""}
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in named and not named[flag]:
            named[flag] = value if equals else "".join(words[number + 1 : number + 2])
    return named["--served-model-name"] or named["--model"]


def _read_scenario(found: Given) -> None:
    """Events and scrapes of the scenario that a plan carries; what is not simulated is told."""
    document: Any = yaml.safe_load(found.text) if found.text else None
    if not isinstance(document, dict):
        return
    for number, item in enumerate(document.get("timeline") or [], 1):
        name, run = str(item.get("name") or f"event {number}"), item.get("run")
        at = parse_seconds(str(item.get("at", 0)))
        found.events.append(Event(at, name, str(run) if run else f"call of {item.get('url')}"))
    scrape = document.get("scrape")
    if isinstance(scrape, dict) and "interval" in scrape:
        found.scrape_every = parse_seconds(str(scrape["interval"]))


def loadgen(*words: str) -> str:
    """What a command of loadgen prints. UsageError in its own words, SimulateError for one too slow."""
    try:
        done = subprocess.run(
            python("-c", _LOADGEN, *words), capture_output=True, text=True, timeout=_CHILD_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SimulateError(f"`loadgen {' '.join(words)}` did not end within {_CHILD_S:g} s") from error
    if done.returncode:
        raise UsageError(f"`loadgen {' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
