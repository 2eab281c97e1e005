"""Reads Prometheus text: which series a scrape keeps, and what a vLLM pod's series mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})?\s+(\S+)")
# The same where an exemplar, with braces of its own, may stand behind the value: more than twice the time.
_EXEMPLAR = " # {"
_LINE_BEFORE_EXEMPLAR = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^"}]*"[^"\\]*(?:\\.[^"\\]*)*")*[^"}]*\})?\s+(\S+)'
)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
KEPT_PREFIXES = (
    "vllm:",
    "inference_",
    "llm_d_",
    "endpoint_picker_",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "lora_",
)
POD_LABELS = ("pod", "kubernetes_pod_name", "pod_name")
# Series by the plain name that reports use; several series of one name (labels) add up, kv's do not.
COLUMNS = {
    "vllm:num_requests_waiting": "waiting",
    "vllm:num_requests_running": "running",
    "vllm:kv_cache_usage_perc": "kv",
    "vllm:gpu_cache_usage_perc": "kv",
    "vllm:prefix_cache_hits_total": "hits",
    "vllm:prefix_cache_queries_total": "queries",
    "vllm:request_success_total": "succeeded",
    "vllm:num_preemptions_total": "preempted",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "output_tokens",
}


def parse_samples(text: str) -> dict[str, float]:
    """Value by series of the families worth keeping; buckets, help and unreadable lines are left out."""
    samples: dict[str, float] = {}
    for line in text.split("\n"):  # a label may hold any other end of line
        if not line.startswith(KEPT_PREFIXES):
            continue
        match = (_LINE_BEFORE_EXEMPLAR if _EXEMPLAR in line else _LINE).match(line)
        if match is None or match[1].endswith("_bucket") or match[1].endswith("_created"):
            continue
        try:
            samples[match[1] + (match[2] or "")] = float(match[3])
        except ValueError:
            continue
    return samples


def split_series(series: str) -> tuple[str, dict[str, str]]:
    """Name and labels of a series as the page writes it."""
    name, brace, rest = series.partition("{")
    return name, dict(_LABEL.findall(rest)) if brace else {}


@dataclass(slots=True)
class PodState:
    """What one scrape of a model server says."""

    values: dict[str, float] = field(default_factory=dict)
    running_adapters: frozenset[str] = frozenset()
    max_lora: int | None = None
    block_size: int | None = None
    num_gpu_blocks: int | None = None


def pod_state(samples: Mapping[str, float]) -> PodState:
    """The state of a vLLM pod by the samples of one scrape."""
    state = PodState()
    newest = -1.0
    for series, value in samples.items():
        name, brace, _ = series.partition("{")
        column = COLUMNS.get(name)
        if column is not None:
            before = state.values.get(column)
            if column == "kv":
                state.values[column] = value if before is None else max(before, value)
            else:
                state.values[column] = value + (before or 0.0)
        elif name == "vllm:lora_requests_info" and value > newest:
            newest = value
            labels = split_series(series)[1]
            state.running_adapters = _names(labels.get("running_lora_adapters", ""))
            state.max_lora = _number(labels.get("max_lora", ""))
        elif name == "vllm:cache_config_info" and brace:
            labels = split_series(series)[1]
            state.block_size = _number(labels.get("block_size", ""))
            state.num_gpu_blocks = _number(labels.get("num_gpu_blocks", ""))
    return state


def named_pods(samples: Mapping[str, float]) -> frozenset[str]:
    """The pods that labels name, as a service monitor or the server itself adds them."""
    return frozenset(
        labels[key]
        for series in samples
        if "pod" in series
        for labels in (split_series(series)[1],)
        for key in POD_LABELS
        if labels.get(key)
    )


def _names(text: str) -> frozenset[str]:
    return frozenset(name for name in (part.strip() for part in text.split(",")) if name)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
