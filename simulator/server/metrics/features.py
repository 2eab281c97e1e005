"""Families that only engines with a certain feature have: tool calls, speculative decoding, KV transfers."""

from __future__ import annotations

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
