"""What the render routes answer: a request as /inference/v1/generate takes it.

vLLM writes its SamplingParams without the fields that have their defaults; the order is that of the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.config.serve import ServeConfig
from simulator.engine.text.tokenizer import Tokenizer
from simulator.server.requests.lean import ChatRequest, CompletionRequest, GenerationRequest
from simulator.server.requests.prompts import Prompt
from simulator.server.requests.sampling import num_logprobs, num_prompt_logprobs

_DELTA, _FINAL_ONLY = 1, 2  # vLLM's RequestOutputKind
_GREEDY = 1e-5  # vLLM's _SAMPLING_EPS
_USUAL_MAX_TOKENS = 16
_STRUCTURED = {
    **dict.fromkeys(("json", "regex", "choice", "grammar", "json_object")),
    "disable_any_whitespace": False,
    "disable_additional_properties": False,
    "whitespace_pattern": None,
    "structural_tag": None,
    "_backend": None,
    "_backend_was_auto": False,
}


def sampling_body(
    request: GenerationRequest, raw: Mapping[str, Any], config: ServeConfig, max_tokens: int
) -> dict[str, Any]:
    """`sampling_params` of a rendered request; `raw` are the fields as they were sent."""
    values = {**_drawing(request, raw, config), **_ends(request, raw, max_tokens), **_rest(request, raw)}
    return {key: value for key, value in values.items() if value is not None}


def _drawing(request: GenerationRequest, raw: Mapping[str, Any], config: ServeConfig) -> dict[str, Any]:
    """How tokens are drawn; what greedy decoding does not look at is left out."""
    defaults = config.override_generation_config
    temperature = _or(request.temperature, float(defaults.get("temperature", 1.0)))
    greedy = temperature < _GREEDY
    narrowing = {
        "top_p": _or(request.top_p, float(defaults.get("top_p", 1.0))),
        "top_k": _or(request.top_k, int(defaults.get("top_k", 0))) or None,
        "min_p": _or(request.min_p, float(defaults.get("min_p", 0.0))),
    }
    return {
        "n": request.n if request.n not in (None, 1) else None,
        "presence_penalty": _or(request.presence_penalty, 0.0),
        "frequency_penalty": _or(request.frequency_penalty, 0.0),
        "repetition_penalty": _or(request.repetition_penalty, float(defaults.get("repetition_penalty", 1.0))),
        "temperature": temperature,
        "watermarking": raw.get("watermarking"),
        **({} if greedy else narrowing),
        "seed": None if request.seed == -1 else request.seed,
    }


def _ends(request: GenerationRequest, raw: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
    """What ends a sequence, and what is told of its tokens."""
    return {
        "stop": [request.stop] if isinstance(request.stop, str) else list(request.stop or ()),
        "stop_token_ids": list(dict.fromkeys(request.stop_token_ids or ())),
        "ignore_eos": request.ignore_eos or None,
        "max_tokens": None if max_tokens == _USUAL_MAX_TOKENS else max_tokens,
        "min_tokens": request.min_tokens or None,
        "logprobs": num_logprobs(request),
        "prompt_logprobs": num_prompt_logprobs(request),
        "logprob_token_ids": request.logprob_token_ids,
        "skip_special_tokens": _if_off(request.skip_special_tokens),
        "spaces_between_special_tokens": _if_off(raw.get("spaces_between_special_tokens")),
        "include_stop_str_in_output": request.include_stop_str_in_output or None,
    }


def _rest(request: GenerationRequest, raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "output_kind": _DELTA if request.stream else _FINAL_ONLY,
        "stream_interval": raw.get("stream_interval"),
        "skip_clone": True,
        "output_text_buffer_length": _held_back(request),
        "structured_outputs": _structured(request),
        "logit_bias": _bias(request),
        "allowed_token_ids": request.allowed_token_ids,
        "extra_args": raw.get("vllm_xargs"),
        "bad_words": list(dict.fromkeys(request.bad_words or ())),
        "skip_reading_prefix_cache": num_prompt_logprobs(request) is not None,
        "thinking_token_budget": request.thinking_token_budget,
        "repetition_detection": raw.get("repetition_detection"),
        "routed_experts_prompt_start": request.routed_experts_prompt_start or None,
    }


def _if_off(value: bool | None) -> bool | None:
    """False, where it is that: true is the default."""
    return False if value is False else None


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _held_back(request: GenerationRequest) -> int | None:
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or ()
    if request.include_stop_str_in_output or not stops:
        return None
    return max(map(len, stops)) - 1 or None


def _bias(request: GenerationRequest) -> dict[str, float] | None:
    if request.logit_bias is None:
        return None
    return {key: min(100.0, max(-100.0, float(value))) for key, value in request.logit_bias.items()}


def _structured(request: GenerationRequest) -> dict[str, Any] | None:
    """`response_format` is told as the structured outputs that it means."""
    asked = {key: value for key, value in (request.structured_outputs or {}).items() if key in _STRUCTURED}
    form = request.response_format or {}
    if form.get("type") == "json_object":
        asked["json_object"] = True
    elif form.get("type") == "json_schema":
        asked["json"] = (form.get("json_schema") or {}).get("schema")
    return {**_STRUCTURED, **asked} if asked else None


def rendered(
    prompt: Prompt,
    request: CompletionRequest | ChatRequest,
    raw: Mapping[str, Any],
    request_id: str,
    sampling: Mapping[str, Any],
) -> dict[str, Any]:
    """A request as the generate route takes it; a chat's `parse_context` is added by its route."""
    return {
        "request_id": request_id,
        "token_ids": prompt.token_ids,
        "token_offsets": None,
        "features": None,
        "content_parts": None,
        "sampling_params": sampling,
        "model": request.model,
        "reasoning_ended": None,
        "reasoning_parser_kwargs": None,
        "return_token_ids": request.return_token_ids,
        "output_mode": "tokens",
        "parse_context": None,
        "stream": bool(request.stream),
        "stream_options": _options(request),
        "cache_salt": request.cache_salt,
        "priority": request.priority,
        "kv_transfer_params": request.kv_transfer_params,
        "ec_transfer_params": raw.get("ec_transfer_params"),
    }


def _options(request: GenerationRequest) -> dict[str, Any] | None:
    options = request.stream_options
    if not request.stream or options is None:
        return None
    return {
        "include_usage": options.include_usage,
        "continuous_usage_stats": options.continuous_usage_stats,
    }


def parse_context(request: ChatRequest, kwargs: Mapping[str, Any], choice: Any) -> dict[str, Any]:
    """What the generate server needs to read the answer as this chat's; `choice` of tools."""
    calls = (message.get("tool_calls") for message in request.messages if message.get("role") == "assistant")
    return {
        "tools": request.tools,
        "tool_choice": choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "include_reasoning": request.include_reasoning,
        "chat_template_kwargs": {
            "cohere_format": "cmd4",
            **kwargs,
            "add_generation_prompt": request.add_generation_prompt,
            "continue_final_message": request.continue_final_message,
        },
        "history_tool_call_cnt": sum(len(made) for made in calls if isinstance(made, list)),
    }


def token_offsets(prompt: Prompt, tokenizer: Tokenizer) -> list[list[int]] | None:
    """Where each token stands in the text that was sent, in characters; None: ids were sent."""
    text = prompt.text
    if text is None:
        return None
    spans: list[list[int]] = []
    done = 0
    data = b""
    for token in prompt.token_ids:
        start = done
        if not tokenizer.is_special(token):
            data += tokenizer.token_bytes(token)
            whole = data.decode("utf-8", "ignore")
            done = start + len(whole)
            data = data[len(whole.encode()) :]
        spans.append([start, done + bool(data)])
    return spans if done == len(text) else None
