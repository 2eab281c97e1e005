"""The engine's part of a configuration: EngineConfig and the latencies, as given and as it follows.

Where neither flag nor profile says a number, the defaults are vLLM's on a GPU of 24 GB (256 sequences, 2048
tokens a step), or llm-d-inference-sim's with --compat llm-d-0.7.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from simulator.config.commandline.given import Values
from simulator.config.compat import Compat
from simulator.config.profilefile import find_profile
from simulator.config.serve import LatencyConfig
from simulator.config.speculation import is_synchronous, spec_config
from simulator.engine.config import EngineConfig, HashAlgo
from simulator.engine.pace.profiles import Profile
from simulator.errors import ConfigError

_DEFAULT_MODEL_LEN = 32768
_KV_BYTES_PER_TOKEN = 131072  # Llama-3.1-8B in bfloat16, where no profile says otherwise
_KV_ROLES = ("kv_producer", "kv_consumer", "kv_both")
_STEP_KEYS = ("c0", "c1", "c2", "k", "c3", "c4", "c5")


def profile(values: Values) -> Profile | None:
    """The step model of that name or file; raises ConfigError with what there is."""
    name = values.text("profile")
    if name is None:
        return None
    return find_profile(name, values.where("profile"))


def engine_config(
    values: Values, compat: Compat, seed: int, enable_lora: bool
) -> tuple[EngineConfig, list[str]]:
    """The engine of this configuration, and warnings for a person."""
    warnings: list[str] = []
    machine = profile(values)
    block_size = values.get("block-size", 16)
    max_model_len = _max_model_len(values, compat)
    num_gpu_blocks = _num_gpu_blocks(values, machine, block_size, max_model_len, compat)
    if compat.kv_cache_bounds_context:
        max_model_len = _fitting_model_len(values, max_model_len, block_size, num_gpu_blocks, warnings)
    usual = compat.max_num_seqs or (machine.gpu.max_num_seqs if machine else 256)
    max_num_seqs = values.get("max-num-seqs", usual)
    chunked = values.get("enable-chunked-prefill", True)
    budget = values.get("max-num-batched-tokens", machine.gpu.max_num_batched_tokens if machine else 2048)
    if not chunked and "max-num-batched-tokens" not in values:
        budget = max(budget, max_model_len)
    connector = kv_connector(values)
    caching = values.get("enable-prefix-caching", True)
    spec, said = spec_config(values, caching=caching, connector=connector is not None)
    warnings += said
    if spec is not None and latency_config(values).kind == "constant":
        warnings.append("speculative decoding has no part in llm-d's latencies: it is left out")
        spec = None
    rules = dataclasses.asdict(compat.engine)
    if not values.get("scheduler-reserve-full-isl", True):
        rules["admission"] = "chunk"
    config = EngineConfig(
        max_num_seqs=min(max_num_seqs, budget),
        max_num_batched_tokens=budget,
        max_model_len=max_model_len,
        block_size=block_size,
        num_gpu_blocks=num_gpu_blocks,
        enable_prefix_caching=caching,
        enable_chunked_prefill=chunked,
        long_prefill_token_threshold=values.get("long-prefill-token-threshold", 0),
        long_prefill_token_threshold_adaptive=values.get("long-prefill-token-threshold-adaptive", False),
        max_num_active_seqs=values.get("max-num-active-seqs", None),
        max_num_scheduled_tokens=values.get("max-num-scheduled-tokens", None),
        prefill_schedule_interval=values.get("prefill-schedule-interval", 1),
        spec=spec,
        scheduling_policy=values.get("scheduling-policy", "fcfs"),
        async_scheduling=values.get("async-scheduling", compat.async_scheduling and not is_synchronous(spec)),
        watermark=values.get("watermark", 0.0),
        api_overhead=values.get("api-overhead", machine.api_us * 1e-6 if machine else 0.0),
        seed=seed,
        enable_lora=enable_lora,
        max_loras=values.get("max-loras", 1),
        max_cpu_loras=values.get("max-cpu-loras", None),
        check_invariants=values.get("check-invariants", False),
        hash_algo=_hash_algo(values),
        hash_seed=values.get("hash-seed", None),
        **_kv_settings(values, connector, compat, machine),
        **rules,
    )
    return config, warnings


_OFFLOADING = "OffloadingConnector"


def _kv_settings(
    values: Values, connector: str | None, compat: Compat, machine: Profile | None
) -> dict[str, Any]:
    """EngineConfig's fields of KV events, of transfers between servers, and of the host's memory."""
    transfer = _transfer(values)
    return {
        "kv_events": kv_events_enabled(values),
        "kv_connector": (bool(transfer) and connector != _OFFLOADING) or compat.remote_kv_always,
        "kv_offload_bytes": _offload_bytes(values, transfer),
        "kv_offload_bandwidth": values.get("kv-offload-bandwidth", 25.0) * 1e9,
        "kv_engine_id": str(transfer.get("engine_id", "")),
        "kv_host": str(transfer.get("kv_ip", "localhost")),
        "kv_port": transfer.get("kv_port", 5600),
        "kv_tp_size": values_int(values, "tensor-parallel-size"),
        "kv_dcp_size": values.get("decode-context-parallel-size", 1),
        "kv_pp_size": values.get("pipeline-parallel-size", 1),
        "kv_lease_seconds": float(
            (transfer.get("kv_connector_extra_config") or {}).get("kv_lease_duration", 30)
        ),
        "kv_load_failure_policy": transfer.get("kv_load_failure_policy", "fail"),
        "kv_bytes_per_token": machine.model.kv_bytes_per_token if machine else _KV_BYTES_PER_TOKEN,
    }


def kv_connector(values: Values) -> str | None:
    """The connector's name; --kv-offloading-size brings vLLM's own along."""
    name = _transfer(values).get("kv_connector")
    if name is None and values.get("kv-offloading-size", 0.0):
        return _OFFLOADING
    return None if name is None else str(name)


def _offload_bytes(values: Values, transfer: Mapping[str, Any]) -> int:
    """The host's memory for KV blocks, by flag (GiB) or by the connector's cpu_bytes_to_use."""
    size = values.get("kv-offloading-size", 0.0)
    if size or transfer.get("kv_connector") != _OFFLOADING:
        return int(size * 2**30)
    given = (transfer.get("kv_connector_extra_config") or {}).get("cpu_bytes_to_use")
    if isinstance(given, bool) or not isinstance(given, int | float) or given <= 0:
        where = values.where("kv-transfer-config")
        raise ConfigError(f"{where}: OffloadingConnector needs kv_connector_extra_config.cpu_bytes_to_use")
    return int(given)


def _transfer(values: Values) -> Mapping[str, Any]:
    """--kv-transfer-config with a role that vLLM knows and a port that is one."""
    transfer, where = values.mapping("kv-transfer-config"), values.where("kv-transfer-config")
    if transfer.get("kv_role") not in (None, *_KV_ROLES):
        raise ConfigError(f"{where}: kv_role must be {', '.join(_KV_ROLES)}, not {transfer['kv_role']!r}")
    if transfer.get("kv_load_failure_policy") not in (None, "fail", "recompute"):
        policy = transfer["kv_load_failure_policy"]
        raise ConfigError(f"{where}: kv_load_failure_policy must be fail or recompute, not {policy!r}")
    extra = transfer.get("kv_connector_extra_config", {})
    lease = extra.get("kv_lease_duration", 30) if isinstance(extra, Mapping) else None
    if isinstance(lease, bool) or not isinstance(lease, int | float) or lease <= 0:
        raise ConfigError(
            f"{where}: kv_connector_extra_config must be an object, its kv_lease_duration seconds"
        )
    port = transfer.get("kv_port", 1)
    if type(port) is not int or not 1 <= port <= 65535:
        raise ConfigError(f"{where}: kv_port must be an integer from 1 to 65535, not {port!r}")
    return transfer


def values_int(values: Values, name: str, default: int = 1) -> int:
    """An integer from a flag that is otherwise inert, and therefore text; raises ConfigError."""
    try:
        return int(values.get(name, default))
    except (TypeError, ValueError):
        raise ConfigError(f"{values.where(name)}: {values.get(name)!r} is not an integer") from None


def kv_events_enabled(values: Values) -> bool:
    given = values.mapping("kv-events-config")
    if given:
        return bool(given.get("enable_kv_cache_events", False)) and given.get("publisher") != "null"
    return values.get("enable-kvcache", False)


def _max_model_len(values: Values, compat: Compat) -> int:
    given: int = values.get("max-model-len", -1)
    if given == -1:
        return compat.max_model_len or _model_len_of_files(values)
    if given < 1:
        raise ConfigError(f"{values.where('max-model-len')}: {given} is too small, the least is 1")
    return given


def _model_len_of_files(values: Values) -> int:
    """max_position_embeddings of a config.json beside the model or the tokenizer, as vLLM derives it."""
    for name in ("model", "tokenizer"):
        path = values.text(name)
        if path is None:
            continue
        try:
            folder = Path(path).parent if Path(path).is_file() else Path(path)
            found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        length = found.get("max_position_embeddings") if isinstance(found, dict) else None
        if isinstance(length, int):
            return length
    return _DEFAULT_MODEL_LEN


def _num_gpu_blocks(
    values: Values, machine: Profile | None, block_size: int, max_model_len: int, compat: Compat
) -> int:
    for name in ("num-gpu-blocks-override", "kv-cache-size"):
        if values.get(name, 0):
            blocks: int = values.get(name)
            return max(2, blocks)
    if values.get("kv-cache-memory-bytes", 0):
        per_token = machine.model.kv_bytes_per_token if machine else _KV_BYTES_PER_TOKEN
        return max(2, int(values.get("kv-cache-memory-bytes")) // (per_token * block_size))
    if machine is not None:
        return max(2, machine.num_gpu_blocks * 16 // block_size)
    return max(compat.num_gpu_blocks, 2 * math.ceil(max_model_len / block_size) + 1)


def _fitting_model_len(
    values: Values, max_model_len: int, block_size: int, num_gpu_blocks: int, warnings: list[str]
) -> int:
    """A prompt of max_model_len tokens must fit into the KV cache, or it would wait for ever."""
    capacity = (num_gpu_blocks - 1) * block_size
    if max_model_len <= capacity:
        return max_model_len
    # vLLM refuses a length that was asked for and does not fit; llm-d-inference-sim's flags never collide
    if values.get("max-model-len", -1) != -1 and "kv-cache-size" not in values:
        raise ConfigError(
            f"{values.where('max-model-len')}: {max_model_len} tokens do not fit into a KV cache of "
            f"{capacity} ({num_gpu_blocks - 1} usable blocks of {block_size}); lower --max-model-len or "
            "raise --num-gpu-blocks-override"
        )
    warnings.append(f"max_model_len lowered from {max_model_len} to {capacity}, what the KV cache holds")
    return capacity


def _hash_algo(values: Values) -> HashAlgo:
    algo = values.get("prefix-caching-hash-algo", "fast")
    return "sha256" if algo == "sha256" else "sha256_cbor" if algo == "sha256_cbor" else "fast"


def latency_config(values: Values) -> LatencyConfig:
    """The latency model that the flags ask for; raises ConfigError where they contradict each other."""
    coefficients = _step_coefficients(values)
    durations: dict[str, Any] = {
        name.replace("-", "_"): values.get(name) for name in _LLMD_DURATIONS if name in values
    }
    machine = profile(values)
    kind: Literal["zero", "constant", "step"] = values.get("latency") or (
        "step" if machine or coefficients else "constant" if any(durations.values()) else "zero"
    )
    if kind == "step" and machine is None and set(coefficients) != set(_STEP_KEYS):
        raise ConfigError(
            "--latency step needs a --profile, or all of --step-model c0, c1, c2, k, c3, c4, c5"
        )
    return LatencyConfig(
        kind=kind,
        calculator=values.get("latency-calculator", ""),
        time_factor_under_load=values.get("time-factor-under-load", 1.0),
        profile=values.text("profile"),
        step_coefficients=coefficients,
        host_overhead_per_step=values.get("host-overhead-per-step", None),
        host_overhead_per_sequence=values.get("host-overhead-per-sequence", None),
        step_jitter=values.get("step-jitter", 0.0),
        lora_load_time=values.get("lora-load-time", 0.0),
        **durations,
    )


_LLMD_DURATIONS = (
    "time-to-first-token", "time-to-first-token-std-dev",
    "inter-token-latency", "inter-token-latency-std-dev",
    "prefill-overhead", "prefill-time-per-token", "prefill-time-std-dev", "kv-cache-transfer-latency",
    "kv-cache-transfer-latency-std-dev", "kv-cache-transfer-time-per-token", "kv-cache-transfer-time-std-dev",
)  # fmt: skip


def _step_coefficients(values: Values) -> dict[str, float]:
    given = values.mapping("step-model")
    result: dict[str, float] = {}
    for key, value in given.items():
        if key not in _STEP_KEYS:
            raise ConfigError(f"--step-model: no coefficient {key!r}; there are {', '.join(_STEP_KEYS)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"--step-model.{key}: {value!r} is not a number (microseconds)")
        result[key] = value
    return result
