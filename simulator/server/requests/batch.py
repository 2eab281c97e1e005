"""Bodies of the routes that take several prompts at once: batches of conversations, items to be scored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from simulator.config.compat import Compat
from simulator.server.errors import invalid
from simulator.server.requests.chat_messages import ChatCompletionMessageParam
from simulator.server.requests.raw_checks import Raw, check_cache_salt
from simulator.server.requests.schema import (
    INT64_MAX,
    INT64_MIN,
    StopStrings,
    StructuredOutputsParams,
    TopLogprobs,
)

Seed = Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX)]
Conversation = Annotated[list[ChatCompletionMessageParam], Field(min_length=1)]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class BatchChatCompletionRequest(_Open):
    messages: Annotated[list[Conversation], Field(min_length=1)]
    model: str | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = False
    top_logprobs: TopLogprobs = 0
    logprob_token_ids: list[int] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    presence_penalty: float | None = None
    response_format: Any | None = None
    seed: Seed | None = None
    stop: str | StopStrings | None = Field(default_factory=list)
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    tool_choice: Literal["none"] | None = "none"
    include_reasoning: bool = True
    best_of: int | None = None
    use_beam_search: bool = False
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    watermarking: bool | None = None
    length_penalty: float | None = 1.0
    early_stopping: bool = False
    structured_outputs: StructuredOutputsParams | None = None
    request_id: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    media_io_kwargs: dict[str, dict[str, Any]] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    priority: Seed = 0
    cache_salt: str | None = None
    include_stop_str_in_output: bool = False
    guided_decoding_backend: str | None = None
    echo: bool = False
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool = False


def before_batch(raw: Raw, compat: Compat) -> None:
    """What a batch cannot have; raises ApiError."""
    if raw.get("use_beam_search"):
        message = "Batch chat completions do not support beam search. Please set `use_beam_search` to False."
        raise invalid(compat, message, "use_beam_search")
    if raw.get("logprob_token_ids") and not raw.get("logprobs"):
        message = "when using `logprob_token_ids`, `logprobs` must be set to true."
        raise invalid(compat, message, "logprob_token_ids")
    n = raw.get("n", 1)
    if n is not None and n != 1:
        message = "Batch chat completions do not support `n > 1`. Please set `n` to 1."
        raise invalid(compat, message, "n", n)


class GenerativeScoringRequest(_Open):
    model: str | None = None
    query: str | list[int]
    items: list[str] | list[list[int]]
    label_token_ids: list[int]
    apply_softmax: bool = True
    item_first: bool = False
    add_special_tokens: bool = True
    cache_salt: str | None = None
    priority: Seed = 0
    request_id: str = Field(default_factory=str)


def before_scoring(raw: Raw, compat: Compat) -> None:
    """Raises ApiError."""
    check_cache_salt(raw.get("cache_salt"), compat)
