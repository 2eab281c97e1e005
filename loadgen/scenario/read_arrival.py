"""Reads `arrival:`, distributions and inference-perf's `load:` out of a scenario's YAML."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, cast

from loadgen.scenario.scenario import EVERY_ROW, Arrival, Distribution, OnOff, Stage
from loadgen.scenario.yamlnodes import Node

KINDS = ("fixed", "uniform", "normal", "lognormal", "exponential", "empirical")
PROCESSES = ("constant", "poisson", "gamma", "clients", "burst", "trace", "closed")
RENEWAL = ("constant", "poisson", "gamma", "clients")
SHAPES = ("linear", "exponential")
Shape = Literal["linear", "exponential"]
MOST = 1e9  # more tokens or turns than anybody means, and few enough to count in 64 bits
IGNORED_LOAD_KEYS = (
    "num_workers",
    "worker_max_concurrency",
    "worker_max_tcp_connections",
    "request_timeout",
    "base_seed",
)


def read_distribution(node: Node, *, seconds: bool = False, low: float = 1.0) -> Distribution:
    """`128`, `{mean, stddev}`, `{min, max}`, `{values, weights}`, or with `distribution:` naming the kind.

    ScenarioError for anything else.
    """
    if not node.is_mapping:
        value = node.duration() if seconds else _bounded(node, float(node.integer(low)))
        return Distribution("fixed", mean=value, low=value, high=value)

    def read(child: Node) -> float:
        return child.duration() if seconds else _bounded(child, child.number(0))

    fields = {key: node.get(key) for key in ("mean", "stddev", "min", "max", "value")}
    numbers = {key: read(child) for key, child in fields.items() if child is not None}
    kind_node = node.get("distribution") or node.get("type")
    values_node, weights_node = node.get("values"), node.get("weights")
    values = tuple(read(item) for item in values_node.elements()) if values_node else ()
    weights = tuple(item.number(0) for item in weights_node.elements()) if weights_node else ()
    node.done()
    kind = kind_node.choice(KINDS) if kind_node else _guessed_kind(node, numbers, bool(values))
    if "value" in numbers:
        numbers.setdefault("mean", numbers.pop("value"))
    _check_kind(node, kind, numbers, values, weights)
    bottom = numbers.get("min", 0.0 if seconds else low)
    top = numbers.get("max", float("inf"))
    if top < bottom:
        raise node.error(f"max {top:g} is below min {bottom:g}")
    return Distribution(
        kind,  # type: ignore[arg-type]  # choice() made sure of it
        mean=numbers.get("mean", 0.0),
        stddev=numbers.get("stddev", 0.0),
        low=bottom,
        high=top,
        values=values,
        weights=weights,
    )


def _check_kind(
    node: Node, kind: str, numbers: dict[str, float], values: tuple[float, ...], weights: tuple[float, ...]
) -> None:
    """Everything that a distribution of this kind needs is there and fits together."""
    if weights and len(weights) != len(values):
        raise node.error(
            f"has {len(values)} values and {len(weights)} weights; give one weight to each value"
        )
    needed = {"uniform": ("min", "max"), "empirical": ()}.get(kind, ("mean",))
    for key in needed:
        if key not in numbers:
            raise node.error(f"a {kind} distribution needs `{key}:`")
    if kind == "empirical" and not values:
        raise node.error("an empirical distribution needs `values:`")
    if weights and not sum(weights):
        raise node.error("the weights of the values are all 0")
    if kind == "lognormal" and not numbers["mean"]:
        raise node.error("a lognormal distribution needs `mean:` above 0")


def _bounded(node: Node, value: float) -> float:
    if value > MOST:
        raise node.error(f"must be at most {MOST:g}, not {value:g}")
    return value


def _guessed_kind(node: Node, numbers: dict[str, float], has_values: bool) -> str:
    if has_values:
        return "empirical"
    if "mean" in numbers:
        return "normal" if numbers.get("stddev") else "fixed"
    if {"min", "max"} <= set(numbers):
        return "uniform"
    if "value" in numbers:
        return "fixed"
    raise node.error("needs mean (and stddev), min and max, or values")


def read_arrival(
    node: Node, duration: float | None, usual: str = "poisson", *, rows: bool = False
) -> Arrival:
    """An `arrival:` mapping; `duration` is the scenario's; `usual` the process when none is named.

    With `rows` a trace says how many requests there are, if nothing else does. ScenarioError for
    what does not go together.
    """
    kind_node = node.get("process")
    default = "closed" if node.get("users") else usual
    kind = kind_node.choice(PROCESSES) if kind_node else default
    base = _read_base(node, kind, duration, rows=rows)
    if kind in RENEWAL:
        arrival = _read_renewal(node, base)
    elif kind == "burst":
        arrival = _read_burst(node, base)
    elif kind == "closed":
        arrival = _read_closed(node, base)
    else:
        arrival = base
    node.done()
    return arrival


def _read_base(node: Node, kind: str, duration: float | None, *, rows: bool) -> Arrival:
    """What every process has: how many requests, for how long, and from when on."""
    requests_node = node.get("requests")
    requests = requests_node.integer(1) if requests_node else None
    duration_node = node.get("duration")
    own_duration = duration_node.duration(1e-3) if duration_node else duration
    if rows and requests is None and own_duration is None and kind != "trace":
        requests = EVERY_ROW
    offset_node, scale_node = node.get("offset"), node.get("time_scale")
    base = Arrival(
        kind,  # type: ignore[arg-type]  # choice() made sure of it
        requests=requests,
        duration=own_duration,
        offset=offset_node.duration() if offset_node else 0.0,
        time_scale=scale_node.number(1e-9) if scale_node else 1.0,
    )
    if scale_node is not None and kind != "trace":
        raise scale_node.error(f"scales the times of a trace, which `process: {kind}` does not take")
    return base


def _read_renewal(node: Node, base: Arrival) -> Arrival:
    burstiness_node = node.get("burstiness")
    if burstiness_node and base.process != "gamma":
        raise burstiness_node.error(f"only `process: gamma` has a burstiness, not {base.process}")
    burstiness = burstiness_node.number(1e-3) if burstiness_node else 1.0
    stages_node, rate_node = node.get("stages"), node.get("rate")
    on_off_node = node.get("on_off")
    if (stages_node is None) == (rate_node is None):
        raise node.error("needs either `rate:` or `stages:`")
    if stages_node is not None:
        stages = tuple(read_stage(item) for item in stages_node.elements())
        if not stages:
            raise stages_node.error("holds no stage")
    else:
        assert rate_node is not None
        stages = (_single_stage(node, rate_node, base),)
    if on_off_node is not None and math.isinf(stages[-1].duration):
        raise on_off_node.error("periods need `duration:`, besides `requests:`")
    return replace(
        base, stages=stages, burstiness=burstiness, on_off=read_on_off(on_off_node) if on_off_node else None
    )


def _single_stage(node: Node, rate_node: Node, base: Arrival) -> Stage:
    rate = rate_node.number(1e-6)
    to_node, shape_node = node.get("to"), node.get("shape")
    if base.duration is None and base.requests is None:
        raise node.error("needs `duration:` or `requests:` (here, or `duration:` at the top)")
    if to_node is not None and base.duration is None:
        raise to_node.error("a ramp needs `duration:`")
    return Stage(
        duration=base.duration if base.duration is not None else float("inf"),
        rate=rate,
        end_rate=to_node.number(1e-6) if to_node else None,
        shape=cast(Shape, shape_node.choice(SHAPES)) if shape_node else "linear",
    )


def read_stage(node: Node) -> Stage:
    """`{rate, duration}` as inference-perf has it, and `to`, `shape` for a ramp.

    ScenarioError for a ramp that has no such shape.
    """
    to_node, shape_node = node.get("to"), node.get("shape")
    shape = shape_node.choice(SHAPES) if shape_node else "linear"
    rate = node.need("rate").number(0)
    stage = Stage(
        duration=node.need("duration").duration(1e-3),
        rate=rate,
        end_rate=to_node.number(0) if to_node else None,
        shape=cast(Shape, shape),
    )
    if shape == "exponential" and (rate <= 0 or not stage.end_rate):
        raise node.error("an exponential ramp needs `rate:` and `to:` above 0")
    node.done()
    return stage


def read_on_off(node: Node) -> OnOff:
    """`{on: 5s, off: 10s, off_rate: 0, random: false}`; off_rate is a share of the stage's rate."""
    rate_node, random_node = node.get("off_rate"), node.get("random")
    result = OnOff(
        on=node.need("on").duration(1e-3),
        off=node.need("off").duration(1e-3),
        off_rate=rate_node.share() if rate_node else 0.0,
        random=random_node.boolean() if random_node else False,
    )
    node.done()
    return result


def _read_burst(node: Node, base: Arrival) -> Arrival:
    every_node = node.get("every")
    if every_node is None and base.requests is None:
        base = replace(base, requests=node.need("size").integer(1))
    if base.duration is None and base.requests is None:
        raise node.error("needs `duration:` or `requests:`")
    return replace(
        base,
        size=node.need("size").integer(1),
        every=every_node.duration(1e-3) if every_node else 1.0,
    )


def _read_closed(node: Node, base: Arrival) -> Arrival:
    users_node = node.get("users") or node.get("concurrency")
    think_node, pause_node = node.get("think"), node.get("pause_on_error")
    if users_node is None:
        raise node.error("a closed loop needs `users:`")
    if base.duration is None and base.requests is None:
        raise node.error("needs `duration:` or `requests:`")
    think = read_distribution(think_node, seconds=True, low=0.0) if think_node else None
    pause = pause_node.duration() if pause_node else base.pause_on_error
    return replace(base, users=users_node.integer(1), think=think, pause_on_error=pause)


def read_load(node: Node) -> Arrival:
    """inference-perf's `load:`; its `constant` is really constant here.

    ScenarioError for what this cannot do.
    """
    for key in IGNORED_LOAD_KEYS:
        node.get(key)
    kind_node, interval_node = node.get("type"), node.get("interval")
    kind = kind_node.choice(("constant", "poisson", "concurrent")) if kind_node else "constant"
    interval = interval_node.duration() if interval_node else 0.0
    stages_node = node.need("stages")
    items = list(stages_node.elements())
    node.done()
    if not items:
        raise stages_node.error("holds no stage")
    if kind == "concurrent":
        if len(items) > 1:
            raise items[1].error("one concurrent stage a run; give each its own run, or a class each")
        requests = items[0].need("num_requests").integer(1)
        users = items[0].need("concurrency_level").integer(1)
        items[0].done()
        return Arrival("closed", requests=requests, users=users)
    stages: list[Stage] = []
    for item in items:
        if stages and interval:
            stages.append(Stage(duration=interval, rate=0.0))
        stages.append(read_stage(item))
    return Arrival("poisson" if kind == "poisson" else "constant", stages=tuple(stages))
