"""Requests as the routes read them: the fields that change what a simulator answers.

msgspec decodes a good body straight into these. A body that does not fit goes to the pydantic models of
`schema`, which convert as leniently as vLLM does or give vLLM's exact error. Everything else that a
client may send (vLLM accepts any field) is ignored here.
"""

from __future__ import annotations

from typing import Any

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
    # What changes nothing here but may be refused. `is_unusual` sends such a body to the exact checks.
    logprob_token_ids: Any = None
    thinking_token_budget: Any = None
    stream_interval: Any = None
    routed_experts_prompt_start: Any = None
    vllm_xargs: Any = None
    ec_transfer_params: Any = None
    watermarking: Any = None
    use_beam_search: Any = None

    def is_unusual(self) -> bool:
        """Whether one of the fields is there that only the exact checks can judge."""
        return not (
            self.logprob_token_ids is None
            and self.thinking_token_budget is None
            and self.stream_interval is None
            and self.routed_experts_prompt_start is None
            and self.vllm_xargs is None
            and self.ec_transfer_params is None
            and self.watermarking is None
            and self.use_beam_search is None
            and self.repetition_detection is None
            and self.cache_salt is None
        )

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
