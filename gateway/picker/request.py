"""One inference request as the scheduler sees it, and how its body is read.

Up to GIE v1.3 the fields of the body tell the API; from v1.4 on the path does, and in llm-d-router the path
tells the parser first, of those that are configured. Types are checked as strictly as Go's decoder checks its
structs, because a body it refuses is a 400 of the picker, not of the model server.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.picker.compat import Compat
from gateway.picker.errors import RequestError
from gateway.picker.wire import gojson

Api = Literal[
    "completions", "chat", "embeddings", "responses", "conversations", "messages", "images", "generate", "raw"
]

_INVALID = {
    "conversations": "invalid conversations request: must have items field",
    "responses": "invalid responses request: must have input field",
    "chat": "invalid chat completions request: must have valid messages field",
    "completions": "invalid completions request: must have prompt field",
    "embeddings": "invalid embeddings request: must have input field",
    "messages": "invalid messages request: must have at least one message",
    "images": "invalid images generations request: must have prompt field",
    "generate": "invalid generate request: must have non-empty token_ids field",
}
_PATH_ENDS: tuple[tuple[str, Api], ...] = (
    ("/conversations", "conversations"),
    ("/responses", "responses"),
    ("/chat/completions", "chat"),
    ("/completions", "completions"),
    ("/embeddings", "embeddings"),
)
# What each of llm-d-router's parsers claims of paths, by their ends; the longest that matches wins.
_CLAIMS: Mapping[str, Mapping[str, Api]] = {
    "openai-parser": {
        "conversations": "conversations",
        "responses": "responses",
        "chat/completions": "chat",
        "chat/completions/render": "chat",
        "completions": "completions",
        "completions/render": "completions",
        "embeddings": "embeddings",
        "images/generations": "images",
    },
    "anthropic-parser": {"messages": "messages", "messages/count_tokens": "raw"},
    "vllmhttp-parser": {"inference/v1/generate": "generate"},
}
PASSTHROUGH = "passthrough-parser"
PARSERS = (*_CLAIMS, PASSTHROUGH)


@dataclass(slots=True)
class RequestBody:
    """A decoded body: which API it is for and its JSON object (empty for `raw`)."""

    api: Api
    payload: dict[str, Any]

    @property
    def stream(self) -> bool:
        return self.payload.get("stream") is True

    @property
    def cache_salt(self) -> str:
        salt = self.payload.get("cache_salt")
        return salt if isinstance(salt, str) else ""


@dataclass(slots=True)
class InferenceRequest:
    """What filters, scorers and pickers may look at."""

    request_id: str
    model: str  # as the client named it
    target_model: str  # after rewrites; the adapter for LoRA scorers
    headers: MutableMapping[str, str]  # what a plugin sets here is sent on
    body: RequestBody
    size_bytes: int = 0
    objective: str = ""
    fairness_id: str = "default-flow"
    priority: int = 0
    state: dict[str, Any] = field(default_factory=dict)  # what a plugin keeps from one hook to the next

    @property
    def max_output_tokens(self) -> int | None:
        """What the client wants at most; None where it does not say."""
        payload = self.body.payload
        if self.body.api == "generate":
            sampling = payload.get("sampling_params")
            payload = sampling if isinstance(sampling, dict) else {}
        names = _MOST_TOKENS.get(self.body.api, ("max_tokens",) if self.body.api == "generate" else ())
        found = (payload[name] for name in names if isinstance(payload.get(name), int | float))
        return next((int(value) for value in found if value >= 0), None)


# The fields that bound a request's output, the first that is there.
_MOST_TOKENS: Mapping[str, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "messages": ("max_tokens",),
    "responses": ("max_output_tokens",),
}


def decode_body(
    raw: bytes,
    headers: Mapping[str, str],
    compat: Compat,
    verbosity: int = 0,
    parsers: Sequence[str] | None = None,
) -> RequestBody:
    """The body of a request; RequestError("BadRequest") in the release's words where it cannot be used.

    parsers: the types of the configured ones; None is the release's own.
    """
    path_api = _api_of_path(headers, compat, parsers) if compat.parser == "path" else None
    if path_api == "raw":
        return RequestBody("raw", {})
    payload = _decode_object(raw, compat, verbosity)
    if compat.model_first:
        model_of(payload)
    if path_api is None:
        return _by_fields(payload, compat)
    if not _valid(path_api, payload, compat):
        raise _bad_body(_INVALID[path_api], compat)
    return RequestBody(path_api, payload)


def model_of(payload: Mapping[str, Any]) -> str:
    """The model a body names; RequestError when it names none."""
    model = payload.get("model")
    if not isinstance(model, str):
        raise RequestError("BadRequest", "model not found in request body")
    return model


def _decode_object(raw: bytes, compat: Compat, verbosity: int) -> dict[str, Any]:
    try:
        payload = gojson.decode(raw)
        if payload is not None and not isinstance(payload, dict):
            raise ValueError(f"cannot unmarshal {type(payload).__name__} into an object")
    except ValueError as error:
        message = bad_json(compat, error)
        if compat.quotes_bad_body and verbosity >= 4:
            message = compat.bad_json_message + ": " + raw.decode("utf-8", "replace")
        raise RequestError("BadRequest", message) from None
    return payload or {}


def bad_json(compat: Compat, error: ValueError) -> str:
    """What a client is told of a body that is no JSON, or none that Go could hold."""
    return compat.bad_json_message + ("" if compat.nested_errors else f": {error}")


def _by_fields(payload: dict[str, Any], compat: Compat) -> RequestBody:
    prompt = payload.get("prompt")
    if isinstance(prompt, str) and prompt and _is(payload, str, "cache_salt"):
        return RequestBody("completions", payload)
    if not _chat_types(payload):
        raise _bad_body("invalid request format", compat)
    if not payload.get("messages"):
        inner = compat.error_format.format(
            code="BadRequest", message="chat-completions request must have at least one message"
        )
        raise _bad_body("invalid chat-completions request: " + inner, compat)
    return RequestBody("chat", payload)


def _bad_body(message: str, compat: Compat) -> RequestError:
    if compat.nested_errors:
        message = compat.error_format.format(code="BadRequest", message=message)
    return RequestError("BadRequest", compat.extract_prefix + message)


def default_parsers(compat: Compat) -> tuple[str, ...]:
    """The types of the parsers that a release has where none is configured."""
    if compat.unknown_paths == "completions":
        return ("openai-parser",)
    return (*_CLAIMS, *((PASSTHROUGH,) if compat.unknown_paths == "forwarded" else ()))


def _api_of_path(headers: Mapping[str, str], compat: Compat, parsers: Sequence[str] | None) -> Api:
    path = headers.get(":path") or headers.get("x-original-path") or headers.get("x-forwarded-path")
    path = (path or "/v1/completions").partition("?")[0]
    given = default_parsers(compat) if parsers is None else parsers
    if compat.unknown_paths != "completions":
        return _claimed(path, given)
    if given and all(parser == PASSTHROUGH for parser in given):
        return "raw"
    return next((api for end, api in _PATH_ENDS if path.endswith(end)), "completions")


def _claimed(path: str, parsers: Sequence[str]) -> Api:
    """The API of a path by the parsers' claims; RequestError where none of them takes it."""
    plain = path.strip().removesuffix("/")
    best: tuple[int, Api] | None = None
    for parser in parsers:
        if parser == PASSTHROUGH:  # it takes whatever is left, and parsers behind it get nothing
            return best[1] if best else "raw"
        for end, api in _CLAIMS.get(parser, {}).items():
            if plain.endswith(end) and (best is None or len(end) > best[0]):
                best = (len(end), api)
    if best is None:
        raise RequestError("BadRequest", f"no parser registered matching path suffix for: {path}")
    return best[1]


def _valid(api: Api, payload: dict[str, Any], compat: Compat) -> bool:
    if api == "completions":
        prompt = payload.get("prompt")
        if compat.prompt_lists != "no" and isinstance(prompt, list):
            return bool(prompt) and _prompt_list(prompt, compat)
        return isinstance(prompt, str) and bool(prompt) and _is(payload, str, "cache_salt")
    if api in ("chat", "messages"):
        return bool(payload.get("messages")) and _chat_types(payload)
    if api in ("images", "generate"):
        return _valid_newer(api, payload)
    if api == "conversations":
        return isinstance(payload.get("items"), list) and bool(payload["items"])
    return payload.get("input") is not None


def _valid_newer(api: Api, payload: dict[str, Any]) -> bool:
    if api == "images":
        return isinstance(payload.get("prompt"), str) and bool(payload["prompt"])
    ids = payload.get("token_ids")
    return isinstance(ids, list) and bool(ids) and all(map(_is_token, ids))


def _prompt_list(prompt: list[Any], compat: Compat) -> bool:
    if all(isinstance(item, str) for item in prompt):
        return True
    return compat.prompt_lists == "ids" and all(_is_token(item) for item in prompt)


def _is_token(value: Any) -> bool:
    """Whether Go takes it for the id of a token: a whole number of 32 bits, written as one or not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == int(value) and 0 <= value < 1 << 32


def _is(payload: Mapping[str, Any], kind: type, *names: str) -> bool:
    """Whether each of the fields is absent, null or of that type."""
    return all(payload.get(name) is None or isinstance(payload[name], kind) for name in names)


def _chat_types(payload: dict[str, Any]) -> bool:
    return (
        _is(payload, list, "messages", "tools", "documents")
        and _is(payload, str, "chat_template", "cache_salt")
        and _is(
            payload, bool, "return_assistant_tokens_mask", "continue_final_message", "add_generation_prompt"
        )
        and _is(payload, dict, "chat_template_kwargs")
        and all(_message_types(message) for message in payload.get("messages") or [])
    )


def _message_types(message: Any) -> bool:
    if message is None:
        return True
    if not isinstance(message, dict) or not _is(message, str, "role"):
        return False
    content = message.get("content")
    if content is None or isinstance(content, str):
        return True
    return isinstance(content, list) and all(_block_types(block) for block in content)


def _block_types(block: Any) -> bool:
    if block is None:
        return True
    if not isinstance(block, dict) or not _is(block, str, "type", "text"):
        return False
    image = block.get("image_url")
    return image is None or (isinstance(image, dict) and _is(image, str, "url"))
