"""llm-d-inference-sim's --fake-metrics: numbers to show instead of an engine's.

`FakeStats` is an EngineStats that was never near an engine: constants are written once, and values that are
functions of time ("oscillate:0:10:30s") are computed when the exposition asks, no oftener than the refresh
interval.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.config.flags.values import duration
from simulator.engine.stats import EngineStats, Histogram
from simulator.errors import ConfigError

FUNCTIONS: dict[str, Callable[[float], float]] = {
    # fraction of the period -> position between start (0) and end (1)
    "oscillate": lambda x: 0.5 + 0.5 * math.sin(2 * math.pi * x),
    "ramp": lambda x: min(x, 1.0),
    "rampreset": lambda x: x % 1.0,
    "squarewave": lambda x: float(x % 1.0 >= 0.5),
}
_GAUGES = {
    "running-requests": "num_requests_running",
    "waiting-requests": "num_requests_waiting_capacity",
    "kv-cache-usage": "kv_cache_usage",
}
_HISTOGRAMS = {
    "ttft-buckets-values": "time_to_first_token_seconds",
    "tpot-buckets-values": "inter_token_latency_seconds",
    "e2erl-buckets-values": "e2e_request_latency_seconds",
    "queue-time-buckets-values": "request_queue_time_seconds",
    "inf-time-buckets-values": "request_inference_time_seconds",
    "prefill-time-buckets-values": "request_prefill_time_seconds",
    "decode-time-buckets-values": "request_decode_time_seconds",
    "request-tpot-buckets-values": "request_time_per_output_token_seconds",
    "request-prompt-tokens": "request_prompt_tokens",
    "request-generation-tokens": "request_generation_tokens",
    "request-params-max-tokens": "request_params_max_tokens",
    "request-max-generation-tokens": "request_max_num_generation_tokens",
}
_COUNTERS = {
    "total-prompt-tokens": "prompt_tokens_local_compute",
    "total-generation-tokens": "generation_tokens",
    "prefix-cache-hits": "prefix_cache_hits",
    "prefix-cache-queries": "prefix_cache_queries",
}
_KEYS = (*_GAUGES, *_HISTOGRAMS, *_COUNTERS, "loras", "request-success-total")


@dataclass(frozen=True, slots=True)
class Function:
    """`shape` over `period` seconds from `start` to `end`."""

    shape: Callable[[float], float]
    start: float
    end: float
    period: float

    def at(self, seconds: float) -> float:
        return self.start + (self.end - self.start) * self.shape(seconds / self.period)


def parse_function(text: str, where: str) -> Function:
    """`name:start:end:period`; raises ConfigError."""
    parts = text.split(":")
    if len(parts) != 4:
        raise ConfigError(
            f"{where}: need func:start:end:period in fake metric generation function, not {text!r}"
        )
    shape = FUNCTIONS.get(parts[0])
    if shape is None:
        raise ConfigError(
            f"{where}: invalid fake metrics generation function {parts[0]}, must be one of the following: "
            f"{', '.join(FUNCTIONS)}"
        )
    try:
        start, end = float(parts[1]), float(parts[2])
    except ValueError:
        raise ConfigError(f"{where}: start and end of {text!r} must be numbers") from None
    period = duration(parts[3], where)
    if period <= 0:
        raise ConfigError(f"{where}: the period of {text!r} must be positive")
    return Function(shape, start, end, period)


class FakeStats(EngineStats):
    """Statistics as given. Reading a gauge that is a function moves it."""

    def __init__(
        self, given: Mapping[str, Any], max_model_len: int, reasons: Sequence[str], refresh: float = 0.1
    ) -> None:
        self._functions: dict[str, Function] = {}
        self._whole = {"num_requests_running", "num_requests_waiting_capacity"}
        self._began = time.monotonic()
        self._refresh = refresh
        super().__init__(max_model_len)
        self.lora_series: list[tuple[str, str, float]] = []
        self.replace(given, reasons)

    def replace(self, given: Mapping[str, Any], reasons: Sequence[str]) -> None:
        """Show other values from now on; raises ConfigError without a change to anything."""
        validate(given, self, reasons)
        for key, value in given.items():
            if key in _GAUGES:
                self._set_gauge(_GAUGES[key], value, key)
            elif key in _HISTOGRAMS:
                _fill(self.histograms[_HISTOGRAMS[key]], value)
            elif key in _COUNTERS:
                setattr(self, _COUNTERS[key], value)
        self.request_success.update(given.get("request-success-total", {}))
        self._set_loras(given.get("loras", ()))

    def refresh(self) -> None:
        """Move what moves; the exposition calls this before it reads."""
        if not self._functions:
            return
        elapsed = (time.monotonic() - self._began) // self._refresh * self._refresh
        for attribute, function in self._functions.items():
            value = function.at(elapsed)
            setattr(self, attribute, int(value) if attribute in self._whole else value)

    def _set_gauge(self, attribute: str, value: Any, key: str) -> None:
        self._functions.pop(attribute, None)
        if isinstance(value, str):
            self._functions[attribute] = parse_function(value, f"fake metrics {key}")
        else:
            setattr(self, attribute, value)

    def _set_loras(self, given: Sequence[Any]) -> None:
        entries = [json.loads(entry) if isinstance(entry, str) else entry for entry in given]
        self.lora_series = [
            (entry.get("running", ""), entry.get("waiting", ""), float(entry.get("timestamp", 0)))
            for entry in entries
        ]


def _fill(histogram: Histogram, counts: Sequence[int]) -> None:
    """`counts[i]` observations at bound i; those beyond the last bound, of one more than it."""
    histogram.counts = [0] * (len(histogram.bounds) + 1)
    histogram.total = 0.0
    values = (*histogram.bounds, histogram.bounds[-1] + 1)
    for value, count in zip(values, counts, strict=False):
        histogram.observe(value, count)


def validate(given: Mapping[str, Any], stats: EngineStats, reasons: Sequence[str]) -> None:
    """Raise ConfigError, in llm-d-inference-sim's words where it has some."""
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise ConfigError(f"fake metrics: unknown key {unknown[0]!r}; there are {', '.join(_KEYS)}")
    for key in _GAUGES:
        _validate_gauge(key, given.get(key, 0))
    for key, attribute in _HISTOGRAMS.items():
        _validate_counts(key, given.get(key, ()), len(stats.histograms[attribute].counts))
    for key in _COUNTERS:
        if not _is_count(given.get(key, 0)):
            raise ConfigError(f"fake metrics {key} cannot be negative and must be an integer")
    if ("prefix-cache-hits" in given) != ("prefix-cache-queries" in given):
        raise ConfigError("fake metrics prefix-cache-hits and prefix-cache-queries must be given together")
    if given.get("prefix-cache-hits", 0) > given.get("prefix-cache-queries", 0):
        raise ConfigError("fake metrics prefix-cache-hits cannot be more than prefix-cache-queries")
    for reason, count in given.get("request-success-total", {}).items():
        if reason not in reasons:
            raise ConfigError(
                f"invalid finish reason in request-success-total: {reason} "
                f"(valid reasons: {', '.join(reasons)})"
            )
        if not _is_count(count):
            raise ConfigError("fake metrics request-success-total cannot be negative")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _validate_gauge(key: str, value: Any) -> None:
    if isinstance(value, str):
        function = parse_function(value, f"fake metrics {key}")
        low, high = min(function.start, function.end), max(function.start, function.end)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low = high = float(value)
    else:
        raise ConfigError(f"fake metrics {key}: {value!r} is neither a number nor a function")
    if key == "kv-cache-usage" and not 0 <= low <= high <= 1:
        raise ConfigError("fake metrics KV cache usage must be between 0 and 1")
    if low < 0:
        raise ConfigError("fake metrics request counters cannot be negative")


def _validate_counts(key: str, value: Any, most: int) -> None:
    if not isinstance(value, list | tuple) or not all(_is_count(count) for count in value):
        raise ConfigError(f"fake metrics {key} must be a list of counts, one for each bucket")
    if len(value) > most:
        raise ConfigError(f"fake metrics {key} array is too long: {len(value)} counts for {most} buckets")
