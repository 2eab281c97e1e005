"""Data parallelism as vLLM 0.33 serves it: which ranks this process is, and on how many ports.

internal (vLLM's default): all ranks behind one port, which balances. hybrid: the ranks of this node behind
one port. external: this process is one rank, somebody else balances. multi-port: a port for each rank,
which is also what llm-d-inference-sim does. Source: vLLM 0.33's `entrypoints/cli/serve.py` and
`engine/arg_utils.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.config.commandline.given import Values
from simulator.errors import ConfigError

Mode = Literal["internal", "hybrid", "external", "multi-port"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """`count` ranks from `first` on are here, of `size` in all."""

    mode: Mode = "internal"
    size: int = 1
    first: int = 0
    count: int = 1

    @property
    def num_ports(self) -> int:
        """Ports that listen: one, or one for each rank."""
        return self.count if self.mode == "multi-port" else 1


def ranks(values: Values, *, multi_port: bool) -> Ranks:
    """From the data-parallel flags; `multi_port`: without one of them each rank has a port of its own.

    Raises ConfigError where vLLM would not start.
    """
    size: int = values.get("data-parallel-size", 1)
    rank: int | None = values.get("data-parallel-rank", None)
    start: int | None = values.get("data-parallel-start-rank", None)
    local: int | None = values.get("data-parallel-size-local", None)
    external = values.get("data-parallel-external-lb", False) or rank is not None
    several = values.get("data-parallel-multi-port-external-lb", False)
    hybrid = values.get("data-parallel-hybrid-lb", False) or (start is not None and not several)
    if sum((bool(several), bool(external), bool(hybrid))) > 1:
        raise ConfigError(
            "--data-parallel-external-lb (or --data-parallel-rank), --data-parallel-hybrid-lb (or "
            "--data-parallel-start-rank) and --data-parallel-multi-port-external-lb exclude each other"
        )
    if local is not None and local > size:
        raise ConfigError(f"--data-parallel-size-local {local} is more than --data-parallel-size {size}")
    if external:
        return Ranks("external", size, rank or 0, 1)
    first, count = _here(size, start, local)
    if several or (multi_port and not hybrid):
        return Ranks("multi-port", size, first, count)
    if hybrid:
        return Ranks("hybrid", size, first, count)
    return Ranks("internal", size, 0, size)


def _here(size: int, start: int | None, local: int | None) -> tuple[int, int]:
    """The first of this node's ranks, and how many there are. Raises ConfigError for ranks past `size`."""
    first = start or 0
    count = size if local is None else max(local, 1)
    if first + count > size > 1:
        raise ConfigError(
            f"ranks {first} to {first + count - 1} are more than --data-parallel-size {size} has"
        )
    return first, count
