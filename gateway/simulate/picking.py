"""The picker of the manifests, with its own flags, configuration and plugins, on the world's clock."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import UsageError
from gateway.picker.app import FORGET_S, Picker
from gateway.picker.decisions import BRIEF_CANDIDATES, DecisionLog
from gateway.picker.options import parse_options
from gateway.simulate.replicas.pods import SeenDatastore
from gateway.simulate.replicas.ranks import Rank
from gateway.stack.pickers import goflags
from gateway.stack.pickers.make import check_config_file
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.pickers.reference import write_objectives
from gateway.stack.pickerset import PickerSet
from gateway.stack.plan import Plan
from simulator.replay.world import World

_ENCODER = msgspec.json.Encoder()
# Flags that say where a picker listens or reads; here it is told otherwise.
_OURS = frozenset(
    {"grpc-port", "grpc-health-port", "metrics-port", "pool-name", "pool-namespace", "endpoints-file"}
    | {"objectives-file", "decision-log", "decision-log-brief"}
)


@dataclass(frozen=True, slots=True)
class PickerChoice:
    """What the command line says about the picker. `config`: instead of the manifests'."""

    config: Path | None = None
    plugins: tuple[Path, ...] = ()
    seed: int = 0


class RunDecisions(DecisionLog):
    """The decision log of a run's directory: whole, and written in large pieces."""

    def __init__(self, path: Path, *, brief: bool) -> None:
        super().__init__(str(path), brief=brief)
        self._limit = None
        self.candidates = BRIEF_CANDIDATES if brief else None
        self._file = os.fdopen(os.dup(self._fd), "ab", buffering=1 << 20)

    def write(self, record: Mapping[str, Any]) -> None:
        self._file.write(_ENCODER.encode(record) + b"\n")

    def close(self) -> None:
        self._file.close()
        super().close()


def make_picker(plan: Plan, choice: PickerChoice, world: World, unseen: set[Rank], directory: Path) -> Picker:
    """The picker, knowing its objectives and no endpoint yet.

    Raises UsageError for manifests without exactly one picker, PickerConfigError as the picker itself does.
    """
    if len(plan.pickers) != 1:
        names = ", ".join(str(p.pool) for p in plan.pickers)
        raise UsageError(
            f"a simulation has one pool with a picker; these manifests have {len(plan.pickers)}"
            + (f": {names}" if names else " (see the notes of `simfleet lint`)")
        )
    options = PickerOptions("reference", choice.config, None, choice.plugins)
    spec = PickerSet(plan, directory, options, lambda _: None).spec_of(plan.pickers[0])
    check_config_file(spec)
    spec.directory.mkdir(parents=True, exist_ok=True)
    flags = goflags.without(spec.flags, _OURS | ({"config-file", "config-text"} if choice.config else set()))
    namespace, name = spec.pool_key
    flags += [
        ("pool-name", name),
        ("pool-namespace", namespace),
        ("endpoints-file", "told by the simulation"),
    ]
    if choice.config is not None:
        flags.append(("config-file", str(choice.config)))
    if (objectives := write_objectives(spec)) is not None:
        flags.append(("objectives-file", str(objectives)))
    flags += [("plugin", str(path)) for path in choice.plugins]
    parsed = parse_options(goflags.join(flags), spec.env)
    if parsed.seed is None:
        parsed.seed = choice.seed
    picker = Picker(parsed, SeenDatastore(name, namespace, world, unseen))
    picker.load_objects()
    world.at(world.now + FORGET_S, _forget_gone, world, picker)
    return picker


def _forget_gone(world: World, picker: Picker) -> None:
    picker.forget_gone()
    world.at(world.now + FORGET_S, _forget_gone, world, picker)
