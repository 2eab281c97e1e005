"""vllm:lora_requests_info, whose meaning changed between versions.

current: one series, the adapters that run and those that wait as they are now; what endpoint pickers take it
for. with-outputs (vLLM 0.11): running and waiting apart, set when a step had outputs. active (0.33): both
labels list the adapters that have produced output, set with every step. In the two vLLM meanings a label
combination once shown stays, with the time at which it was last true.
"""

from __future__ import annotations

import time
from typing import Literal

from kit.prometheus import escape, head, python_number
from simulator.config.compat import LoRAGauge
from simulator.engine.outputs import StepOutput
from simulator.engine.stats import EngineStats
from simulator.server.metrics.families import LORA_HELP, LORA_NAME

Meaning = LoRAGauge | Literal["fixed"]


class LoRAInfo:
    """The gauge of one engine. Values are unix times; the engine's clock is `time.monotonic`."""

    __slots__ = ("_clock_offset", "_max_loras", "_meaning", "_seen", "_stats", "_whole_seconds")

    def __init__(
        self, stats: EngineStats, max_loras: int, meaning: Meaning, whole_seconds: bool = False
    ) -> None:
        self._stats = stats
        self._max_loras = max_loras
        self._meaning = meaning
        self._whole_seconds = whole_seconds
        self._clock_offset = time.time() - time.monotonic()
        self._seen: dict[tuple[str, str], float] = {}
        if meaning == "current":
            self._seen["", ""] = time.time()

    @property
    def wants_steps(self) -> bool:
        """Whether `on_step` must be called for each step.

        Series that stay must not be missed between scrapes.
        """
        return self._meaning in ("active", "with-outputs")

    def on_step(self, step: StepOutput) -> None:
        stats = self._stats
        if self._meaning == "active":
            names = ",".join(stats.lora_active)
            self._seen[names, names] = self._clock_offset + step.end
        elif step.outputs:
            labels = ",".join(stats.lora_running), ",".join(stats.lora_waiting)
            self._seen[labels] = self._clock_offset + step.end

    def show(self, series: list[tuple[str, str, float]]) -> None:
        """Show these (running, waiting, unix time) and nothing else: fake metrics."""
        self._meaning = "fixed"
        self._seen = {(running, waiting): when for running, waiting, when in series}

    def render(self) -> str:
        """The family as text."""
        if self._meaning == "current":
            self._refresh()
        lines = [head(LORA_NAME, LORA_HELP, "gauge")]
        for (running, waiting), when in self._seen.items():
            value = float(int(when)) if self._whole_seconds else when
            lines.append(
                f'{LORA_NAME}{{max_lora="{self._max_loras}",running_lora_adapters="{escape(running)}",'
                f'waiting_lora_adapters="{escape(waiting)}"}} {python_number(value)}\n'
            )
        return "".join(lines)

    def _refresh(self) -> None:
        stats = self._stats
        if stats.lora_time is None:
            return
        labels = ",".join(stats.lora_running), ",".join(stats.lora_waiting)
        self._seen = {labels: self._clock_offset + stats.lora_time}
