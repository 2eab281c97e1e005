"""The bodies of answers as data: the keys of each, in the order of the imitated server.

An answer's shape can be read here beside the version that has it. Sources: recorded answers of vLLM 0.33, the
sources of 0.11, and llm-d-inference-sim v0.7.1 as run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bodies:
    """Key orders of answers; a key that has no value is null unless a renderer says otherwise."""

    completion: Keys
    completion_choice: Keys
    completion_chunk: Keys
    completion_chunk_choice: Keys
    completion_usage_chunk: Keys
    chat: Keys
    chat_choice: Keys
    chat_message: Keys
    chat_role_chunk: Keys  # the first chunk of a choice
    chat_role_choice: Keys
    chat_chunk: Keys
    chat_chunk_choice: Keys
    chat_last_choice: Keys
    usage: Keys
    stream_usage: Keys
    chat_continuous_usage: Keys
    model_card: Keys
    optional: frozenset[str]  # keys of an answer that are left out, not null, without a value
    chunk_optional: frozenset[str]  # the same for chunks of a stream


_USAGE_033 = (
    "prompt_tokens",
    "total_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
)
_HEAD = ("id", "object", "created", "model", "choices")

BODIES_033 = Bodies(
    completion=(
        *_HEAD,
        "service_tier",
        "system_fingerprint",
        "usage",
        "kv_transfer_params",
        "ec_transfer_params",
        "metrics",
    ),
    completion_choice=(
        "index",
        "text",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "token_ids",
        "prompt_logprobs",
        "prompt_token_ids",
        "routed_experts",
        "weight_versions",
    ),
    completion_chunk=(*_HEAD, "usage", "system_fingerprint", "kv_transfer_params"),
    completion_chunk_choice=(
        "index",
        "text",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "prompt_token_ids",
        "token_ids",
        "weight_versions",
    ),
    completion_usage_chunk=(*_HEAD, "usage", "system_fingerprint"),
    chat=(
        *_HEAD,
        "service_tier",
        "system_fingerprint",
        "usage",
        "prompt_logprobs",
        "prompt_token_ids",
        "prompt_text",
        "kv_transfer_params",
        "ec_transfer_params",
        "metrics",
    ),
    chat_choice=(
        "index",
        "message",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "token_ids",
        "routed_experts",
        "weight_versions",
    ),
    chat_message=(
        "role",
        "content",
        "refusal",
        "annotations",
        "audio",
        "function_call",
        "tool_calls",
        "reasoning",
    ),
    chat_role_chunk=(*_HEAD, "usage", "prompt_token_ids", "prompt_text"),
    chat_role_choice=("index", "delta", "logprobs", "finish_reason"),
    chat_chunk=(*_HEAD, "usage", "system_fingerprint", "kv_transfer_params"),
    chat_chunk_choice=("index", "delta", "logprobs", "finish_reason", "token_ids"),
    chat_last_choice=(
        "index",
        "delta",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "token_ids",
        "weight_versions",
    ),
    usage=_USAGE_033,
    stream_usage=_USAGE_033,
    chat_continuous_usage=(
        "prompt_tokens",
        "total_tokens",
        "completion_tokens",
        "completion_tokens_details",
    ),
    model_card=("id", "object", "created", "owned_by", "root", "parent", "max_model_len", "permission"),
    optional=frozenset({"tool_calls"}),
    chunk_optional=frozenset({"usage", "system_fingerprint", "tool_calls"}),
)

_USAGE_011 = ("prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details")
BODIES_011 = replace(
    BODIES_033,
    completion=(*_HEAD, "service_tier", "system_fingerprint", "usage", "kv_transfer_params"),
    completion_choice=(
        "index",
        "text",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "token_ids",
        "prompt_logprobs",
        "prompt_token_ids",
    ),
    completion_chunk=(*_HEAD, "usage"),
    completion_chunk_choice=(
        "index",
        "text",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "prompt_token_ids",
        "token_ids",
    ),
    completion_usage_chunk=(*_HEAD, "usage"),
    chat=(
        *_HEAD,
        "service_tier",
        "system_fingerprint",
        "usage",
        "prompt_logprobs",
        "prompt_token_ids",
        "kv_transfer_params",
    ),
    chat_choice=("index", "message", "logprobs", "finish_reason", "stop_reason", "token_ids"),
    chat_message=(
        "role",
        "content",
        "refusal",
        "annotations",
        "audio",
        "function_call",
        "tool_calls",
        "reasoning_content",
    ),
    chat_role_chunk=(*_HEAD, "usage", "prompt_token_ids"),
    chat_chunk=(*_HEAD, "usage"),
    chat_last_choice=("index", "delta", "logprobs", "finish_reason", "stop_reason", "token_ids"),
    chat_continuous_usage=("prompt_tokens", "total_tokens", "completion_tokens"),
    usage=_USAGE_011,
    stream_usage=_USAGE_011,
)

_LLMD_HEAD = ("id", "created", "model", "usage", "object", "kv_transfer_params", "choices")
BODIES_LLMD = Bodies(
    completion=_LLMD_HEAD,
    completion_choice=("index", "finish_reason", "text", "logprobs"),
    completion_chunk=_LLMD_HEAD,
    completion_chunk_choice=("index", "finish_reason", "text", "logprobs"),
    completion_usage_chunk=_LLMD_HEAD,
    chat=_LLMD_HEAD,
    chat_choice=("index", "finish_reason", "message", "logprobs"),
    chat_message=("role", "content", "tool_calls"),
    chat_role_chunk=_LLMD_HEAD,
    chat_role_choice=("index", "finish_reason", "delta"),
    chat_chunk=_LLMD_HEAD,
    chat_chunk_choice=("index", "finish_reason", "delta", "logprobs"),
    chat_last_choice=("index", "finish_reason", "delta", "logprobs"),
    usage=("prompt_tokens", "completion_tokens", "total_tokens"),
    stream_usage=("prompt_tokens", "completion_tokens", "total_tokens"),
    chat_continuous_usage=("prompt_tokens", "completion_tokens", "total_tokens"),
    model_card=("id", "object", "created", "owned_by", "root", "parent"),
    optional=frozenset({"logprobs", "tool_calls"}),
    chunk_optional=frozenset({"logprobs", "tool_calls"}),
)

_LLMD_HEAD_KEYS = ("id", "model", "object", "kv_transfer_params", "created", "usage", "choices")
BODIES_LLMD_HEAD = replace(
    BODIES_LLMD,
    completion=_LLMD_HEAD_KEYS,
    completion_chunk=_LLMD_HEAD_KEYS,
    completion_usage_chunk=_LLMD_HEAD_KEYS,
    chat=_LLMD_HEAD_KEYS,
    chat_role_chunk=_LLMD_HEAD_KEYS,
    chat_chunk=_LLMD_HEAD_KEYS,
    model_card=("id", "object", "created", "owned_by", "root", "parent", "max_model_len"),
    optional=BODIES_LLMD.optional | {"kv_transfer_params"},
    chunk_optional=BODIES_LLMD.chunk_optional | {"kv_transfer_params"},
)
