"""`simfleet profiles`: the named step models with their origin and error."""

from __future__ import annotations

import argparse
import json
from typing import Any

from kit.console import show
from simulator.engine.pace.profiles import PROFILES, Profile

_COLUMNS = (
    ("profile", 27, "name"),
    ("vLLM", 7, "tables"),
    ("fit error % (mean/p95/max)", 27, "fit"),
    ("mixed %", 11, "mixed"),
    ("blocks", 8, "blocks"),
    ("batched", 8, "batched"),
    ("host us", 8, "host"),
    ("source", 0, "source"),
)


def add_profiles_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="everything, coefficients too, as JSON")


def run_profiles(args: argparse.Namespace) -> int:
    """Prints the table; always 0."""
    if args.json:
        text = json.dumps([as_json(profile) for profile in PROFILES.values()], indent=2) + "\n"
    else:
        text = as_table()
    show(text)
    return 0


def as_json(profile: Profile) -> dict[str, Any]:
    step = profile.coefficients
    return {
        "name": profile.name,
        "model": profile.model.name,
        "gpu": profile.gpu.name,
        "tensor_parallel_size": profile.tensor_parallel_size,
        "coefficients_us": {name: getattr(step, name) for name in ("c0", "c1", "c2", "k", "c3", "c4", "c5")},
        "host_overhead_us": {
            "per_step": profile.host.per_step_us,
            "per_sequence": profile.host.per_sequence_us,
            "source": profile.host_source,
        },
        "api_overhead_us": profile.api_us,
        "checked": profile.checked or None,
        "max_num_batched_tokens": profile.gpu.max_num_batched_tokens,
        "max_num_seqs": profile.gpu.max_num_seqs,
        "num_gpu_blocks": profile.num_gpu_blocks,
        "num_gpu_blocks_measured": profile.measured_gpu_blocks is not None,
        "source": profile.source,
        "tables_vllm": profile.tables,
        "fit_error_percent": list(profile.fit_error),
        "mixed_step_error_percent": list(profile.mixed_error) if profile.mixed_error else None,
    }


def as_table() -> str:
    lines = ["".join(title.ljust(width) for title, width, _ in _COLUMNS).rstrip()]
    for profile in PROFILES.values():
        cells = _cells(profile)
        lines.append("".join(cells[key].ljust(width) for _, width, key in _COLUMNS).rstrip())
    lines += [
        "",
        "Errors: of the fit to the kernel tables; mixed: of mixed steps that the fit has not seen.",
        "blocks: KV blocks of 16 tokens, ~ where estimated. host us: added to the kernels of each step;",
        "--json tells what each sequence and the API add, and on which whole servers a profile was checked.",
        "Measured hosts: H100 (vLLM 0.15), RTX (vLLM 0.19), qwen3-32b (vLLM 0.12); others assumed.",
    ]
    return "\n".join(lines) + "\n"


def _cells(profile: Profile) -> dict[str, str]:
    mixed = profile.mixed_error
    estimated = "" if profile.measured_gpu_blocks is not None else "~"
    return {
        "name": profile.name,
        "tables": profile.tables,
        "fit": " / ".join(f"{value:g}" for value in profile.fit_error),
        "mixed": f"{mixed[0]:g}..{mixed[1]:g}" if mixed else "-",
        "blocks": f"{estimated}{profile.num_gpu_blocks}",
        "batched": str(profile.gpu.max_num_batched_tokens),
        "host": f"{profile.host.per_step_us:g}",
        "source": profile.source,
    }
