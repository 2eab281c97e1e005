"""From a request's sampling fields to the engine's SamplingParams, with vLLM's refusals in vLLM's order.

What looks at raw fields, before types are checked, is in `raw_checks`. `sampling_params` stands where vLLM
builds its SamplingParams; `check_engine_limits` is what vLLM finds out in engine.generate(), when a stream
already has its 200.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulator.config.compat import Compat
from simulator.config.serve import ServeConfig
from simulator.engine.request import SamplingParams
from simulator.server.errors import ApiError, invalid
from simulator.server.requests.lean import ChatRequest, CompletionRequest, GenerationRequest

_MAX_LOGPROB_IDS = 128
_NO_REASONING = (
    "thinking_token_budget is set but reasoning_config is not configured. Please set --reasoning-parser "
    "and/or --reasoning-config to use thinking_token_budget."
)


def check_prompt_count(prompt: Any, config: ServeConfig, compat: Compat) -> None:
    """VLLM_MAX_COMPLETION_PROMPTS; one prompt of token ids is no list of prompts. Raises ApiError."""
    most = config.max_completion_prompts
    if isinstance(prompt, list) and len(prompt) > most and not all(type(item) is int for item in prompt):
        message = (
            f"prompt list length {len(prompt)} exceeds the maximum allowed count of {most}. "
            "To increase this limit, set the VLLM_MAX_COMPLETION_PROMPTS environment variable."
        )
        raise invalid(compat, message, "prompt")


def check_sequences(prompts: int, n: int, config: ServeConfig) -> None:
    """A bound that vLLM leaves to its memory: prompts times n. Raises ApiError."""
    if prompts * n > config.max_n_sequences:
        raise ApiError(
            f"{prompts} prompts with n={n} are {prompts * n} sequences, more than {config.max_n_sequences}. "
            "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for besides its prompt, checked."""

    sampling: SamplingParams
    n: int


def max_output(request: GenerationRequest, prompt_len: int, config: ServeConfig, compat: Compat) -> int:
    """max_tokens after defaults and the context: 0 or less where nothing fits. Raises ApiError."""
    limit = config.engine.max_model_len
    asked = requested_max_tokens(request, compat)
    if asked is not None and compat.zero_max_tokens and asked <= 0:
        raise ApiError(compat.zero_max_tokens)
    if compat.context_overflow == "reject":
        _refuse_overflow(asked, prompt_len, limit)
    elif compat.context_overflow == "reject-sum":
        if prompt_len + (asked or 0) > limit:
            raise ApiError(
                f"This model's maximum context length is {limit} tokens. However, you requested "
                f"{prompt_len + (asked or 0)} tokens ({prompt_len} in the messages, {asked or 0} in the "
                "completion). Please reduce the length of the messages or completion"
            )
    elif asked is not None and asked > limit:
        name = request.max_tokens_name
        message = (
            f"{name}={asked} cannot be greater than max_model_len={limit}. "
            "Please request fewer output tokens."
        )
        raise invalid(compat, message, name, asked)
    room = limit - prompt_len
    if asked is None:
        override = config.override_generation_config.get("max_new_tokens")
        return min(room, int(override)) if override is not None else room
    return min(asked, room)


def requested_max_tokens(request: GenerationRequest, compat: Compat) -> int | None:
    """The number the client asked for or gets by default; None: as many as fit."""
    if isinstance(request, ChatRequest):
        if request.max_completion_tokens is not None:
            return request.max_completion_tokens
        return request.max_tokens
    return compat.default_completion_tokens if request.max_tokens is None else request.max_tokens


def _refuse_overflow(asked: int | None, prompt_len: int, limit: int) -> None:
    if prompt_len >= limit:
        raise ApiError(
            f"This model's maximum context length is {limit} tokens. However, your request has {prompt_len} "
            "input tokens. Please reduce the length of the input messages."
        )
    if asked is not None and asked > limit - prompt_len:
        raise ApiError(
            f"'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context "
            f"length is {limit} tokens and your request has {prompt_len} input tokens "
            f"({asked} > {limit} - {prompt_len})."
        )


def sampling_params(
    request: GenerationRequest, prompt_len: int, config: ServeConfig, compat: Compat
) -> SamplingParams:
    """The engine's parameters for each sequence of `request`; raises ApiError with vLLM's words."""
    max_tokens = max_output(request, prompt_len, config, compat)
    echo_only = isinstance(request, CompletionRequest) and request.echo and request.max_tokens == 0
    if echo_only:
        max_tokens = 1  # the engine always makes one token; the answer leaves it out
    n = 1 if request.n is None or not compat.n_is_read else request.n
    temperature = _temperature(request, config)
    _check_combinations(request, compat)
    if n < 1 and not compat.parameter_checks:
        raise ApiError("n must be at least 1")
    if compat.parameter_checks:
        _check_bias_keys(request, compat)
        _check_ranges(request, n, temperature, config.max_n_sequences, compat)
        if max_tokens < 1:
            raise invalid(
                compat, f"max_tokens must be at least 1, got {max_tokens}.", "max_tokens", max_tokens
            )
        _check_lengths(request, n, max_tokens, temperature, compat)
    return SamplingParams(
        max_tokens=max(max_tokens, 1),
        min_tokens=request.min_tokens,
        ignore_eos=request.ignore_eos,
        stop=_stops(request.stop),
        stop_token_ids=tuple(request.stop_token_ids) if request.stop_token_ids else (),
        repetition_detection=request.repetition_detection,
        include_stop_str_in_output=request.include_stop_str_in_output,
        seed=request.seed,
        temperature=temperature,
        top_p=1.0 if request.top_p is None or temperature == 0 else request.top_p,
        logprobs=num_logprobs(request),
        n=n,
        skip_reading_prefix_cache=num_prompt_logprobs(request) is not None,
    )


def _temperature(request: GenerationRequest, config: ServeConfig) -> float:
    if request.temperature is not None:
        return request.temperature
    return float(config.override_generation_config.get("temperature", 1.0))


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if not stop else (stop,) if isinstance(stop, str) else tuple(stop)


def num_logprobs(request: GenerationRequest) -> int | None:
    """How many alternatives the client wants for each token; None: no logprobs at all."""
    if isinstance(request, ChatRequest):
        return (request.top_logprobs or 0) if request.logprobs else None
    return request.logprobs if isinstance(request, CompletionRequest) else None


def num_prompt_logprobs(request: GenerationRequest) -> int | None:
    """The same of the prompt's tokens, which an echo asks for too."""
    if request.prompt_logprobs is not None:
        return request.prompt_logprobs
    if isinstance(request, ChatRequest):
        return (request.top_logprobs or 0) if request.echo else None
    return request.logprobs if isinstance(request, CompletionRequest) and request.echo else None


def _check_combinations(request: GenerationRequest, compat: Compat) -> None:
    if (
        compat.ignore_eos_needs_max_tokens
        and request.ignore_eos
        and requested_max_tokens(request, compat) is None
    ):
        raise ApiError("Ignore_eos is true but max_completion_tokens (or max_tokens) is not set")
    params = request.kv_transfer_params
    if not compat.remote_decode_streams and request.stream and params and params.get("do_remote_decode"):
        raise ApiError("Prefill does not support streaming")


def _check_ranges(request: GenerationRequest, n: int, temperature: float, max_n: int, compat: Compat) -> None:
    _check_n(n, max_n)
    for name in ("presence_penalty", "frequency_penalty"):
        penalty = getattr(request, name)
        if penalty is not None and not -2.0 <= penalty <= 2.0:
            raise ApiError(f"{name} must be in [-2, 2], got {penalty}.")
    if request.repetition_penalty is not None and not request.repetition_penalty > 0.0:
        raise ApiError(f"repetition_penalty must be greater than zero, got {request.repetition_penalty}.")
    _check_temperature(temperature, compat)
    if request.top_p is not None and not 0.0 < request.top_p <= 1.0:
        raise invalid(compat, f"top_p must be in (0, 1], got {request.top_p}.", "top_p", request.top_p)
    if request.top_k is not None and request.top_k < -1:
        raise ApiError(f"top_k must be 0 (disable), or at least 1, got {request.top_k}.")
    if request.min_p is not None and not 0.0 <= request.min_p <= 1.0:
        raise ApiError(f"min_p must be in [0, 1], got {request.min_p}.")


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:  # also for more digits than Python reads
        return False
    return True


def _check_bias_keys(request: GenerationRequest, compat: Compat) -> None:
    wrong = [key for key in request.logit_bias or () if not _is_integer(key)]
    if not wrong:
        return
    if compat.recent_fields:
        message = f"logit_bias contains key(s) that cannot be converted to integer token IDs: {wrong!r}"
        raise invalid(compat, message, "logit_bias", wrong)
    raise ApiError(
        f"Found token_id={wrong[0]} in logit_bias but token_id must be an integer or string "
        "representing an integer"
    )


def _check_n(n: int, most: int) -> None:
    if n < 1:
        raise ApiError(f"n must be at least 1, got {n}.")
    if n > most:
        raise ApiError(
            f"n must be at most {most}, got {n}. "
            "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
        )


def _check_temperature(temperature: float, compat: Compat) -> None:
    if not temperature >= 0.0:
        message = f"temperature must be non-negative, got {temperature}."
        raise invalid(compat, message, "temperature", temperature)
    if compat.max_temperature is not None and temperature > compat.max_temperature:
        message = f"temperature must be in [0, {compat.max_temperature:g}], got {temperature}."
        raise invalid(compat, message, "temperature", temperature)


def _check_lengths(
    request: GenerationRequest, n: int, max_tokens: int, temperature: float, compat: Compat
) -> None:
    if request.min_tokens < 0:
        raise ApiError(f"min_tokens must be greater than or equal to 0, got {request.min_tokens}.")
    if request.min_tokens > max_tokens:
        raise ApiError(
            f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {request.min_tokens}."
        )
    if request.stop == "" or (isinstance(request.stop, list) and "" in request.stop):
        raise ApiError("stop cannot contain an empty string.")
    if request.bad_words and "" in request.bad_words and compat.recent_fields:
        words = list(dict.fromkeys(request.bad_words))
        raise ApiError(f"bad_words cannot contain an empty string. Got bad_words={words}")
    if n > 1 and temperature == 0:  # one between 0 and 0.01 is taken for 0.01
        raise ApiError(f"n must be 1 when using greedy sampling, got {n}.")


def check_engine_limits(
    request: GenerationRequest, sampling: SamplingParams, vocab_size: int, config: ServeConfig, compat: Compat
) -> None:
    """What vLLM's engine refuses: too many logprobs, ids outside the vocabulary. Raises ApiError."""
    if not compat.parameter_checks:
        return
    most = config.max_logprobs
    _check_logprobs("sample", sampling.logprobs, most, vocab_size, compat)
    if compat.recent_fields:
        _check_logprob_ids(request, sampling.logprobs, vocab_size, compat)
    _check_logprobs("prompt", request.prompt_logprobs, most, vocab_size, compat)
    _check_vocabulary(list(map(int, request.logit_bias or ())), "logit_bias", vocab_size, compat)
    if compat.recent_fields:
        stops = list(dict.fromkeys(request.stop_token_ids or ()))
        _check_vocabulary(stops, "stop_token_ids", vocab_size, compat)
    allowed = request.allowed_token_ids
    if allowed is not None:
        outside = [token for token in allowed if not 0 <= token < vocab_size]
        if not allowed or outside:
            message = "allowed_token_ids is not None and empty!"
            if allowed:
                message = "allowed_token_ids contains out-of-vocab token id!"
            raise invalid(compat, message, "allowed_token_ids", outside, streams=True)
    if compat.recent_fields:
        _check_constraint(request)
        if request.thinking_token_budget is not None and not config.reasoning.budget_allowed:
            raise ApiError(_NO_REASONING, streams=True)


def check_experts_start(request: GenerationRequest, prompt_len: int, compat: Compat) -> None:
    """routed_experts_prompt_start lies in the prompt; raises ApiError."""
    name, start = "routed_experts_prompt_start", request.routed_experts_prompt_start
    if not 0 <= start <= prompt_len:
        message = f"{name} must be between 0 and the prompt length ({prompt_len}), inclusive."
        raise invalid(compat, message, name, start, streams=True)


def check_capacity(tokens: int, config: ServeConfig, compat: Compat) -> None:
    """Where the KV cache is smaller than the context, as it may be with llm-d; raises ApiError."""
    engine = config.engine
    if not compat.kv_cache_bounds_context and tokens > (engine.num_gpu_blocks - 1) * engine.block_size:
        message = "the kv cache does not have sufficient capacity to store this request"
        raise ApiError(message, 500, "InternalServerError")


def _check_vocabulary(ids: list[int], name: str, vocab_size: int, compat: Compat) -> None:
    outside = [token for token in ids if not 0 <= token < vocab_size]
    if outside:
        message = (
            f"token_id(s) {outside} in {name} contain out-of-vocab token ids. Vocabulary size: {vocab_size}"
        )
        raise invalid(compat, message, name, outside, streams=True)


def _check_logprob_ids(
    request: GenerationRequest, logprobs: int | None, vocab_size: int, compat: Compat
) -> None:
    ids = request.logprob_token_ids
    if not ids:
        return
    if len(ids) > _MAX_LOGPROB_IDS:
        message = (
            f"Requested logprob_token_ids of length {len(ids)}, "
            f"which is greater than max allowed: {_MAX_LOGPROB_IDS}"
        )
        raise invalid(compat, message, "logprob_token_ids", len(ids), streams=True)
    _check_vocabulary(ids, "logprob_token_ids", vocab_size, compat)


def _check_constraint(request: GenerationRequest) -> None:
    wanted = request.structured_outputs
    if wanted is None:
        return
    message = ""
    if wanted.get("choice") == []:
        message = "Choice '[]' cannot be an empty list"
    elif isinstance(wanted.get("grammar"), str) and not wanted["grammar"].strip():
        message = "structured_outputs.grammar cannot be an empty string"
    elif isinstance(wanted.get("json"), str) and not wanted["json"].strip():
        message = "structured_outputs.json cannot be an empty string"
    elif wanted.get("json_object") is False:
        message = (
            "structured_outputs.json_object must be True if set; omit structured_outputs to disable "
            "structured outputs"
        )
    elif "\0" in (wanted.get("regex") or ""):
        message = "structured_outputs.regex must not contain a NUL character ('\\x00')"
    elif isinstance(wanted.get("structural_tag"), str) and not wanted["structural_tag"].strip():
        message = "structured_outputs.structural_tag cannot be an empty string"
    if message:
        raise ApiError(message, streams=True)


def _check_logprobs(kind: str, asked: int | None, most: int, vocab_size: int, compat: Compat) -> None:
    if asked is None or most == -1 or (asked <= most and asked != -1):
        return
    shown = vocab_size if asked == -1 else asked
    message = f"Requested {kind} logprobs of {shown}, which is greater than max allowed: {most}"
    name = "logprobs" if kind == "sample" else "prompt_logprobs"
    raise invalid(compat, message, name, shown, streams=True)
