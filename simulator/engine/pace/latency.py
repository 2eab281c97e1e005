"""How long work takes: the LatencyModel Protocol and its three implementations.

Durations are seconds (float); nothing here reads a clock. Randomness comes from a generator that the model
owns, so the same calls with the same seed give the same durations.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Protocol

from simulator.engine.request import LoRARequest, Request
from simulator.errors import ConfigError


@dataclass(slots=True)
class BatchShape:
    """What one engine step computes: the variables of the step model."""

    prefill_tokens: int = 0  # sum of prefill chunks
    num_prefills: int = 0
    prefill_attention: float = 0.0  # sum over prefill chunks of chunk * (prior_context + chunk / 2)
    num_decodes: int = 0
    decode_kv_tokens: int = 0  # sum of the contexts of the decoding sequences
    draft_tokens: int = 0  # speculative decoding: verified beside the decodes' own tokens

    @property
    def num_sequences(self) -> int:
        return self.num_prefills + self.num_decodes


class LatencyModel(Protocol):
    """Durations of steps (lockstep) or of single sequences (not lockstep).

    `lockstep` True: one duration per step for the whole batch; only `step_seconds` is asked. False: each
    sequence has a timeline of its own; only `sequence_seconds` is asked. `factor` multiplies every
    duration and may be changed while running (1.0 as made).
    """

    lockstep: bool
    factor: float

    def step_seconds(self, batch: BatchShape) -> float: ...

    def decode_line(self, num_decodes: int) -> tuple[float, float] | None:
        """(a, b) with step_seconds == a + b * decode_kv_tokens, bit for bit, for a batch of decodes only.

        None where steps of decodes are no such line (jitter, own timelines).
        Ask again after `factor` changed.
        """

    def sequence_seconds(
        self,
        request: Request,
        num_new_tokens: int,
        is_prefill: bool,
        num_running: int,
    ) -> float:
        """Seconds until this sequence's scheduled work is done; `num_running` counts it too."""

    def kv_transfer_seconds(self, request: Request, num_tokens: int) -> float:
        """Seconds to pull the KV cache of `num_tokens` tokens from a prefill server."""

    def lora_load_seconds(self, lora: LoRARequest) -> float: ...


class ZeroLatency:
    """Everything takes no time: for tests and for measuring the simulator itself."""

    lockstep = True
    factor = 1.0

    def step_seconds(self, batch: BatchShape) -> float:
        return 0.0

    def decode_line(self, num_decodes: int) -> tuple[float, float] | None:
        return 0.0, 0.0

    def sequence_seconds(
        self,
        request: Request,
        num_new_tokens: int,
        is_prefill: bool,
        num_running: int,
    ) -> float:
        return 0.0

    def kv_transfer_seconds(self, request: Request, num_tokens: int) -> float:
        return 0.0

    def lora_load_seconds(self, lora: LoRARequest) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class StepCoefficients:
    """The step model in microseconds, and tokens for `k` (the knee between the two slopes).

    step = c0 + c1 * min(tok, k) + c2 * max(0, tok - k) + c3 * sequences + c4 * decode_kv_tokens
         + c5 * prefill_attention, with tok = prefill tokens + decodes.
    """

    c0: float
    c1: float
    c2: float
    k: int
    c3: float
    c4: float
    c5: float

    def __post_init__(self) -> None:
        for name in ("c0", "c1", "c2", "k", "c3", "c4", "c5"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"step coefficient {name} is {getattr(self, name)}, must be 0 or more")


@dataclass(frozen=True, slots=True)
class HostOverhead:
    """Microseconds that the engine's own process adds to the kernels of a step."""

    per_step_us: float = 0.0
    per_sequence_us: float = 0.0

    def __post_init__(self) -> None:
        if self.per_step_us < 0 or self.per_sequence_us < 0:
            raise ConfigError("host overhead must be 0 us or more per step and per sequence")


@dataclass(frozen=True, slots=True)
class TransferTimes:
    """Seconds: pulling remote KV cache (a constant, or per token where that is 0) and loading an adapter."""

    kv_latency: float = 0.0
    kv_latency_std_dev: float = 0.0
    kv_per_token: float = 0.0
    kv_per_token_std_dev: float = 0.0  # of the whole transfer, as llm-d-inference-sim has it
    lora_load: float = 0.0

    def kv_seconds(self, num_tokens: int, rng: Random) -> float:
        if self.kv_latency:
            return draw(rng, self.kv_latency, self.kv_latency_std_dev)
        return draw(rng, num_tokens * self.kv_per_token, self.kv_per_token_std_dev)


def draw(rng: Random, mean: float, std_dev: float) -> float:
    """N(mean, std_dev) held within 30 % and 170 % of the mean, as llm-d-inference-sim does."""
    if not std_dev:
        return mean
    return min(max(rng.gauss(mean, std_dev), 0.3 * mean), 1.7 * mean)


class StepModel:
    """One duration per step for the whole batch: kernels by six coefficients, plus the host's overhead.

    `jitter` is the standard deviation of a step as a share of its mean (0: none), `drafting` the seconds
    that the drafter adds to each step.
    """

    lockstep = True

    def __init__(
        self,
        coefficients: StepCoefficients,
        host: HostOverhead | None = None,
        transfer: TransferTimes | None = None,
        *,
        jitter: float = 0.0,
        seed: int = 0,
        drafting: float = 0.0,
    ) -> None:
        self.coefficients = coefficients
        self.host = host or HostOverhead()
        self.factor = 1.0
        self._transfer = transfer or TransferTimes()
        self._jitter = jitter
        self._drafting = drafting  # seconds of a step that go to drafts
        self._rng = Random(seed)
        # in seconds, so that the step itself is a handful of multiplications
        self._base = (coefficients.c0 + self.host.per_step_us) * 1e-6
        self._low, self._high, self._knee = coefficients.c1 * 1e-6, coefficients.c2 * 1e-6, coefficients.k
        self._sequence = (coefficients.c3 + self.host.per_sequence_us) * 1e-6
        self._kv, self._attention = coefficients.c4 * 1e-6, coefficients.c5 * 1e-6

    def _fixed(self, num_tokens: int, num_sequences: int) -> float:
        over = num_tokens - self._knee
        linear = self._low * num_tokens if over <= 0 else self._low * self._knee + self._high * over
        return self._base + linear + self._sequence * num_sequences

    def step_seconds(self, batch: BatchShape) -> float:
        """A step that schedules nothing takes no time."""
        decodes, prefills = batch.num_decodes, batch.num_prefills
        if not decodes and not prefills:
            return 0.0
        factor = self.factor
        tokens = batch.prefill_tokens + decodes + batch.draft_tokens
        seconds = (
            self._fixed(tokens, prefills + decodes) * factor + self._kv * factor * batch.decode_kv_tokens
        )
        if self._drafting:
            seconds += self._drafting * factor
        if prefills:
            seconds += self._attention * factor * batch.prefill_attention
        return draw(self._rng, seconds, self._jitter * seconds) if self._jitter else seconds

    def decode_line(self, num_decodes: int) -> tuple[float, float] | None:
        if self._jitter:
            return None
        return self._fixed(num_decodes, num_decodes) * self.factor, self._kv * self.factor

    def sequence_seconds(
        self,
        request: Request,
        num_new_tokens: int,
        is_prefill: bool,
        num_running: int,
    ) -> float:
        """The step of this sequence alone; a lockstep engine does not ask."""
        if not is_prefill:
            context = len(request.prompt_token_ids) + len(request.output_token_ids)
            return self.step_seconds(BatchShape(num_decodes=1, decode_kv_tokens=context))
        attention = num_new_tokens * (request.num_computed_tokens + num_new_tokens / 2)
        return self.step_seconds(BatchShape(num_new_tokens, 1, attention))

    def kv_transfer_seconds(self, request: Request, num_tokens: int) -> float:
        return self._transfer.kv_seconds(num_tokens, self._rng) * self.factor

    def lora_load_seconds(self, lora: LoRARequest) -> float:
        return self._transfer.lora_load * self.factor


@dataclass(frozen=True, slots=True)
class ConstantTimes:
    """The latency flags of llm-d-inference-sim, in seconds.

    Prefill is `time_to_first_token` where that (or its deviation) is set, else overhead plus time per
    uncached token; `calculator` "constant" or "per-token" forces one of them.
    """

    time_to_first_token: float = 0.0
    time_to_first_token_std_dev: float = 0.0
    inter_token_latency: float = 0.0
    inter_token_latency_std_dev: float = 0.0
    prefill_overhead: float = 0.0
    prefill_time_per_token: float = 0.0
    prefill_time_std_dev: float = 0.0
    time_factor_under_load: float = 1.0
    max_num_seqs: int = 5
    calculator: str = ""
    transfer: TransferTimes = TransferTimes()

    def __post_init__(self) -> None:
        durations = (
            ("time to first token", self.time_to_first_token, self.time_to_first_token_std_dev, True),
            ("inter token latency", self.inter_token_latency, self.inter_token_latency_std_dev, True),
            ("prefill overhead", self.prefill_overhead, 0.0, False),
            ("prefill time per token", self.prefill_time_per_token, self.prefill_time_std_dev, False),
            ("kv-cache transfer latency", self.transfer.kv_latency, self.transfer.kv_latency_std_dev, True),
            (
                "kv-cache transfer time per token",
                self.transfer.kv_per_token,
                self.transfer.kv_per_token_std_dev,
                False,
            ),
        )
        for name, mean, std_dev, bounded in durations:
            if mean < 0:
                raise ConfigError(f"{name} cannot be negative")
            if std_dev < 0:
                raise ConfigError(f"{name} standard deviation cannot be negative")
            if bounded and std_dev > 0.3 * mean * (1 + 1e-9):  # 30 % typed in decimal must pass
                raise ConfigError(f"{name} standard deviation cannot be more than 30% of {name}")
        if self.time_factor_under_load < 1.0:
            raise ConfigError("time factor under load cannot be less than 1.0")
        if self.calculator not in {"", "constant", "per-token"}:
            raise ConfigError(
                f"unknown latency-calculator {self.calculator}, "
                "supported calculators are: constant and per-token"
            )

    @property
    def constant_prefill(self) -> bool:
        if self.calculator:
            return self.calculator == "constant"
        return self.time_to_first_token > 0 or self.time_to_first_token_std_dev > 0


class ConstantLatency:
    """Each sequence on a timeline of its own, as llm-d-inference-sim has it, to the microsecond.

    The load factor is 1 + (time_factor_under_load - 1) * (running - 1) / (max_num_seqs - 1): exactly 1 for a
    lone request. A prompt computed in several chunks shares its time among them by their tokens.
    """

    lockstep = False

    def __init__(self, times: ConstantTimes, *, seed: int = 0) -> None:
        self.factor = 1.0
        self._rng = Random(seed)
        self.change(times)

    def change(self, times: ConstantTimes) -> None:
        """Other times from now on; what is under way ends as it was begun."""
        self.times = times
        self._constant_prefill = times.constant_prefill
        self._load_slope = (
            (times.time_factor_under_load - 1.0) / (times.max_num_seqs - 1) if times.max_num_seqs > 1 else 0.0
        )

    def step_seconds(self, batch: BatchShape) -> float:
        """0: a step of this model starts sequences, it does not hold them."""
        return 0.0

    def decode_line(self, num_decodes: int) -> tuple[float, float] | None:
        return None

    def sequence_seconds(
        self,
        request: Request,
        num_new_tokens: int,
        is_prefill: bool,
        num_running: int,
    ) -> float:
        load = 1.0 + self._load_slope * max(0, num_running - 1)
        if is_prefill:
            return self._prefill(request, num_new_tokens, load) * self.factor
        times = self.times
        seconds = draw(self._rng, times.inter_token_latency * load, times.inter_token_latency_std_dev)
        return seconds * self.factor

    def _prefill(self, request: Request, num_new_tokens: int, load: float) -> float:
        params = request.kv_transfer_params
        if params and params.get("do_remote_prefill"):
            return 0.0  # kv_transfer_seconds was the whole of it
        times = self.times
        num_tokens = len(request.prompt_token_ids) + len(request.output_token_ids)
        uncached = max(num_tokens - max(request.num_cached_tokens, 0), num_new_tokens, 1)
        if self._constant_prefill:
            whole = draw(self._rng, times.time_to_first_token * load, times.time_to_first_token_std_dev)
        else:
            mean = (times.prefill_overhead + uncached * times.prefill_time_per_token) * load
            whole = draw(self._rng, mean, times.prefill_time_std_dev)
        return whole * num_new_tokens / uncached

    def kv_transfer_seconds(self, request: Request, num_tokens: int) -> float:
        return self.times.transfer.kv_seconds(num_tokens, self._rng) * self.factor

    def lora_load_seconds(self, lora: LoRARequest) -> float:
        return self.times.transfer.lora_load * self.factor
