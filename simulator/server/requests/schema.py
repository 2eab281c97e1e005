"""vLLM's request models: what OpenAPI shows, and the source of exact validation errors and conversions.

Field order is that of vLLM 0.33's openapi.json, since errors come in it. The hot path does not use these; see
`lean`. Unknown fields are accepted, as vLLM does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from simulator.config.compat import COMPATS, DEFAULT_COMPAT, Compat
from simulator.engine.sampling_params import RepetitionDetectionParams
from simulator.server.errors import ApiError, invalid
from simulator.server.requests.chat_messages import ChatCompletionMessageParam

_DEFAULT = COMPATS[DEFAULT_COMPAT]  # whose API the OpenAPI document describes


def _few(stop: list[str], info: ValidationInfo) -> list[str]:
    """The bound on stop strings of the server that is imitated, as pydantic says it."""
    compat: Compat = info.context or _DEFAULT
    if len(stop) > compat.max_stop_strings:
        found = {"field_type": "List", "max_length": compat.max_stop_strings, "actual_length": len(stop)}
        raise PydanticKnownError("too_long", found)
    return stop


StopStrings = Annotated[
    list[str],
    AfterValidator(_few),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "maxItems": _DEFAULT.max_stop_strings}),
]
TokenId = Annotated[int, Field(ge=0)]


def _budget(value: object, info: ValidationInfo) -> int | None:
    """-1 is no limit. A refusal is none of pydantic's errors: it ends the reading of the body."""
    if value is None or (type(value) is int and value == -1):
        return None
    if type(value) is not int or value < 0:
        message = "`thinking_token_budget` must be a non-negative integer or -1 for unlimited."
        raise invalid(info.context or _DEFAULT, message, "thinking_token_budget", value)
    return value


def _repetition(value: object, check: ValidatorFunctionWrapHandler) -> Any:
    """Sizes that contradict each other are such a refusal too."""
    try:
        return check(value)
    except ValidationError as error:
        found = error.errors()[0]
        if found["type"] == "value_error":
            raise ApiError(str(found["ctx"]["error"])) from None
        raise


ThinkingTokenBudget = Annotated[int | None, BeforeValidator(_budget, json_schema_input_type=int | None)]
Repetition = Annotated[RepetitionDetectionParams, WrapValidator(_repetition)]
TopLogprobs = Annotated[
    int, BeforeValidator(lambda value: 0 if value is None else value, json_schema_input_type=int | None)
]
MMPayload = Literal["tensors", "none"]
CacheSalt = Annotated[str, Field(min_length=1, max_length=1024)]
XArgs = dict[str, str | int | float | list[str | int | float]]
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    @model_validator(mode="wrap")
    @classmethod
    def _as_one(cls, data: Any, check: ModelWrapValidatorHandler[Any]) -> Any:
        """vLLM wraps its models so; a branch of a union of them has no name in a location for that."""
        return check(data)


class StreamOptions(_Open):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class JsonSchemaResponseFormat(_Open):
    name: str
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(_Open):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaResponseFormat | None = None


class StructuralTagResponseFormat(_Open):
    type: Literal["structural_tag"]
    format: Any


class LegacyStructuralTag(_Open):
    begin: str
    structural_tag_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    end: str


class LegacyStructuralTagResponseFormat(_Open):
    type: Literal["structural_tag"]
    structures: list[LegacyStructuralTag]
    triggers: list[str]


class StructuredOutputsParams(_Open):
    json_: str | dict[str, Any] | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None
    structural_tag: str | None = None

    @model_validator(mode="after")
    def _one_kind(self, info: ValidationInfo) -> StructuredOutputsParams:
        """One constraint, no more and no less; the refusal shows all fields as vLLM's dataclass has them."""
        compat: Compat = info.context or _DEFAULT
        values = self.model_dump(by_alias=True)
        count = sum(values[kind] is not None for kind in _KINDS)
        if count != 1 and compat.recent_fields:
            shown = {name: values[name] for name in (*_KINDS[:5], *_OPTIONS, "structural_tag")}
            shown |= {"_backend": None, "_backend_was_auto": False}
            many = "can only use one kind of structured outputs constraint but multiple are"
            none = "must use one kind of structured outputs constraint but none are"
            raise ApiError(f"You {many if count else none} specified: {shown}")
        return self


AnyResponseFormat = ResponseFormat | StructuralTagResponseFormat | LegacyStructuralTagResponseFormat
_KINDS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
_OPTIONS = {
    "disable_any_whitespace": False,
    "disable_additional_properties": False,
    "whitespace_pattern": None,
}


class CompletionRequest(_Open):
    model: str | None = None
    prompt: list[TokenId] | list[list[TokenId]] | str | list[str] | None = None
    echo: bool | None = False
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: int | None = None
    max_tokens: int | None = 16
    n: int = 1
    presence_penalty: float | None = None
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: str | StopStrings | None = []
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    use_beam_search: bool = False
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    watermarking: bool | None = None
    length_penalty: float = 1.0
    stop_token_ids: list[int] | None = []
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool = True
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=INT64_MAX)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    allowed_token_ids: list[int] | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    bad_words: list[str] = []
    prompt_embeds: bytes | list[bytes] | None = None
    add_special_tokens: bool = True
    response_format: AnyResponseFormat | None = None
    structured_outputs: StructuredOutputsParams | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    priority: int = Field(default=0, ge=INT64_MIN, le=INT64_MAX)
    request_id: str = Field(default_factory=str)
    session_id: str | None = None
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    return_weight_versions: bool = False
    routed_experts_prompt_start: int = Field(default=0, ge=0)
    return_token_offsets: bool | None = False
    mm_payload: MMPayload = "tensors"
    return_mm_kwargs: bool | None = None
    cache_salt: CacheSalt | None = None
    kv_transfer_params: dict[str, Any] | None = None
    ec_transfer_params: dict[str, Any] | None = None
    vllm_xargs: XArgs | None = None
    repetition_detection: Repetition | None = None
    thinking_token_budget: ThinkingTokenBudget = None
    stream_interval: Annotated[int, Field(ge=1)] | None = None
    cache_hit_threshold: float | None = None


class FunctionDefinition(_Open):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ChatCompletionToolsParam(_Open):
    type: Literal["function"] = "function"
    function: FunctionDefinition


class ChatCompletionNamedFunction(_Open):
    name: str


class ChatCompletionNamedToolChoiceParam(_Open):
    function: ChatCompletionNamedFunction
    type: Literal["function"] = "function"


class ChatCompletionRequest(_Open):
    messages: list[ChatCompletionMessageParam]
    model: str | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = False
    top_logprobs: TopLogprobs = 0
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    presence_penalty: float | None = None
    response_format: AnyResponseFormat | None = None
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: str | StopStrings | None = []
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[ChatCompletionToolsParam] | None = None
    tool_choice: (
        Literal["none"] | Literal["auto"] | Literal["required"] | ChatCompletionNamedToolChoiceParam | None
    ) = "none"
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    thinking_token_budget: ThinkingTokenBudget = None
    include_reasoning: bool = True
    parallel_tool_calls: bool | None = True
    user: str | None = None
    use_beam_search: bool = False
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    watermarking: bool | None = None
    length_penalty: float = 1.0
    stop_token_ids: list[int] | None = []
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool = True
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=INT64_MAX)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] = []
    echo: bool = False
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    documents: list[dict[str, str]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    media_io_kwargs: dict[str, dict[str, Any]] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    structured_outputs: StructuredOutputsParams | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    priority: int = Field(default=0, ge=INT64_MIN, le=INT64_MAX)
    request_id: str = Field(default_factory=str)
    session_id: str | None = None
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    return_weight_versions: bool = False
    routed_experts_prompt_start: int = Field(default=0, ge=0)
    return_token_offsets: bool | None = False
    return_prompt_text: bool | None = None
    mm_payload: MMPayload = "tensors"
    return_mm_kwargs: bool | None = None
    cache_salt: CacheSalt | None = None
    kv_transfer_params: dict[str, Any] | None = None
    ec_transfer_params: dict[str, Any] | None = None
    vllm_xargs: XArgs | None = None
    repetition_detection: Repetition | None = None
    stream_interval: Annotated[int, Field(ge=1)] | None = None
    cache_hit_threshold: float | None = None
