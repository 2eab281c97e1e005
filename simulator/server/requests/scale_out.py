"""Bodies of vLLM's scale-out routes: token ids in, token ids out, and what a derender route makes text of.

Fields, their order and their refusals are those of vLLM 0.33's `scale_out/token_in_token_out/protocol.py`.
What only pictures and sounds carry (`features`, `content_parts`) is refused: no model here takes any.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from simulator.server.errors import ApiError
from simulator.server.requests.raw_checks import check_cache_salt
from simulator.server.requests.schema import (
    INT64_MAX,
    INT64_MIN,
    CacheSalt,
    ChatCompletionRequest,
    CompletionRequest,
    Repetition,
    StreamOptions,
    StructuredOutputsParams,
    ThinkingTokenBudget,
)

OutputMode = Literal["tokens", "text", "derender"]
_MAX_WINDOW = 1024  # tokens of the window that a client carries from chunk to chunk
_CONTEXT = 4  # tokens before a chunk that the names of its tokens depend on


def _not_negative(ids: list[int] | None) -> list[int] | None:
    if ids is not None and any(token < 0 for token in ids):
        raise ValueError("token_ids must not contain negative values")
    return ids


_Id = Annotated[int, Field(ge=0)]
_Ids = Annotated[list[int], Field(min_length=1), AfterValidator(_not_negative)]
_OptionalIds = Annotated[list[int] | None, AfterValidator(_not_negative)]


class _Plain(BaseModel):
    """vLLM drops what it does not know here."""

    model_config = ConfigDict(extra="ignore")


class SamplingParams(_Plain):
    """vLLM's own parameters, which a rendered request holds; ranges are checked where the others' are."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    prompt_logprob_token_ids: list[list[int]] | None = None
    logprob_token_ids: list[int] | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    stream_interval: int | None = None
    structured_outputs: StructuredOutputsParams | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: list[int] | None = None
    extra_args: dict[str, Any] | None = None
    bad_words: list[str] | None = None
    thinking_token_budget: ThinkingTokenBudget = None
    repetition_detection: Repetition | None = None
    routed_experts_prompt_start: int = 0


class ParseContext(BaseModel):
    """What a chat said that its answer is read by."""

    model_config = ConfigDict(extra="allow")

    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = "none"
    parallel_tool_calls: bool | None = True
    include_reasoning: bool = True
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    history_tool_call_cnt: _Id = 0


class ReasoningParserKwargs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)


def _no_media(value: Any) -> None:
    if value:
        raise ValueError("the model is not a multimodal model")


_Media = Annotated[Any, BeforeValidator(_no_media)]


class GenerateRequest(_Plain):
    """POST /inference/v1/generate."""

    request_id: str | None = None
    token_ids: _Ids
    token_offsets: list[tuple[int, int]] | None = None
    features: _Media = None
    content_parts: _Media = None
    sampling_params: SamplingParams
    model: str | None = None
    reasoning_ended: bool | None = None
    reasoning_parser_kwargs: ReasoningParserKwargs | None = None
    return_token_ids: bool | None = None
    output_mode: OutputMode = "tokens"
    parse_context: ParseContext | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    cache_salt: CacheSalt | None = None
    priority: int = Field(default=0, ge=INT64_MIN, le=INT64_MAX)
    kv_transfer_params: dict[str, Any] | None = None
    ec_transfer_params: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _salt(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, dict) and info.context is not None:
            check_cache_salt(data.get("cache_salt"), info.context)
        return data

    @model_validator(mode="after")
    def _text_needs_text(self) -> GenerateRequest:
        sampling = self.sampling_params
        if sampling.stop and not sampling.detokenize:
            message = (
                "stop strings are only supported when detokenize is True. Set detokenize=True to use stop."
            )
            raise ApiError(message)
        if self.output_mode != "tokens" and not sampling.detokenize:
            raise ValueError(
                f"output_mode={self.output_mode!r} requires sampling_params.detokenize to be true"
            )
        unknown = sorted((self.parse_context.model_extra if self.parse_context else None) or ())
        if unknown and self.output_mode == "derender":
            raise ValueError(
                f"Unknown parse_context fields {unknown}; the render server is newer than this generate "
                "server"
            )
        return self


class _Logprob(_Plain):
    token_id: int
    logprob: float
    rank: int | None = None


class LogprobsContent(_Logprob):
    top_logprobs: list[_Logprob] = []


class GenerateLogProbs(_Plain):
    content: list[LogprobsContent] | None = None


class _Choice(_Plain):
    index: int
    stop_reason: int | str | None = None
    token_ids: _OptionalIds = None
    routed_experts: str | None = None
    sampling_mask: list[list[int]] | None = None
    weight_versions: list[dict[str, Any]] | None = None
    logprobs: GenerateLogProbs | None = None


class GenerateChoice(_Choice):
    finish_reason: str | None = "stop"


class GenerateStreamChoice(_Choice):
    finish_reason: str | None = None


class UsageInfo(_Plain):
    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int | None = 0


class GenerateResponse(_Plain):
    """What /inference/v1/generate answered, in its mode of tokens."""

    request_id: str | None = None
    output_mode: Literal["tokens"] = "tokens"
    choices: list[GenerateChoice]
    prompt_logprobs: list[Any] | None = None
    prompt_token_ids: list[_Id] | None = None
    metrics: dict[str, Any] | None = None
    kv_transfer_params: dict[str, Any] | None = None


class GenerateChunk(_Plain):
    """One event of its stream."""

    request_id: str | None = None
    output_mode: Literal["tokens"] = "tokens"
    choices: list[GenerateStreamChoice]
    usage: UsageInfo | None = None
    prompt_token_ids: list[_Id] | None = None
    metrics: dict[str, Any] | None = None


class DerenderStreamState(_Plain):
    """What a client carries from chunk to chunk: the server keeps nothing."""

    prev_tokens: list[str] = Field(default_factory=list)
    prefix_offset: _Id = 0
    read_offset: _Id = 0
    role_sent: bool = False
    logprob_context_token_ids: list[int] = Field(default_factory=list, max_length=_CONTEXT)
    logprob_text_offset: _Id = 0
    output_token_ids: list[int] = Field(default_factory=list)
    output_chunk_lens: list[Annotated[int, Field(gt=0)]] = Field(default_factory=list)
    tools_streamed: bool = False
    last_tool_call_ids: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _bounds(self) -> DerenderStreamState:
        if len(self.prev_tokens) > _MAX_WINDOW:
            raise ValueError(f"prev_tokens length ({len(self.prev_tokens)}) exceeds maximum ({_MAX_WINDOW})")
        total, size = sum(self.output_chunk_lens), len(self.output_token_ids)
        if total != size:
            raise ValueError(
                "output_chunk_lens must sum to len(output_token_ids) "
                f"(got sum={total}, len(output_token_ids)={size})"
            )
        return self


class DerenderChatRequest(_Plain):
    stream: Literal[False] = False
    model: str | None = None
    generate_response: GenerateResponse
    prompt_tokens: int | None = None
    prompt_token_ids: list[_Id] | None = None
    chat_request: ChatCompletionRequest | None = None


class _DerenderStream(_Plain):
    stream: Literal[True]
    model: str | None = None
    generate_chunk: GenerateChunk
    stream_state: DerenderStreamState | None = None
    prompt_tokens: int | None = None
    prompt_token_ids: list[_Id] | None = None


class DerenderChatStreamRequest(_DerenderStream):
    chat_request: ChatCompletionRequest | None = None


class DerenderCompletionRequest(_Plain):
    stream: Literal[False] = False
    model: str | None = None
    generate_responses: list[GenerateResponse]
    prompt_tokens: list[int] | None = None
    prompt_token_ids: list[list[_Id] | None] | None = None
    completion_request: CompletionRequest | None = None

    @model_validator(mode="after")
    def _same_lengths(self) -> DerenderCompletionRequest:
        count = len(self.generate_responses)
        for name in ("prompt_tokens", "prompt_token_ids"):
            given = getattr(self, name)
            if given is not None and len(given) != count:
                raise ValueError(
                    f"{name} length ({len(given)}) must equal generate_responses length ({count})"
                )
        return self


class DerenderCompletionStreamRequest(_DerenderStream):
    completion_request: CompletionRequest | None = None
