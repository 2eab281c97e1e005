"""Which Prometheus series mean what: spec strings, and the mappings of each engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from gateway.picker.compat import Compat
from gateway.picker.errors import PickerConfigError

ENGINE_LABELS = ("llm-d.ai/engine-type", "inference.networking.k8s.io/engine-type")


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A family and the labels a series of it must have; other labels are ignored."""

    name: bytes
    labels: Mapping[str, str] = field(default_factory=dict)


def parse_spec(text: str) -> MetricSpec | None:
    """`name` or `name{l1=v1,l2=v2}`; the empty string disables the metric. PickerConfigError otherwise."""
    text = text.strip()
    if not text:
        return None
    start, end = text.find("{"), text.find("}")
    if start == -1 and end == -1:
        return MetricSpec(text.encode())
    if start == -1 or end <= start + 1 or end != len(text) - 1:
        raise PickerConfigError(f"invalid metric spec string: {text!r}; write name{{label=value,...}}")
    labels = {}
    for pair in text[start + 1 : end].split(","):
        parts = [part.strip() for part in pair.split("=")]
        if len(parts) != 2 or not all(parts):
            raise PickerConfigError(f"invalid label pair: {pair.strip()!r} in metric spec: {text!r}")
        labels[parts[0]] = parts[1]
    if not text[:start].strip():
        raise PickerConfigError(f"empty metric name in spec: {text!r}")
    return MetricSpec(text[:start].strip().encode(), labels)


@dataclass(frozen=True, slots=True)
class MetricMapping:
    """Where each number about an endpoint is found; None: it is not asked for."""

    queued: MetricSpec | None
    running: MetricSpec | None
    kv_usage: MetricSpec | None
    lora: MetricSpec | None
    cache_info: MetricSpec | None
    block_size_label: str = "block_size"
    num_blocks_label: str = "num_gpu_blocks"
    block_size: MetricSpec | None = None
    num_blocks: MetricSpec | None = None
    custom: Mapping[str, MetricSpec] = field(default_factory=dict)


class CustomMetric(msgspec.Struct, rename="camel"):
    attribute_key: str
    metric_spec: str


class EngineConfig(msgspec.Struct, rename="camel"):
    """One entry of core-metrics-extractor's engineConfigs."""

    name: str
    queued_requests_spec: str = ""
    running_requests_spec: str = ""
    kv_usage_spec: str = msgspec.field(default="", name="kvUsageSpec")
    lora_spec: str = ""
    cache_info_spec: str = ""
    cache_block_size_label_name: str = ""
    cache_num_blocks_label_name: str = ""
    cache_block_size_spec: str = ""
    cache_num_blocks_spec: str = ""
    custom_metrics: list[CustomMetric] = []

    def mapping(self) -> MetricMapping:
        """PickerConfigError names the engine of a spec that cannot be read."""
        try:
            return MetricMapping(
                queued=parse_spec(self.queued_requests_spec),
                running=parse_spec(self.running_requests_spec),
                kv_usage=parse_spec(self.kv_usage_spec),
                lora=parse_spec(self.lora_spec),
                cache_info=parse_spec(self.cache_info_spec),
                block_size_label=self.cache_block_size_label_name or "block_size",
                num_blocks_label=self.cache_num_blocks_label_name or "num_gpu_blocks",
                block_size=parse_spec(self.cache_block_size_spec),
                num_blocks=parse_spec(self.cache_num_blocks_spec),
                custom={m.attribute_key: s for m in self.custom_metrics if (s := parse_spec(m.metric_spec))},
            )
        except PickerConfigError as error:
            raise PickerConfigError(f'failed to create mapping for engine "{self.name}": {error}') from None


class ExtractorParameters(msgspec.Struct, rename="camel"):
    """Of core-metrics-extractor."""

    engine_label_key: str = ""
    default_engine: str = "vllm"
    engine_configs: list[EngineConfig] = []


_BUILTIN_ENGINES = (
    EngineConfig(
        name="sglang",
        queued_requests_spec="sglang:num_queue_reqs",
        running_requests_spec="sglang:num_running_reqs",
        kv_usage_spec="sglang:token_usage",
        cache_info_spec="sglang:cache_config_info",
        cache_block_size_label_name="page_size",
        cache_num_blocks_label_name="num_pages",
    ),
    EngineConfig(
        name="trtllm-serve",
        queued_requests_spec="trtllm_num_requests_waiting",
        running_requests_spec="trtllm_num_requests_running",
        kv_usage_spec="trtllm_kv_cache_utilization",
        cache_block_size_spec="trtllm_kv_cache_tokens_per_block",
        cache_num_blocks_spec="trtllm_kv_cache_max_blocks",
    ),
    EngineConfig(
        name="triton-tensorrt-llm",
        queued_requests_spec="nv_trt_llm_request_metrics{request_type=waiting}",
        running_requests_spec="nv_trt_llm_request_metrics{request_type=scheduled}",
        kv_usage_spec="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}",
        cache_block_size_spec="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}",
        cache_num_blocks_spec="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}",
    ),
)


@dataclass(frozen=True, slots=True)
class Engines:
    """The mapping of each engine type, chosen by a pod's label."""

    default: MetricMapping
    by_name: Mapping[str, MetricMapping] = field(default_factory=dict)
    labels: tuple[str, ...] = ENGINE_LABELS

    def mapping_for(self, labels: Mapping[str, str]) -> MetricMapping:
        """The mapping of an endpoint's engine; the default one for an unknown or unlabelled engine."""
        for label in self.labels:
            if engine := labels.get(label):
                return self.by_name.get(engine, self.default)
        return self.default


def vllm_mapping(compat: Compat, overrides: Mapping[str, str]) -> MetricMapping:
    """The release's defaults for vLLM, with the --*-metric flags that were given over them."""
    mapping = MetricMapping(
        queued=parse_spec("vllm:num_requests_waiting"),
        running=parse_spec(compat.running_metric),
        kv_usage=parse_spec(compat.kv_metric),
        lora=parse_spec("vllm:lora_requests_info"),
        cache_info=parse_spec("vllm:cache_config_info"),
    )
    changes: dict[str, Any] = {name: parse_spec(text) for name, text in overrides.items()}
    return replace(mapping, **changes)


def build_engines(
    compat: Compat, overrides: Mapping[str, str], parameters: ExtractorParameters | None
) -> Engines:
    """All engines of a release; `parameters` are core-metrics-extractor's, where it has that plugin.

    PickerConfigError for a name that is taken or missing.
    """
    vllm = vllm_mapping(compat, overrides)
    if parameters is None and compat.metric_flags:
        return Engines(default=vllm)
    given: dict[str, Any] = {engine.name: engine.mapping() for engine in _BUILTIN_ENGINES}
    given["vllm"] = vllm
    parameters = parameters or ExtractorParameters()
    for engine in parameters.engine_configs:
        if engine.name in ("", "default"):
            raise PickerConfigError(f"engine config name cannot be {engine.name!r}")
        given[engine.name] = engine.mapping()
    if parameters.default_engine not in given:
        raise PickerConfigError(f'defaultEngine "{parameters.default_engine}" not found in engineConfigs')
    labels = (parameters.engine_label_key,) if parameters.engine_label_key else ENGINE_LABELS
    return Engines(given[parameters.default_engine], given, labels)
