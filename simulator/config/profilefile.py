"""Profiles by name, or out of a file that `simfleet calibrate` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simulator.engine.pace.latency import HostOverhead, StepCoefficients
from simulator.engine.pace.profiles import PROFILES, Gpu, Model, Profile
from simulator.errors import ConfigError

PROFILE_VERSION = 1
_COEFFICIENTS = ("c0", "c1", "c2", "k", "c3", "c4", "c5")
_ENGINE = ("max_num_seqs", "max_num_batched_tokens", "num_gpu_blocks")
_LLAMA_8B_KV = 131072  # KV bytes per token of Llama-3.1-8B, where the file says nothing


def find_profile(name: str, where: str = "--profile") -> Profile:
    """The profile of that name, or in that file; raises ConfigError with what there is."""
    if (found := PROFILES.get(name.lower())) is not None:
        return found
    path = Path(name)
    if path.suffix != ".json" and not path.is_file():
        raise ConfigError(
            f"{where}: no profile {name!r}; there are {', '.join(PROFILES)}, and files of simfleet calibrate"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: {path} cannot be read: {error}") from error
    return parse_profile(text, f"{where}: {path}")


def parse_profile(text: str, where: str) -> Profile:
    """A profile from the text of its file; raises ConfigError naming what is wrong."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("profile") != PROFILE_VERSION:
        raise ConfigError(f'{where}: is no profile of simfleet calibrate ("profile": {PROFILE_VERSION})')
    steps, engine = _mapping(value, "coefficients_us", where), _mapping(value, "engine", where)
    numbers = {name: _number(steps, name, where) for name in _COEFFICIENTS}
    sizes = {name: int(_number(engine, name, where)) for name in _ENGINE}
    errors = value.get("held_out_error_percent")
    return Profile(
        name=str(value.get("name") or "calibrated"),
        model=Model(
            str(value.get("model") or "unknown"), 0.0, int(value.get("kv_bytes_per_token") or _LLAMA_8B_KV)
        ),
        gpu=Gpu(
            name=str(value.get("gpu") or "unknown"),
            memory_gib=0.0,
            max_num_batched_tokens=sizes["max_num_batched_tokens"],
            max_num_seqs=sizes["max_num_seqs"],
            host=HostOverhead(),
            host_source="in the coefficients",
        ),
        tensor_parallel_size=1,
        coefficients=StepCoefficients(**{**numbers, "k": int(numbers["k"])}),  # type: ignore[arg-type]
        source=str(value.get("source") or "simfleet calibrate"),
        tables="-",
        fit_error=tuple(errors["mape"].values()) if isinstance(errors, dict) and "mape" in errors else (),
        mixed_error=None,
        measured_gpu_blocks=sizes["num_gpu_blocks"],
        api_us=_number(value, "api_overhead_us", where) if "api_overhead_us" in value else 0.0,
    )


def _mapping(value: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    found = value.get(key)
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: needs {key}, an object")
    return found


def _number(value: dict[str, Any], key: str, where: str) -> float:
    found = value.get(key)
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found < 1e12:
        raise ConfigError(f"{where}: {key} must be a number of 0 or more, not {found!r}")
    return float(found)
