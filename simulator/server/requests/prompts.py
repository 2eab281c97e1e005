"""Prompts to token ids: what a completion or a chat puts before the model, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.config.compat import Compat
from simulator.config.reasoning import chat_template_kwargs
from simulator.config.serve import ServeConfig
from simulator.engine.text.tokenizer import Tokenizer
from simulator.errors import EngineError
from simulator.server.errors import ApiError, invalid
from simulator.server.requests.lean import ChatRequest, CompletionRequest, GenerationRequest
from simulator.server.requests.validation import parse_text

_NOT_BOTH = (
    "continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when "
    "you want the model to continue the final message, and add_generation_prompt when you want to add a "
    "header that will prompt it to start a new assistant message instead."
)
_MEDIA_OPTIONS = {
    "mm_processor_kwargs": "multimodal preprocessing",
    "media_io_kwargs": "multimodal media loading",
}
_USUAL_CHARS = 8  # of a token, seldom more
_LONGEST_TOKEN = 128  # characters; as vLLM has it, a text of more for each token of the context does not fit
_CUT = 64  # tokens that a beginning may have for the word that it ends in
_MOST_CHARS = 1 << 19  # of a text that nobody has to fit into a context


@dataclass(slots=True)
class Prompt:
    """One prompt; `text` is None for a prompt that came as ids. For a chat it is the last user's words.

    `rendered` is a chat's text as its template made it.
    """

    token_ids: list[int]
    text: str | None = None
    rendered: str | None = None


@dataclass(frozen=True, slots=True)
class PromptRules:
    """What decides over prompts on one replica."""

    config: ServeConfig
    compat: Compat
    tokenizer: Tokenizer
    checks_length: bool = True


def is_prompt(prompt: Any) -> bool:
    """Whether a completion's prompt is of one of vLLM's five types as it stands."""
    if prompt is None or isinstance(prompt, str):
        return True
    if not isinstance(prompt, list):
        return False
    kinds = set(map(type, prompt))
    if kinds <= {str}:
        return True
    if kinds == {int}:
        return bool(min(prompt) >= 0)
    return kinds == {list} and all(set(map(type, p)) <= {int} and (not p or min(p) >= 0) for p in prompt)


def completion_prompts(request: CompletionRequest, rules: PromptRules) -> list[Prompt]:
    """The prompts of a completion, in order; raises ApiError."""
    raw = request.prompt
    if request.prompt_embeds not in (None, []):
        message = "You must set `--enable-prompt-embeds` to input `prompt_embeds`."
        raise invalid(rules.compat, message, "prompt_embeds")
    check_media_options(request, rules)
    if raw is None:
        raw = ""
    if isinstance(raw, str) or (raw and isinstance(raw[0], int)):
        raw = [raw]
    if not raw:
        raise invalid(rules.compat, "You must pass at least one prompt", "prompt")
    return [_one(item, request, rules) for item in raw]


def _one(item: str | list[int], request: CompletionRequest, rules: PromptRules) -> Prompt:
    if isinstance(item, str):
        prompt = Prompt(encoded(item, rules, request, request.add_special_tokens), item)
    else:
        prompt = Prompt(item)
    return fit(prompt, request, rules)


def encoded(
    text: str, rules: PromptRules, request: GenerationRequest | None = None, add_special_tokens: bool = True
) -> list[int]:
    """The ids of `text`; raises ApiError where there is more of it than anybody can use.

    What does not fit into the context is not encoded to its end; what nobody has to fit into it is bounded by
    its characters.
    """
    encode, limit = rules.tokenizer.encode, rules.config.engine.max_model_len
    most = max(_MOST_CHARS, _USUAL_CHARS * limit)
    if len(text) <= min(most, _USUAL_CHARS * limit):
        return encode(text, add_special_tokens)
    if rules.checks_length and (request is None or request.truncate_prompt_tokens is None):
        beginning = encode(text[: _USUAL_CHARS * limit])
        if len(beginning) > limit + _CUT or len(text) > _LONGEST_TOKEN * limit:
            raise _overflow(rules, limit + 1, from_text=True)
    elif len(text) > most:
        raise ApiError(f"A text of {len(text)} characters is too long to be encoded: {most} are the most.")
    return encode(text, add_special_tokens)


def fit(
    prompt: Prompt, request: GenerationRequest, rules: PromptRules, *, is_text: bool | None = None
) -> Prompt:
    """`prompt` after truncation; raises ApiError where it is longer than the model's context."""
    limit = rules.config.engine.max_model_len
    keep = request.truncate_prompt_tokens
    if keep is not None:
        keep = limit if keep == -1 else keep
        if keep > limit:
            message = (
                f"truncate_prompt_tokens={keep} cannot be greater than max_model_len = {limit}. "
                "Please request a smaller truncation size."
            )
            if not rules.compat.recent_fields:
                message = (
                    f"truncate_prompt_tokens value ({keep}) is greater than max_model_len ({limit}). "
                    "Please, select a smaller truncation size."
                )
            raise invalid(rules.compat, message, "truncate_prompt_tokens", keep)
        ids = prompt.token_ids
        if len(ids) > keep:
            prompt.token_ids = ids[:keep] if request.truncation_side == "right" else ids[len(ids) - keep :]
    length = len(prompt.token_ids)
    if length > limit and rules.checks_length and rules.compat.context_overflow == "clamp":
        raise _overflow(rules, length, prompt.text is not None if is_text is None else is_text)
    return prompt


def _overflow(rules: PromptRules, length: int, from_text: bool) -> ApiError:
    """A prompt longer than the context, in vLLM's words."""
    limit = rules.config.engine.max_model_len
    # vLLM cuts a text off one token past the limit, so it does not know the whole length.
    shown = limit + 1 if from_text else length
    at_least = "at least " if shown == limit + 1 else ""
    return invalid(
        rules.compat,
        f"This model's maximum context length is {limit} tokens. However, your prompt contains "
        f"{at_least}{shown} input tokens, which exceeds this limit even without any output tokens. "
        "Please reduce the length of the input prompt.",
        "input_tokens",
        shown,
    )


def messages_are_plain(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every message is one that vLLM takes without a look at its exact type."""
    for message in messages:
        content = message.get("content")
        if type(message.get("role")) is not str or not (content is None or isinstance(content, str | list)):
            return False
        if not isinstance(message.get("name", ""), str):
            return False
        if isinstance(content, list) and not all(isinstance(part, str | dict) for part in content):
            return False
        if not isinstance(message.get("tool_call_id", ""), str):
            return False
        calls = message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(isinstance(c, dict) for c in calls)):
            return False
    return True


def chat_prompt(request: ChatRequest, rules: PromptRules) -> Prompt:
    """The prompt of a conversation; raises ApiError."""
    config, tokenizer = rules.config, rules.tokenizer
    _check_template(request, rules)
    messages = [_flatten(message, rules) for message in request.messages]
    check_media_options(request, rules)
    if not messages and not rules.compat.empty_prompt_allowed:
        raise ApiError("Cannot apply chat template to an empty conversation. Provide at least one message.")
    tools = request.tools if request.tools and request.tool_choice != "none" else None
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tools,
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
            chat_template=request.chat_template or config.text.chat_template,
            template_kwargs=chat_template_kwargs(
                config.default_chat_template_kwargs, request.chat_template_kwargs, request.reasoning_effort
            ),
        )
    except EngineError as error:
        raise ApiError(str(error)) from None
    ids = encoded(text, rules, request, request.add_special_tokens)
    return fit(Prompt(ids, _last_words(messages), text), request, rules, is_text=True)


def _check_template(request: ChatRequest, rules: PromptRules) -> None:
    """What a client may say about the template; raises ApiError."""
    if request.chat_template is not None:
        _refuse_template(rules)
    kwargs = request.chat_template_kwargs
    if kwargs and kwargs.get("chat_template") is not None and rules.compat.recent_fields:
        _refuse_template(rules)
    if rules.compat.recent_fields and request.continue_final_message and request.add_generation_prompt:
        raise ApiError(_NOT_BOTH)


def _refuse_template(rules: PromptRules) -> None:
    if not rules.config.trust_request_chat_template:
        raise ApiError(
            "Chat template is passed with request, but --trust-request-chat-template is not set. "
            "Refused request with untrusted chat template."
        )


def check_media_options(request: Any, rules: PromptRules) -> None:
    """Options of media readers by request need --trust-request-mm-kwargs; raises ApiError."""
    if not rules.compat.recent_fields or rules.config.trust_request_mm_kwargs:
        return
    for name, what in _MEDIA_OPTIONS.items():
        if getattr(request, name, None):
            message = (
                f"Per-request {name} are disabled by default because they can change {what} resource usage. "
                "Start the server with --trust-request-mm-kwargs only when clients are trusted."
            )
            raise invalid(rules.compat, message, name)


def _last_words(messages: Sequence[Mapping[str, Any]]) -> str:
    """What echo and a dataset go by: the last user message, else the last one."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return str(message["content"])
    return str(messages[-1]["content"]) if messages else ""


def _flatten(message: Mapping[str, Any], rules: PromptRules) -> dict[str, Any]:
    """A message whose content is one string and whose tool calls hold parsed arguments, as templates want."""
    flat = dict(message)
    content = message.get("content")
    if content is None:
        flat["content"] = ""
    elif isinstance(content, list):
        parts = [_part(part, rules) for part in content]
        flat["content"] = "\n".join(part for part in parts if part is not None)
    calls = flat.pop("tool_calls", None)
    if calls and message.get("role") == "assistant":  # nobody else's are looked at, whatever they are
        flat["tool_calls"] = [_parsed_call(call) for call in calls]
    return flat


def _part(part: Any, rules: PromptRules) -> str | None:
    """The text of a content part; None: it has none."""
    if isinstance(part, str):
        return part
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text", "refusal", "thinking"):
        key = {"refusal": "refusal", "thinking": "thinking"}.get(kind, "text")
        text = part.get(key)
        if not isinstance(text, str):
            raise ApiError(f"A content part of type {kind!r} must have a string {key!r}.")
        return text
    media = ("image", "audio", "video", "file", "input_image", "input_audio", "input_file")
    if kind is None or (isinstance(kind, str) and kind.startswith(media)):
        if rules.compat.media_parts == "ignored":
            return None
        raise ApiError(f"{rules.config.served_model_name} is not a multimodal model")
    raise ApiError(f"Unknown part type: {kind}")


def _parsed_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call whose arguments are an object; templates index into them."""
    function = call.get("function")
    if not isinstance(function, dict):
        return dict(call)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = parse_text(arguments, "The arguments of a tool call") if arguments else {}
    return {**call, "function": {**function, "arguments": arguments}}
