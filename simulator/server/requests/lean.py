"""Requests as the routes read them: the fields that change what a simulator answers.

msgspec decodes a good body straight into the plain forms of these, which take fewer fields and no value that
vLLM might refuse. Any other body goes to the pydantic models of `schema`, which convert as leniently as vLLM
does or give vLLM's exact error. Everything else that a client may send (vLLM accepts any field) is ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from simulator.engine.sampling_params import RepetitionDetectionParams


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class GenerationRequest(msgspec.Struct):
    """What completions and chat completions have in common; vLLM's names and defaults."""

    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    n: int | None = 1
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    repetition_detection: RepetitionDetectionParams | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    prompt_logprobs: int | None = None
    truncate_prompt_tokens: int | None = None
    truncation_side: str | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: Any = None  # 0.11's forms of structured outputs
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    priority: int = 0
    request_id: str | None = None
    user: str | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    skip_special_tokens: bool | None = None
    cache_salt: str | None = None
    kv_transfer_params: dict[str, Any] | None = None
    cache_hit_threshold: float | None = None  # llm-d's
    return_weight_versions: bool = False
    mm_processor_kwargs: Any = None
    media_io_kwargs: Any = None
    # What changes nothing here but may be refused.
    logprob_token_ids: list[int] | None = None
    thinking_token_budget: int | None = None
    use_beam_search: bool = False
    routed_experts_prompt_start: int = 0

    @property
    def max_tokens_name(self) -> str:
        """The field that bounds the answer, as refusals call it."""
        return "max_tokens"


class CompletionRequest(GenerationRequest):
    """POST /v1/completions. `prompt` is str, [str], [int] or [[int]]; `prompts.is_prompt` has checked it."""

    prompt: Any = None
    prompt_embeds: Any = None
    echo: bool | None = False
    logprobs: int | None = None
    suffix: str | None = None
    add_special_tokens: bool = True


class ChatRequest(GenerationRequest, kw_only=True):
    """POST /v1/chat/completions. `messages` keeps the JSON as sent."""

    messages: list[dict[str, Any]]
    logprobs: bool | None = False
    top_logprobs: int | None = None
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = True
    echo: bool = False
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    documents: list[dict[str, Any]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    include_reasoning: bool = True
    return_prompt_text: bool | None = None

    @property
    def max_tokens_name(self) -> str:
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"


_NONE = Literal["\0"]  # a type that no value has: a body with such a field is not plain
_FEW_STOPS = 4  # whatever the limit is, so few are no matter for it
# Only the exact checks can judge these.
_NOT_PLAIN = (
    *("logprob_token_ids", "thinking_token_budget", "stream_interval", "routed_experts_prompt_start"),
    *("vllm_xargs", "ec_transfer_params", "watermarking", "use_beam_search", "repetition_detection"),
    *("cache_salt", "response_format", "structured_outputs", "truncate_prompt_tokens", "truncation_side"),
    *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "prompt_logprobs", "prompt_embeds"),
    *("mm_payload", "return_mm_kwargs", "return_token_offsets", "mm_processor_kwargs", "media_io_kwargs"),
    *("documents", "reasoning_effort", "tools", "tool_choice", "cache_hit_threshold"),
)
# The bounds that vLLM has, and no null where it takes none.
_EXACT: tuple[tuple[str, Any, Any], ...] = (
    ("seed", Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None, None),
    ("stop", str | Annotated[list[str], msgspec.Meta(max_length=_FEW_STOPS)] | None, None),
    ("priority", Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)], 0),
    ("bad_words", list[str], None),
    ("request_id", str, None),
    ("session_id", str | None, None),
    ("length_penalty", float, 1.0),
    ("spaces_between_special_tokens", bool, True),
)


def _plain(title: str, base: type[GenerationRequest], *exact: tuple[str, Any, Any]) -> Any:
    defaults = {field.name: field.default for field in msgspec.structs.fields(base)}
    odd = [(name, _NONE, defaults.get(name)) for name in _NOT_PLAIN]
    return msgspec.defstruct(title, [*odd, *_EXACT, *exact], bases=(base,), kw_only=True)


PlainCompletion: type[CompletionRequest] = _plain("PlainCompletion", CompletionRequest, ("n", int, 1))
PlainChat: type[ChatRequest] = _plain("PlainChat", ChatRequest)


def asks_nothing_odd(request: CompletionRequest | ChatRequest) -> bool:
    """Whether the checks on raw fields (`before_*`) have nothing to look at."""
    return (request.stream_options is None or bool(request.stream)) and (
        request.logprobs is None or request.logprobs >= 0
    )
