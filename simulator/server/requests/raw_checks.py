"""What vLLM's request validators look at before types are checked: raw fields, in the order of their calls.

pydantic calls them from the last one defined to the first. A value of a type that nobody expects is left to
the check of types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.config.compat import Compat
from simulator.server.errors import ApiError, invalid
from simulator.server.requests.schema import LegacyStructuralTagResponseFormat, StructuralTagResponseFormat
from simulator.server.requests.validation import from_errors

Raw = Mapping[str, Any]
_NO_PROMPT = "Either prompt or prompt_embeds must be provided and non-empty."
_EMPTY_TOOLS = (
    "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
)
_NO_SUCH_TOOL = "The tool specified in `tool_choice` does not match any of the specified `tools`"
_TOOL_CHOICE_USAGE = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'
_ONE_CONSTRAINT = (
    "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice')."
)
_NOT_BOTH = "You can only either use constraints for structured outputs or tools, not both."
_BAD_TAG = "Invalid response_format structural_tag specification."
_MAX_SALT = 128
_UNKNOWN_TOOL = "Tool choice 'function' not found in 'tools' parameter."
_CUSTOM_GRAMMAR = (
    "Custom tools with a grammar format are not supported; only free-form text custom tools are accepted."
)
_tags: TypeAdapter[Any] = TypeAdapter(LegacyStructuralTagResponseFormat | StructuralTagResponseFormat)

_OLDER = frozenset(("guided_json", "guided_regex", "guided_choice", "guided_grammar"))
_RECENT = frozenset(("mm_payload", "return_mm_kwargs", "return_token_offsets"))
_LLMD = frozenset(("cache_hit_threshold",))
# Fields that llm-d-inference-sim v0.7.1 reads; it ignores all others, whatever their type.
_GO_COMMON = (
    *("model", "stream", "stream_options", "ignore_eos", "max_tokens", "logprobs", "cache_hit_threshold"),
    *("kv_transfer_params", "seed", "request_id", "n"),
)
GO_COMPLETION = frozenset((*_GO_COMMON, "prompt"))
GO_CHAT = frozenset(
    (*_GO_COMMON, "messages", "max_completion_tokens", "tools", "tool_choice", "top_logprobs")
)


def known_fields(raw: dict[str, Any], compat: Compat, strict: bool) -> dict[str, Any]:
    """`raw` with the fields hidden that only other servers than the imitated one look at."""
    foreign = _OLDER if compat.recent_fields else _RECENT
    if strict and not compat.go_fields:
        foreign |= _LLMD
    if foreign.isdisjoint(raw):
        return raw
    # Under a name that nobody reads: errors count the fields of a body.
    return {f"\0{key}" if key in foreign else key: value for key, value in raw.items()}


def before_completion(raw: Raw, compat: Compat) -> None:
    """Checks on the raw fields of a completion; raises ApiError."""
    if not compat.parameter_checks:
        return
    if raw.get("prompt") in (None, "") and raw.get("prompt_embeds") in (None, []):
        raise _refusal(compat, raw, _NO_PROMPT, "prompt")
    _check_stream_options(raw, compat)
    if compat.recent_fields:
        _check_logprob_ids(raw, compat, "`logprobs` must be set.", raw.get("logprobs") is None)
    _check_integers(raw, compat, "prompt_logprobs", "logprobs")
    _check_prompt_logprobs(raw, compat)
    logprobs = raw.get("logprobs")
    if logprobs is not None and logprobs < 0 and logprobs != -1:
        raise _refusal(compat, raw, "`logprobs` must be a positive value or -1.", "logprobs", logprobs)
    if compat.recent_fields:
        _check_constraints(raw, compat, "structured_outputs")
        _check_response_format(raw, compat)
        check_cache_salt(raw.get("cache_salt"), compat)


def before_chat(raw: Raw, compat: Compat) -> None:
    """Checks on the raw fields of a chat; raises ApiError."""
    if not compat.parameter_checks:
        return
    if raw.get("continue_final_message") and raw.get("add_generation_prompt"):
        message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        raise _refusal(compat, raw, message, None)
    _check_tools(raw, compat)
    if compat.recent_fields:
        _check_constraints(raw, compat, None)
        _check_logprob_ids(raw, compat, "`logprobs` must be set to true.", not raw.get("logprobs"))
    _check_integers(raw, compat, "prompt_logprobs", "top_logprobs")
    _check_prompt_logprobs(raw, compat)
    top = raw.get("top_logprobs")
    if top is not None:
        if top < 0 and top != -1:
            raise _refusal(compat, raw, "`top_logprobs` must be a positive value or -1.", "top_logprobs", top)
        if top and not raw.get("logprobs"):
            message = "when using `top_logprobs`, `logprobs` must be set to true."
            raise _refusal(compat, raw, message, "top_logprobs")
    _check_stream_options(raw, compat)
    if compat.recent_fields:
        _check_response_format(raw, compat)
        check_cache_salt(raw.get("cache_salt"), compat)


def before_response(raw: dict[str, Any], compat: Compat) -> dict[str, Any]:
    """Checks on the raw fields of a Responses request, and the fields as they go on; raises ApiError."""
    raw = _check_response_tools(raw, compat)
    tools = raw.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        form = tool.get("format") if isinstance(tool, dict) and tool.get("type") == "custom" else None
        if isinstance(form, dict) and form.get("type") == "grammar":
            raise invalid(compat, _CUSTOM_GRAMMAR, "tools")
    if raw.get("prompt") is not None:
        raise invalid(compat, "prompt template is not supported", "prompt")
    if raw.get("background") and not raw.get("store", True):
        raise invalid(compat, "background can only be used when `store` is true", "background")
    check_cache_salt(raw.get("cache_salt"), compat)
    return raw


def _check_response_tools(raw: dict[str, Any], compat: Compat) -> dict[str, Any]:
    tools, choice = raw.get("tools"), raw.get("tool_choice", "auto")
    named = isinstance(choice, dict) and choice.get("type") in ("function", "custom")
    if not tools:
        if choice in ("auto", "none"):
            return {**raw, "tool_choice": "none"}
        if choice == "required":
            message = "Tool choice 'required' must be specified with 'tools' parameter."
            raise invalid(compat, message, "tool_choice")
        if named:
            raise invalid(compat, _UNKNOWN_TOOL, "tool_choice")
    elif named and isinstance(tools, list):
        names = [tool.get("name") for tool in tools if isinstance(tool, dict)]  # of any type so far
        if not choice.get("name") or choice["name"] not in names:
            raise invalid(compat, _UNKNOWN_TOOL, "tool_choice")
    return raw


def check_cache_salt(salt: object, compat: Compat) -> None:
    """A salt goes to cache backends that use it in paths; raises ApiError."""
    if salt is None:
        return
    if not isinstance(salt, str) or not salt:
        message = "Parameter 'cache_salt' must be a non-empty string if provided."
        raise invalid(compat, message, "cache_salt")
    if len(salt) > _MAX_SALT or any(char in "@/\\\0" for char in salt):
        message = (
            "Parameter 'cache_salt' must be at most 128 characters and must not contain "
            "'@', '/', '\\\\', or NUL."
        )
        raise invalid(compat, message, "cache_salt")


def _refusal(compat: Compat, raw: Raw, message: str, param: str | None, value: object = None) -> ApiError:
    """A validator's refusal; where validators only raise ValueError it is one more pydantic error."""
    if compat.listed_refusals:
        found = {
            "type": "value_error",
            "loc": ("body",),
            "msg": f"Value error, {message}",
            "input": dict(raw),
            "ctx": {"error": ValueError(message)},
        }
        return from_errors([found], compat)
    return ApiError(message) if param is None else invalid(compat, message, param, value)


def _check_stream_options(raw: Raw, compat: Compat) -> None:
    if raw.get("stream_options") and not raw.get("stream"):
        message = "Stream options can only be defined when `stream=True`."
        raise _refusal(compat, raw, message, "stream_options")


def _check_logprob_ids(raw: Raw, compat: Compat, needed: str, is_missing: bool) -> None:
    if not raw.get("logprob_token_ids"):
        return
    name = "logprob_token_ids"
    if raw.get("use_beam_search"):
        raise invalid(compat, "`logprob_token_ids` is not supported with beam search.", name)
    if "prompt" in raw and raw.get("echo") and raw.get("max_tokens") == 0:
        message = (
            "`logprob_token_ids` is not supported when `echo=True` and `max_tokens=0` because no output "
            "tokens are generated."
        )
        raise invalid(compat, message, name)
    if is_missing:
        raise invalid(compat, f"when using `logprob_token_ids`, {needed}", name)


def _check_integers(raw: Raw, compat: Compat, *names: str) -> None:
    for name in names:
        value = raw.get(name)
        if value is not None and not isinstance(value, int | float):
            raise _refusal(compat, raw, f"`{name}` must be an integer.", name, value)


def _check_prompt_logprobs(raw: Raw, compat: Compat) -> None:
    value = raw.get("prompt_logprobs")
    if value is None:
        return
    if raw.get("stream") and (value > 0 or value == -1):
        message = "`prompt_logprobs` are not available when `stream=True`."
        raise _refusal(compat, raw, message, "prompt_logprobs")
    if value < 0 and value != -1:
        message = "`prompt_logprobs` must be a positive value or -1."
        raise _refusal(compat, raw, message, "prompt_logprobs", value)


def _check_constraints(raw: Raw, compat: Compat, param: str | None) -> None:
    wanted = raw.get("structured_outputs")
    if not isinstance(wanted, dict):  # vLLM falls over it: 500
        return
    count = sum(wanted.get(kind) is not None for kind in ("json", "regex", "choice"))
    if count > 1:
        raise _refusal(compat, raw, _ONE_CONSTRAINT, param)
    if wanted.get("structural_tag") == "":
        message = "Invalid structured_outputs structural_tag specification."
        raise invalid(compat, message, "structured_outputs")
    if count and param is None and raw.get("tool_choice", "none") not in ("none", "auto", "required"):
        raise _refusal(compat, raw, _NOT_BOTH, None)


def _check_response_format(raw: Raw, compat: Compat) -> None:
    wanted = raw.get("response_format")
    if not isinstance(wanted, dict):
        return
    if wanted.get("type") == "json_schema" and wanted.get("json_schema") is None:
        message = "When response_format type is 'json_schema', the 'json_schema' field must be provided."
        raise invalid(compat, message, "response_format")
    if wanted.get("type") == "structural_tag":
        try:
            found = _tags.validate_python(wanted)
        except ValidationError:
            raise invalid(compat, _BAD_TAG, "response_format") from None
        if isinstance(found, LegacyStructuralTagResponseFormat):
            is_whole = bool(found.structures and found.triggers)
        else:
            is_whole = isinstance(found.format, dict) and bool(found.format.get("type"))
        if not is_whole:
            raise invalid(compat, _BAD_TAG, "response_format")


def _check_tools(raw: Raw, compat: Compat) -> None:
    tools, choice = raw.get("tools"), raw.get("tool_choice")
    if tools == []:
        raise _refusal(compat, raw, _EMPTY_TOOLS, "tools")
    if choice is None or choice == "none":
        return
    if tools is None:
        raise _refusal(compat, raw, "When using `tool_choice`, `tools` must be set.", "tool_choice")
    if isinstance(choice, dict):
        _check_named_tool(raw, choice, tools, compat)
    elif choice not in ("auto", "required") and compat.recent_fields:
        message = (
            f"Invalid value for `tool_choice`: {choice}! "
            'Only named tools, "none", "auto" or "required" are supported.'
        )
        raise invalid(compat, message, "tool_choice")


def _check_named_tool(raw: Raw, choice: dict[str, Any], tools: Any, compat: Compat) -> None:
    function = choice.get("function")
    if not isinstance(function, dict):
        if compat.recent_fields:
            message = f"Invalid value for `function`: `{function}` in `tool_choice`! {_TOOL_CHOICE_USAGE}"
            raise invalid(compat, message, "tool_choice.function")
        return
    name = function.get("name")
    if compat.recent_fields:
        if "name" not in function:
            message = f"Expected field `name` in `function` in `tool_choice`! {_TOOL_CHOICE_USAGE}"
            raise invalid(compat, message, "tool_choice.function.name")
        if not isinstance(name, str) or not name:
            message = f"Invalid `name` in `function`: `{name}` in `tool_choice`! {_TOOL_CHOICE_USAGE}"
            raise invalid(compat, message, "tool_choice.function.name")
    if isinstance(tools, list):
        functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
        if name not in [known.get("name") for known in functions if isinstance(known, dict)]:
            raise _refusal(compat, raw, _NO_SUCH_TOOL, "tool_choice")
