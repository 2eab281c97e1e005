"""One metric family as data: how it is called, and how its numbers are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from simulator.engine.stats import EngineStats

Source = Callable[[EngineStats], float | Sequence[float]]

V033 = "vllm-0.33"
V011 = "vllm-0.11"
LLMD = "llm-d-0.7"
VLLM = (V033, V011)
ALL = (V033, V011, LLMD)


@dataclass(frozen=True, slots=True)
class Family:
    """One family. `children` are the values of `label`, one series each; without `label` there is one series.

    `label` may name several, and a child then has as many values: both with commas. `source` reads a number,
    or one for each child; for a histogram it names the attribute of EngineStats. `only_with`: lora,
    kv-consumer, hidden (deprecated, shown on request), ...; `engine_label` False: vLLM leaves it out.
    """

    name: str  # without _total for counters
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    source: Source | str
    label: str = ""
    children: tuple[str, ...] = ()
    in_versions: tuple[str, ...] = (V033,)
    only_with: str = ""
    engine_label: bool = True
    shown_at_zero: bool = True  # llm-d-inference-sim shows most families only once they were touched

    @property
    def exposed_name(self) -> str:
        return self.name + "_total" if self.kind == "counter" else self.name


def zero(stats: EngineStats) -> float:
    return 0.0


def zeros(count: int) -> Source:
    nothing = (0.0,) * count
    return lambda stats: nothing
