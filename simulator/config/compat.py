"""What a replica imitates: one table from a name to a frozen set of behaviours.

Code asks the table ("is the prompt clamped?"), never the name. Key orders are data here, so that an answer's
shape can be read beside the version that has it. Sources: recorded answers of vLLM 0.33, the sources of 0.11,
and llm-d-inference-sim v0.7.1 as run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from simulator.errors import ConfigError

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


@dataclass(frozen=True, slots=True)
class Compat:
    """The behaviours of one imitated server."""

    name: str
    version: str  # what /version says
    bodies: Bodies

    # requests
    suffix_message: str = "suffix is only supported for models with FIM completion rendering"
    missing_model: Literal["first-served", "unknown"] = "first-served"
    unknown_model_aliases: bool = True  # "Valid aliases: ..." and param "model"
    context_overflow: Literal["clamp", "reject", "reject-llm-d"] = "clamp"
    default_completion_tokens: int | None = 16  # None: as many as fit
    max_temperature: float | None = 2.0
    max_stop_strings: int = 4  # VLLM_MAX_STOP_STRINGS
    zero_max_tokens: Literal["vllm", "llm-d"] = "vllm"  # the words for max_tokens < 1
    empty_prompt_allowed: bool = False
    ignore_eos_needs_max_tokens: bool = False
    remote_decode_streams: bool = True  # False: do_remote_decode with stream is refused

    # errors
    validation_errors: Literal["compact", "verbose", "go"] = "compact"
    param_in_validation_errors: bool = True
    route_errors: Literal["json", "text"] = "json"  # 404 and 405 of unknown paths and methods
    error_param: bool = True  # "param" carries the field's name
    message_suffix: bool = True  # " (parameter=X, value=Y)" after VLLMValidationError texts

    # answers
    id_style: Literal["hex16", "hex32", "uuid"] = "hex16"
    fingerprint: bool = True
    zero_cached_tokens: bool = True  # prompt_tokens_details is there with 0 cached tokens too
    cached_tokens_alone: bool = False  # prompt_tokens_details holds nothing besides cached_tokens
    empty_tool_calls: bool = False  # "tool_calls": [] in messages without calls
    role_chunk: Literal["first-token", "at-once"] = "first-token"
    stop_chunk: bool = False  # finish_reason stop arrives in an empty chunk of its own
    go_json: bool = False  # Go's escapes of <, > and &
    remote_decode_finish: bool = False  # finish_reason remote_decode
    named_call_finish: Literal["stop", "tool_calls"] = "stop"  # of a tool call that the client named
    tool_flags: bool = True  # tools need --tool-call-parser (and --enable-auto-tool-choice)
    tool_call_keys: Keys = ("id", "type", "function")
    sleep_serves: bool = False  # a sleeping server still answers, and /sleep needs two switches
    health_body: bytes = b""
    reset_cache_body: bool = True  # {"success": true}; else an empty 200
    dev_bodies: bool = True  # sleep, wake_up answer JSON; else an empty 200
    embeddings: Literal["absent", "unsupported", "served"] = "absent"
    queue_full: Literal["vllm", "llm-d"] = "vllm"
    retry_after: bool = True  # on 429

    # LoRA routes
    lora_errors: Literal["0.33", "0.11", "llm-d"] = "0.33"
    lora_always: bool = False  # the routes exist whatever the environment says
    lora_gauge: Literal["epp", "0.33", "0.11"] = "epp"

    # engine
    admission: Literal["whole-prompt", "chunk"] = "whole-prompt"
    free_list: Literal["0.33", "0.11"] = "0.33"
    stop_order: Literal["0.33", "0.11"] = "0.33"
    async_scheduling: bool = True
    prefix_stats_at_admission: bool = True  # else at each look-up
    kv_event_encoding: Literal["map", "array"] = "map"


_USAGE_033 = (
    "prompt_tokens",
    "total_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
)
_HEAD = ("id", "object", "created", "model", "choices")

_BODIES_033 = Bodies(
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
    stream_usage=("prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details"),
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
_BODIES_011 = replace(
    _BODIES_033,
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
)

_LLMD_HEAD = ("id", "created", "model", "usage", "object", "kv_transfer_params", "choices")
_BODIES_LLMD = Bodies(
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

_VLLM_033 = Compat(name="vllm-0.33", version="0.33.0", bodies=_BODIES_033)

_VLLM_011 = replace(
    _VLLM_033,
    name="vllm-0.11",
    version="0.11.0",
    bodies=_BODIES_011,
    suffix_message="suffix is not currently supported",
    unknown_model_aliases=False,
    context_overflow="reject",
    max_temperature=None,
    max_stop_strings=1024,  # of this simulator: 0.11 has no limit
    validation_errors="verbose",
    param_in_validation_errors=False,
    error_param=False,
    message_suffix=False,
    id_style="hex32",
    fingerprint=False,
    zero_cached_tokens=False,
    cached_tokens_alone=True,
    empty_tool_calls=True,
    reset_cache_body=False,
    dev_bodies=False,
    embeddings="unsupported",
    lora_errors="0.11",
    lora_gauge="0.11",
    admission="chunk",
    free_list="0.11",
    stop_order="0.11",
    async_scheduling=False,
    prefix_stats_at_admission=False,
    kv_event_encoding="array",
)

_LLMD_07 = replace(
    _VLLM_011,
    name="llm-d-0.7",
    version="0.7.1",
    bodies=_BODIES_LLMD,
    missing_model="unknown",
    context_overflow="reject-llm-d",
    default_completion_tokens=None,
    zero_max_tokens="llm-d",
    empty_prompt_allowed=True,
    ignore_eos_needs_max_tokens=True,
    remote_decode_streams=False,
    validation_errors="go",
    route_errors="text",
    id_style="uuid",
    role_chunk="at-once",
    stop_chunk=True,
    go_json=True,
    remote_decode_finish=True,
    named_call_finish="tool_calls",
    tool_flags=False,
    tool_call_keys=("function", "id", "type", "index"),
    empty_tool_calls=False,
    sleep_serves=True,
    health_body=b"{}",
    embeddings="served",
    queue_full="llm-d",
    lora_errors="llm-d",
    lora_always=True,
    lora_gauge="epp",
)

COMPATS: dict[str, Compat] = {c.name: c for c in (_VLLM_033, _VLLM_011, _LLMD_07)}


def compat(name: str) -> Compat:
    """The behaviours called `name`; raises ConfigError with the names there are."""
    try:
        return COMPATS[name]
    except KeyError:
        raise ConfigError(f"--compat {name!r} is unknown; there are {', '.join(COMPATS)}") from None
