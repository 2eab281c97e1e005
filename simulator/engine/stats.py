"""Counters, gauges and histograms of one engine as plain numbers, updated at vLLM's moments.

Nothing here knows Prometheus. `exposition.py` reads these attributes; the engine's scheduler side and its
frontend side (`frontend.py`) write them. Durations are seconds. Bucket bounds: vLLM 0.33 `v1/metrics`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from simulator.engine.request import FinishReason
from simulator.engine.spec.settings import SpecStats

_TTFT = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0),
    *(40.0, 80.0, 160.0, 640.0, 2560.0),
)
_TPOT = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0),
    *(40.0, 80.0),
)
_LATENCY = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0),
    *(480.0, 960.0, 1920.0, 7680.0),
)
_ITERATION = (1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0)
_N = (1.0, 2.0, 5.0, 10.0, 20.0)
_PREEMPTIONS = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)

# vLLM 0.33's `offloading/metrics.py`
_OFFLOADS = (1e6, 5e6, 10e6, 20e6, 40e6, 60e6, 80e6, 100e6, 150e6, 200e6)
# vLLM 0.33's `nixl/stats.py`
_XFER = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 5.0)
_BYTES = tuple(float(2 ** (10 + i)) for i in range(1, 25, 2))
_DESCRIPTORS = (
    *(10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 400.0, 1000.0, 2000.0, 4000.0, 10000.0, 20000.0, 50000.0),
)

KV_FETCH_STAGES = ("waiting_to_start", "in_progress", "completed_waiting")


def buckets_1_2_5(max_value: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50, ... while not above `max_value` (vLLM's build_1_2_5_buckets)."""
    bounds: list[float] = []
    scale = 1
    while True:
        for mantissa in (1, 2, 5):
            if mantissa * scale > max_value:
                return tuple(bounds)
            bounds.append(float(mantissa * scale))
        scale *= 10


class Histogram:
    """Observations in buckets. `counts[i]` is not cumulative and belongs to `bounds[i]`; the last is +Inf."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0  # sum of the observed values

    def observe(self, value: float, times: int = 1) -> None:
        """Observe `value` `times` times; adds one product to the sum, not `times` terms."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def observe_all(self, values: Sequence[float], times: int) -> None:
        """As `observe` for each of them, one after the other."""
        total = self.total
        for value in values:
            total += value * times
        self.total = total
        lowest, highest = bisect_left(self.bounds, min(values)), bisect_left(self.bounds, max(values))
        if lowest == highest:
            self.counts[lowest] += times * len(values)
            return
        for value in values:
            self.counts[bisect_left(self.bounds, value)] += times

    @property
    def count(self) -> int:
        return sum(self.counts)


class EngineStats:
    """All numbers of one engine. Histogram attributes carry vLLM's family name without `vllm:`.

    `custom_buckets` maps a family name with or without `vllm:` to its bounds (--custom-histogram-buckets).
    """

    def __init__(
        self, max_model_len: int, custom_buckets: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        custom = {name.removeprefix("vllm:"): bounds for name, bounds in (custom_buckets or {}).items()}
        tokens = buckets_1_2_5(max_model_len)
        self.histograms: dict[str, Histogram] = {}

        def histogram(name: str, bounds: Sequence[float]) -> Histogram:
            made = self.histograms[name] = Histogram(custom.get(name, bounds))
            return made

        self.request_prompt_tokens = histogram("request_prompt_tokens", tokens)
        self.request_generation_tokens = histogram("request_generation_tokens", tokens)
        self.iteration_tokens_total = histogram("iteration_tokens_total", _ITERATION)
        self.request_max_num_generation_tokens = histogram("request_max_num_generation_tokens", tokens)
        self.request_params_n = histogram("request_params_n", _N)
        self.request_params_max_tokens = histogram("request_params_max_tokens", tokens)
        self.time_to_first_token_seconds = histogram("time_to_first_token_seconds", _TTFT)
        self.inter_token_latency_seconds = histogram("inter_token_latency_seconds", _TPOT)
        self.request_time_per_output_token_seconds = histogram("request_time_per_output_token_seconds", _TPOT)
        self.e2e_request_latency_seconds = histogram("e2e_request_latency_seconds", _LATENCY)
        self.request_queue_time_seconds = histogram("request_queue_time_seconds", _LATENCY)
        self.request_inference_time_seconds = histogram("request_inference_time_seconds", _LATENCY)
        self.request_prefill_time_seconds = histogram("request_prefill_time_seconds", _LATENCY)
        self.request_decode_time_seconds = histogram("request_decode_time_seconds", _LATENCY)
        self.request_num_preemptions = histogram("request_num_preemptions", _PREEMPTIONS)
        self.request_prefill_kv_computed_tokens = histogram("request_prefill_kv_computed_tokens", tokens)

        self._count_transfers(histogram)

        # Gauges: what the last step left behind.
        self.num_requests_running = 0
        self.num_requests_waiting_capacity = 0
        self.num_requests_waiting_deferred = 0
        self.kv_cache_usage = 0.0
        self.sleep_level = 0  # 0 awake, 1 weights offloaded, 2 everything discarded
        self.kv_fetch_by_stage = dict.fromkeys(KV_FETCH_STAGES, 0)
        # lora_requests_info: names in order of arrival. Apart, as endpoint pickers read them; and vLLM
        # 0.33's one set, adapters with a request in flight that has produced output.
        self.lora_running: tuple[str, ...] = ()
        self.lora_waiting: tuple[str, ...] = ()
        self.lora_active: tuple[str, ...] = ()
        self.lora_time: float | None = None  # engine clock of the last update; None: no step yet

        # Counters.
        self.prompt_tokens_local_compute = 0
        self.prompt_tokens_local_cache_hit = 0
        self.prompt_tokens_external = 0
        self.generation_tokens = 0
        self.prefix_cache_queries = 0
        self.prefix_cache_hits = 0
        self.external_prefix_cache_queries = 0
        self.external_prefix_cache_hits = 0
        self.num_preemptions = 0
        self.request_success = {reason.value: 0 for reason in FinishReason}
        self.spec: SpecStats | None = None  # of engines that speculate
        self.num_steps = 0  # steps that scheduled work; not a family of vLLM

    def _count_transfers(self, histogram: Callable[[str, Sequence[float]], Histogram]) -> None:
        """What connectors count: offloading to the host, and NIXL."""
        self.kv_offload_load_size = histogram("kv_offload_load_size", _OFFLOADS)
        self.kv_offload_store_size = histogram("kv_offload_store_size", _OFFLOADS)
        self.nixl_xfer_time_seconds = histogram("nixl_xfer_time_seconds", _XFER)
        self.nixl_post_time_seconds = histogram("nixl_post_time_seconds", (0.001, *_XFER))
        self.nixl_bytes_transferred = histogram("nixl_bytes_transferred", _BYTES)
        self.nixl_num_descriptors = histogram("nixl_num_descriptors", _DESCRIPTORS)
        self.host_cache_hits = 0  # tokens, of those of external_prefix_cache_hits
        self.kv_offload_load_bytes = 0
        self.kv_offload_load_time = 0.0
        self.kv_offload_store_bytes = 0
        self.kv_offload_store_time = 0.0
        self.nixl_failed_transfers = 0
        self.nixl_kv_expired = 0
        self.nixl_notifications_after_expiry = 0

    @property
    def num_requests_waiting(self) -> int:
        return self.num_requests_waiting_capacity + self.num_requests_waiting_deferred

    @property
    def prompt_tokens(self) -> int:
        """All prompt tokens, cached ones included."""
        return (
            self.prompt_tokens_local_compute
            + self.prompt_tokens_local_cache_hit
            + self.prompt_tokens_external
        )

    @property
    def prompt_tokens_cached(self) -> int:
        return self.prompt_tokens_local_cache_hit + self.prompt_tokens_external
