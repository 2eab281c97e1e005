"""Families that only engines with a certain feature have: tool calls, speculative decoding, KV transfers."""

from __future__ import annotations

from collections.abc import Callable

from simulator.config.serve import ServeConfig
from simulator.engine.spec.settings import SpecStats
from simulator.engine.stats import EngineStats
from simulator.server.metrics.family import Family, zero, zeros

TOOL_CALLS = Family(
    "vllm:tool_call_parser_invocations",
    "counter",
    "Total number of ToolParser invocations. Non-streaming increments once per choice; "
    "streaming increments once per delta.",
    zeros(12),
    "mode,outcome,request_type",
    tuple(
        f"{mode},{outcome},{route}"
        for mode in ("streaming", "non_streaming")
        for outcome in ("tool_call", "no_tool_call")
        for route in ("chat_completions", "responses", "other")
    ),
    only_with="tool-parser",
    engine_label=False,
)


def _drafts(
    read: Callable[[SpecStats], float | list[int]], nothing: float | list[int] = 0.0
) -> Callable[[EngineStats], float | list[int]]:
    return lambda stats: nothing if stats.spec is None else read(stats.spec)


def spec_families(num_tokens: int) -> tuple[Family, ...]:
    """Of engines that speculate with `num_tokens` draft tokens a step."""
    counters = (
        ("num_drafts", "Number of spec decoding drafts.", lambda s: s.drafts),
        ("num_draft_tokens", "Number of draft tokens.", lambda s: s.draft_tokens),
        ("num_accepted_tokens", "Number of accepted tokens.", lambda s: s.accepted),
    )
    return (
        *(
            Family(f"vllm:spec_decode_{name}", "counter", text, _drafts(read), only_with="spec")
            for name, text, read in counters
        ),
        Family(
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "counter",
            "Accepted tokens per draft position.",
            _drafts(lambda s: s.accepted_per_position, [0] * num_tokens),
            "position",
            tuple(map(str, range(num_tokens))),
            only_with="spec",
        ),
    )


NIXL_FAMILIES = (
    Family(
        "vllm:nixl_xfer_time_seconds",
        "histogram",
        "Histogram of transfer duration for NIXL KV Cache transfers.",
        "nixl_xfer_time_seconds",
        only_with="nixl",
    ),
    Family(
        "vllm:nixl_post_time_seconds",
        "histogram",
        "Histogram of transfer post time for NIXL KV Cache transfers.",
        "nixl_post_time_seconds",
        only_with="nixl",
    ),
    Family(
        "vllm:nixl_bytes_transferred",
        "histogram",
        "Histogram of bytes transferred per NIXL KV Cache transfers.",
        "nixl_bytes_transferred",
        only_with="nixl",
    ),
    Family(
        "vllm:nixl_num_descriptors",
        "histogram",
        "Histogram of number of descriptors per NIXL  KV Cache transfers.",
        "nixl_num_descriptors",
        only_with="nixl",
    ),
    Family(
        "vllm:nixl_num_failed_transfers",
        "counter",
        "Number of failed NIXL KV Cache transfers, including handshake and notification failures. NOTE: KV "
        "expiry is tracked separately in vllm:nixl_num_kv_expired_reqs.",
        lambda s: s.nixl_failed_transfers,
        only_with="nixl",
    ),
    Family(
        "vllm:nixl_num_failed_notifications",
        "counter",
        "Number of failed NIXL KV Cache notifications. Retained for compatibility; these failures are also "
        "included in vllm:nixl_num_failed_transfers.",
        zero,
        only_with="nixl",
    ),
    Family(
        "vllm:nixl_num_kv_expired_reqs",
        "counter",
        "Number of requests that had their KV expire. NOTE: This metric is tracked on the P instance.",
        lambda s: s.nixl_kv_expired,
        only_with="nixl",
    ),
    Family(
        "vllm:nixl_num_notifications_after_expiry",
        "counter",
        "Number of completion notifications for requests that were no longer tracked, usually because their "
        "KV lease expired. The KV blocks may have been reused before the transfer finished. Counted per "
        "notification (one per remote rank), not per request.",
        lambda s: s.nixl_notifications_after_expiry,
        only_with="nixl",
    ),
)


def feature_families(config: ServeConfig) -> tuple[Family, ...]:
    """The families that stand before all others, as the features of an engine are switched on."""
    spec = config.engine.spec
    nixl = (config.kv_connector or "").startswith("Nixl")
    return (*(spec_families(spec.num_tokens) if spec is not None else ()), *(NIXL_FAMILIES if nixl else ()))
