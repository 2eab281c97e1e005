"""Several simulations, arms and seeds, in one process each or one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError, SimulateError
from gateway.picker.errors import PickerError
from gateway.simulate.inputs import Source, given, manifests_of, plan_of
from gateway.simulate.load import Load, Scaler
from gateway.simulate.picking import PickerChoice
from gateway.simulate.replicas.pods import Fleet, server_config
from gateway.simulate.rundir import About, RunDirectory
from gateway.simulate.simulation import Setting, Simulation
from gateway.simulate.summary import Slo, figures, load_figures, slo_figures
from simulator.errors import SimfleetError
from simulator.replay.world import World

_LOOKS = 300  # at how full the fleet is, over a run

Show = Callable[[str, int, int, float], None]  # label, requests done, planned, virtual seconds


@dataclass(frozen=True, slots=True)
class Order:
    """One simulation, as plain data that another process can be given. Times in seconds."""

    sources: tuple[str, ...]
    source: Source
    namespace: str = "default"
    replicas: int | None = None
    seed: int = 0
    arm: str | None = None
    repeat: int | None = None
    config: Path | None = None
    plugins: tuple[Path, ...] = ()
    gateway_delay: float = 0.0012
    scrape_every: float | None = None
    decisions: str = "brief"
    out: Path | None = None
    command: tuple[str, ...] = ()
    slo: tuple[Slo, ...] = ()  # with them the figures tell how they were kept, and how full the fleet was
    scaler: Scaler | None = None


def run_all(orders: Sequence[Order], jobs: int, show: Show | None = None) -> list[dict[str, Any]]:
    """The figures of each, in the order of `orders`. Raises GatewayError as a single one does."""
    if jobs == 1 or len(orders) == 1:
        return [run_one(order, show) for order in orders]
    # spawn: what a fork would copy of this process, plugins among it, is none of another's business
    with ProcessPoolExecutor(min(jobs, len(orders)), mp_context=get_context("spawn")) as pool:
        return list(pool.map(_run_apart, orders))


def _run_apart(order: Order) -> dict[str, Any]:
    """The same in a process of its own, whose errors must be pickled."""
    try:
        return run_one(order)
    except (GatewayError, SimfleetError) as error:
        raise SimulateError(str(error)) from None


def run_one(order: Order, show: Show | None = None) -> dict[str, Any]:
    """One simulation; its figures. Raises GatewayError for what cannot be simulated."""
    with tempfile.TemporaryDirectory(prefix="simfleet-simulate-") as name:
        scratch = Path(name)
        try:
            return _simulated(order, scratch, show)
        except SimfleetError as error:
            raise SimulateError(str(error)) from error
        except PickerError as error:
            raise SimulateError(f"the picker would not start: {error}") from error


def _simulated(order: Order, scratch: Path, show: Show | None) -> dict[str, Any]:
    manifests = manifests_of(order.sources, order.namespace, order.source, scratch)
    plan = plan_of(manifests, order.replicas)
    engine = server_config(plan, plan.servers[0], "probe", "127.0.0.2", scratch).engine
    found = given(order.source, order.seed, plan, engine, scratch)
    load = Load(max(1.0, found.feed.span / _LOOKS)) if order.slo else None

    def watch(world: World, fleet: Fleet, t0: float) -> None:
        if load is not None:
            load.start(world, fleet, t0)
        if order.scaler is not None:
            order.scaler.start(world, fleet, t0)

    setting = Setting(
        watcher=watch,
        picker=PickerChoice(order.config, order.plugins, order.seed),
        gateway_delay=order.gateway_delay,
        scrape_every=order.scrape_every or found.scrape_every or 1.0,
        decisions=order.decisions,
        events=found.events,
        seed=order.seed,
    )
    about = About(
        target="simulated",
        command=order.command,
        arm=order.arm,
        repeat=order.repeat,
        how={"clock": "virtual", "gateway_delay_s": f"{order.gateway_delay:g}", "seed": str(order.seed)},
        scenario=found.text,
    )
    feed, out = found.feed, order.out
    feed.notes += [] if order.source.trace is not None else found.notes
    simulation = Simulation(plan, feed, setting)
    label = "" if order.arm is None else f"{order.arm}, seed {order.seed}: "
    result = simulation.run(
        (lambda t0: RunDirectory(feed, about, out, t0)) if out is not None else None,
        None if show is None else lambda done, planned, seconds: show(label, done, planned, seconds),
    )
    return {
        "arm": order.arm or "manifests",
        "seed": order.seed,
        **figures(result),
        **({} if load is None else {**slo_figures(result, order.slo), **_loaded(load, result.seconds)}),
        "notes": [*found.notes, *result.notes],
        "directory": str(result.path) if result.path is not None else None,
    }


def _loaded(load: Load, seconds: float) -> dict[str, Any]:
    looks = load.until(seconds)
    return {
        "load": load_figures(load, seconds),
        "series": [[look.at, look.pods, look.waiting, look.kv_mean] for look in looks],
    }
