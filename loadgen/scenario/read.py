"""Reads a scenario from YAML: a file, a packaged one by name, or text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

import yaml

from kit.yamldoc import load_value
from loadgen.errors import ScenarioError
from loadgen.numbers.expect import ExpectError, check
from loadgen.scenario.overlay import laid_over
from loadgen.scenario.read_arrival import read_load
from loadgen.scenario.read_class import Context, Layers, read_class, weight_of
from loadgen.scenario.redaction import Secrets, take_out, take_out_line
from loadgen.scenario.scale import scaled
from loadgen.scenario.scenario import Arm, ClassSpec, Event, Expectation, FleetNeeds, Scenario, Scrape, Tls
from loadgen.scenario.yamlnodes import COMMAND_LINE, Node, parse_yaml

_MAX_NAME = 100
SLO_METRICS = ("ttft", "tpot", "itl", "ntpot", "e2e")


def packaged_names() -> list[str]:
    """Names of the scenarios that come with the package."""
    folder = resources.files("loadgen") / "scenarios"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def packaged_text(name: str) -> str:
    """YAML of a packaged scenario."""
    return (resources.files("loadgen") / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8")


def load_scenario(source: str, overrides: Overrides | None = None) -> Scenario:
    """A scenario from a YAML file's path, or from the name of a packaged one.

    ScenarioError with file and line when it cannot be used.
    """
    path = Path(source)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioError(f"cannot be read: {error}", file=path) from error
        return read_scenario(text, str(path), path.parent, overrides)
    if source in packaged_names():
        return read_scenario(packaged_text(source), f"{source}.yaml", Path(), overrides)
    names = ", ".join(packaged_names())
    raise ScenarioError(f"no such file, and no packaged scenario of that name ({names})", file=source)


@dataclass(slots=True, kw_only=True)
class Overrides:
    """What the command line says over the file: only values that were given."""

    model: str | None = None
    target: str | None = None
    seed: int | None = None
    duration: float | None = None
    processes: int | None = None
    extra: dict[str, object] = field(default_factory=dict)
    """Top-level keys laid over the file's: grace, tls, scrape, slo, expect ..."""
    secrets: Secrets = field(default_factory=Secrets)
    """Takes in what is taken out; the command line's own are in it already."""
    replay: bool = False
    """The load comes from a plan: trace files need not be there."""

    def plain(self, target: str | None) -> dict[str, object]:
        """What was given besides `extra`, as keys of a scenario; the target as it may be shown."""
        own = ("model", "seed", "processes", "duration")
        given: dict[str, object] = {"target": target, **{name: getattr(self, name) for name in own}}
        return {key: value for key, value in given.items() if value is not None}


def read_scenario(
    text: str, where: str, directory: Path | None = None, overrides: Overrides | None = None
) -> Scenario:
    """A scenario from YAML text; paths in it are relative to `directory`."""
    over = overrides or Overrides()
    secrets = over.secrets
    text, extra = take_out(text, secrets), take_out(yaml.safe_dump(over.extra), secrets)
    target_over = None if over.target is None else take_out_line(over.target, secrets)
    root = parse_yaml(text, where)
    if where != COMMAND_LINE:  # which the flags have spelt
        if over.extra:
            root.overlay(extra, COMMAND_LINE)
        text = laid_over(text, load_value(extra, COMMAND_LINE, ScenarioError) | over.plain(target_over))
    root.get("redact")
    rate = root.get("rate")
    name, description = root.get("name"), root.get("description")
    target = root.get("target")
    context = _read_context(root, directory or Path(), over)
    scenario = Scenario(
        name=_file_name(name, name.text()) if name else Path(where).stem,
        description=description.text() if description else "",
        classes=_read_classes(root, context),
        target=target_over or (target.text() if target else None),
        seed=_seed(root, over),
        source=where,
        text=text,
        secrets=secrets,
    )
    if (tokenizer := root.get("tokenizer")) is not None:
        scenario = replace(scenario, tokenizer=(directory or Path()) / tokenizer.text())
    scenario = _read_verdict(root, _read_conduct(root, scenario, over), directory or Path())
    root.done()
    return scenario if rate is None else scaled(scenario, rate.number(1e-6, 1e9))


def _seed(root: Node, over: Overrides) -> int:
    seed = root.get("seed")
    if over.seed is not None:
        return over.seed
    return seed.integer(0) if seed else 0


def _read_context(root: Node, directory: Path, over: Overrides) -> Context:
    """What all classes are read with."""
    model, duration, load = root.get("model"), root.get("duration"), root.get("load")
    return Context(
        model=over.model or (model.text() if model else None),
        duration=over.duration or (duration.duration(1e-3) if duration else None),
        load=read_load(load) if load else None,
        weight_sum=1.0,
        directory=directory,
        replay=over.replay,
    )


def _read_classes(root: Node, context: Context) -> tuple[ClassSpec, ...]:
    defaults, classes = root.get("defaults"), root.get("classes")
    if classes is None:
        if defaults is None:
            raise root.error("needs `classes:` (or `defaults:` for a single class)")
        return (read_class("default", defaults, None, context),)
    named = dict(_named(classes, "class"))
    if not named:
        raise classes.error("holds no class")
    layers = [Layers(node, defaults) for node in named.values()]
    sharing = [layer for layer in layers if layer.get("arrival") is None]
    if context.load is not None and context.load.process == "closed" and len(sharing) > 1:
        raise sharing[1].own.error(
            "a concurrent `load:` is one class's; give each class its own `arrival: {users: ...}`"
        )
    context = replace(context, weight_sum=sum(map(weight_of, sharing)) or 1.0)
    specs = tuple(read_class(key, node, defaults, context) for key, node in named.items())
    if defaults is not None:
        defaults.done()
    return specs


def _named(node: Node, what: str) -> list[tuple[str, Node]]:
    """`{name: {...}}` or `[{name: ..., ...}]`; no name twice."""
    if not node.is_list:
        return list(node.items().items())
    found: dict[str, Node] = {}
    for item in node.elements():
        name = item.need("name").text()
        if name in found:
            raise item.error(f"{what} {name} stands above already; give each a name of its own")
        found[name] = item
    return list(found.items())


def _read_conduct(root: Node, scenario: Scenario, over: Overrides) -> Scenario:
    processes, connections, in_flight = (
        root.get(key) for key in ("processes", "connections", "max_in_flight")
    )
    grace, ready, warmup, idle = (
        root.get(key) for key in ("grace", "ready_timeout", "warmup", "idle_timeout")
    )
    repeats = root.get("repeats")
    return replace(
        _read_wire(root, scenario),
        processes=over.processes or (processes.integer(1, 256) if processes else scenario.processes),
        connections=connections.integer(0) if connections else scenario.connections,
        max_in_flight=in_flight.integer(1) if in_flight else scenario.max_in_flight,
        grace=grace.duration() if grace else scenario.grace,
        ready_timeout=ready.duration() if ready else scenario.ready_timeout,
        idle_timeout=idle.duration(1e-3) if idle else scenario.idle_timeout,
        warmup=warmup.duration() if warmup else scenario.warmup,
        repeats=repeats.integer(1) if repeats else scenario.repeats,
    )


def _read_wire(root: Node, scenario: Scenario) -> Scenario:
    """How requests are sent and answers kept."""
    chunks, http2, tls, key = (root.get(key) for key in ("chunk_times", "http2", "tls", "api_key_env"))
    return replace(
        scenario,
        api_key_env=key.text() if key else None,
        chunk_times=chunks.boolean() if chunks else True,
        http2=http2.boolean() if http2 else False,
        tls=_read_tls(tls) if tls else Tls(),
    )


def _read_tls(node: Node) -> Tls:
    insecure, ca, name = node.get("insecure"), node.get("ca"), node.get("server_name")
    node.done()
    return Tls(
        insecure=insecure.boolean() if insecure else False,
        ca=ca.text() if ca else None,
        server_name=name.text() if name else None,
    )


def _read_verdict(root: Node, scenario: Scenario, directory: Path) -> Scenario:
    slo, expect, timeline = root.get("slo"), root.get("expect"), root.get("timeline")
    arms, scrape, fleet = root.get("arms"), root.get("scrape"), root.get("fleet")
    limits: dict[str, float] = {}
    if slo is not None:
        for metric in SLO_METRICS:
            node = slo.get(metric)
            if node is not None:
                limits[metric] = node.duration()
        slo.done()
    return replace(
        scenario,
        slo=limits,
        expect=tuple(map(_read_expectation, expect.elements())) if expect else (),
        timeline=tuple(_read_event(item) for item in timeline.elements()) if timeline else (),
        arms=tuple(_read_arm(name, node, directory) for name, node in _named(arms, "arm")) if arms else (),
        scrape=read_scrape(scrape, directory) if scrape else None,
        fleet=_read_fleet(fleet) if fleet else None,
    )


def _read_fleet(node: Node) -> FleetNeeds:
    replicas, args = node.get("replicas"), node.get("args")
    objectives, picker = node.get("objectives"), node.get("picker")
    config: object = None
    if picker is not None:
        picker.items()
        config = picker.value
    needs = FleetNeeds(
        replicas=replicas.integer(1) if replicas else None,
        args=tuple(item.text() for item in args.elements()) if args else (),
        objectives={key: item.integer() for key, item in objectives.items().items()} if objectives else {},
        picker=cast("dict[str, Any] | None", config),
    )
    node.done()
    return needs


def _read_event(node: Node) -> Event:
    run, url, method, body, name = (node.get(key) for key in ("run", "url", "method", "body", "name"))
    if (run is None) == (url is None):
        raise node.error("needs either `run:` (a shell command) or `url:` (a control-API call)")
    what = (run or url or node).text()
    if url is not None and not what.startswith(("http://", "https://")):
        raise url.error(f"must look like http://HOST:PORT/PATH, not {what!r}")
    event = Event(
        at=node.need("at").duration(),
        name=name.text() if name else what,
        run=run.text() if run else None,
        url=url.text() if url else None,
        method=method.text().upper() if method else "POST",
        body=body.text() if body else None,
        line=node.line,
    )
    node.done()
    return event


def _file_name(node: Node, name: str) -> str:
    """A name after which directories are called."""
    if not name or "/" in name or "\0" in name or name.startswith(".") or len(name.encode()) > _MAX_NAME:
        raise node.error(
            f"results are kept under this name: 1 to {_MAX_NAME} bytes, no '/', no '.' in front; not {name!r}"
        )
    return name


def _read_arm(name: str, node: Node, directory: Path) -> Arm:
    node.get("name")
    setup, teardown, target = node.get("setup"), node.get("teardown"), node.get("target")
    env, scrape = node.get("env"), node.get("scrape")
    arm = Arm(
        name=_file_name(node, name),
        setup=setup.text() if setup else None,
        teardown=teardown.text() if teardown else None,
        target=target.text() if target else None,
        env=env.strings() if env else {},
        scrape=read_scrape(scrape, directory) if scrape else None,
        line=node.line,
    )
    node.done()
    return arm


def _read_expectation(node: Node) -> Expectation:
    """Its grammar is checked before a run; which figures there are, only the run can say."""
    text = node.text()
    try:
        check(text)
    except ExpectError as error:
        raise node.error(str(error)) from error
    return Expectation(text, node.line)


OWN_STACKS = "simfleet ps --format json"


def read_scrape(node: Node, directory: Path) -> Scrape:
    """`{pods: [...], fleet: command or file, stack: NAME, epp: URL, prometheus: URL, interval: 1s}`."""
    pods, fleet, epp = node.get("pods"), node.get("fleet"), node.get("epp")
    prometheus, interval, log = node.get("prometheus"), node.get("interval"), node.get("decision_log")
    stack = node.get("stack")

    def texts(item: Node | None) -> tuple[str, ...]:
        if item is None:
            return ()
        return tuple(each.text() for each in item.elements()) if item.is_list else (item.text(),)

    result = Scrape(
        pods=texts(pods),
        fleet=fleet.text() if fleet else OWN_STACKS if stack else None,
        stack=stack.text() if stack else None,
        epp=texts(epp),
        prometheus=prometheus.text() if prometheus else None,
        interval=interval.duration(0.01) if interval else 1.0,
        decision_log=str(directory / log.text()) if log else None,
    )
    node.done()
    return result
