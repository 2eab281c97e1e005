"""Families that only engines with a certain feature have: tool calls, speculative decoding, KV transfers."""

from __future__ import annotations

from collections.abc import Callable

from simulator.config.serve import ServeConfig
from simulator.engine.spec.settings import SpecStats
from simulator.engine.stats import EngineStats
from simulator.server.metrics.family import Family, zeros

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


def feature_families(config: ServeConfig) -> tuple[Family, ...]:
    """The families that stand before all others, as the features of an engine are switched on."""
    spec = config.engine.spec
    return spec_families(spec.num_tokens) if spec is not None else ()
