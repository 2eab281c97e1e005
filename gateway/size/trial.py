"""One number of replicas tried: manifests for a profile, and a simulation of them under the load."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gateway.simulate.batch import Order, run_one
from gateway.simulate.inputs import Source, loadgen, preset_text
from gateway.simulate.load import Scaler
from gateway.simulate.summary import Slo
from gateway.size.search import Found, bottleneck, search
from gateway.size.wanted import Kind


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be served, within which limits, on what; plain data, for other processes too."""

    source: Source
    slo: tuple[Slo, ...]
    manifests: str  # YAML
    namespace: str = "default"
    server_args: tuple[str, ...] = ()
    plugins: tuple[Path, ...] = ()
    seed: int = 0
    gateway_delay: float = 0.0012


def manifests_text(sources: Sequence[str], source: Source) -> str:
    """The manifests that are sized, as YAML: those given, or the lab as the scenario supposes it.

    Raises UsageError or SimulateError for files that cannot be read.
    """
    if sources:
        texts = [Path(name).read_text("utf-8") for name in sources]
        return "\n---\n".join(texts)
    text = preset_text()
    if source.scenario is None:
        return text
    with tempfile.TemporaryDirectory(prefix="simfleet-size-") as folder:
        file = Path(folder) / "lab.yaml"
        file.write_text(text, encoding="utf-8")
        return loadgen("scenarios", source.scenario, "--manifests", str(file))


def with_profile(load: Load, kind: Kind, folder: Path) -> Path:
    """The manifests with the kind's profile and the further flags of the model servers, as a file."""
    needs = {
        "name": "size",
        "model": "any",
        "duration": "1s",
        "fleet": {"args": ["--profile", kind.profile, *load.server_args]},
        "classes": {
            "any": {"arrival": {"process": "constant", "rate": 1}, "input_tokens": 1, "output_tokens": 1}
        },
    }
    supposed, base, made = folder / "needs.yaml", folder / "base.yaml", folder / "fleet.yaml"
    supposed.write_text(yaml.safe_dump(needs), encoding="utf-8")
    base.write_text(load.manifests, encoding="utf-8")
    made.write_text(loadgen("scenarios", str(supposed), "--manifests", str(base)), encoding="utf-8")
    return made


def figures_of(load: Load, kind: Kind, replicas: int, scaler: Scaler | None = None) -> dict[str, Any]:
    """A simulation with so many replicas. Raises GatewayError as `simfleet simulate` does."""
    with tempfile.TemporaryDirectory(prefix="simfleet-size-") as folder:
        return run_one(_order(load, kind, replicas, with_profile(load, kind, Path(folder)), scaler))


def _order(load: Load, kind: Kind, replicas: int, manifests: Path, scaler: Scaler | None) -> Order:
    return Order(
        sources=(str(manifests),),
        source=load.source,
        namespace=load.namespace,
        replicas=replicas,
        seed=load.seed,
        arm=kind.name,
        config=kind.picker,
        plugins=load.plugins,
        gateway_delay=load.gateway_delay,
        decisions="none",
        slo=load.slo,
        scaler=scaler,
    )


def sized(load: Load, kind: Kind, most: int, totals: tuple[int, int, float]) -> Found:
    """The search for one kind; `totals` are prompt and answer tokens of the load and its seconds."""
    with tempfile.TemporaryDirectory(prefix="simfleet-size-") as folder:
        order = _order(load, kind, 1, with_profile(load, kind, Path(folder)), None)

        def attempt(count: int) -> dict[str, Any]:
            return run_one(replace(order, replicas=count))

        return search(kind, attempt, most, bottleneck(kind.profile, *totals))
