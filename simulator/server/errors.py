"""Errors as HTTP answers: vLLM's error object and the exception that carries it to a route's end.

`{"error":{"message","type","param","code"}}` in this key order, compact, status = code.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from simulator.config.compat import Compat
from simulator.errors import SimfleetError

_encode = msgspec.json.Encoder().encode
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class ApiError(SimfleetError):
    """An answer other than 200. `kind` is the error's "type", `param` the field at fault.

    `streams` marks what vLLM finds out only in the engine: a streaming request has its 200 by then and reads
    the error as an event. `plain` answers carry the message alone, as text.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        kind: str = "BadRequestError",
        param: str | None = None,
        *,
        streams: bool = False,
        plain: bool = False,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.streams = streams
        self.plain = plain
        self.headers = headers
        self.anthropic = False  # told in the form of Anthropic's API

    def as_dict(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.status,
            }
        }

    def body(self) -> bytes:
        """The body of the answer that is this error."""
        if self.anthropic:
            return self.anthropic_body()
        return self.message.encode() if self.plain else _encode(self.as_dict())

    def anthropic_body(self) -> bytes:
        """The same in the form and with the error types of Anthropic's API."""
        other = "api_error" if self.status >= 500 else "invalid_request_error"
        kind = _ANTHROPIC_TYPES.get(self.status, other)
        return _encode({"type": "error", "error": {"type": kind, "message": self.message}})

    def event(self) -> bytes:
        """The same as a server-sent event, spaced as Python's json.dumps does."""
        return b"data: " + json.dumps(self.as_dict()).encode() + b"\n\n"


def invalid(
    compat: Compat, message: str, param: str, value: object = None, *, streams: bool = False
) -> ApiError:
    """vLLM's VLLMValidationError: the message says again which parameter had which value."""
    if compat.message_suffix:
        message += f" (parameter={param})" if value is None else f" (parameter={param}, value={value})"
    return ApiError(message, param=param if compat.error_param else None, streams=streams)


def unknown_model(compat: Compat, model: str, served: tuple[str, ...]) -> ApiError:
    """404 for a name that is neither served nor an adapter."""
    message = f"The model `{model}` does not exist."
    if compat.unknown_model_aliases:
        message += f" Valid aliases: {', '.join(served)}."
    return ApiError(message, 404, "NotFoundError", "model" if compat.error_param else None)


def internal_error() -> ApiError:
    """What vLLM says when its engine failed, and of requests that a shutdown cut off."""
    return ApiError("The server had an error while processing your request.", 500, "InternalServerError")


def paused() -> ApiError:
    return ApiError("Generation is paused. Please retry after it resumes.", 503, "ServiceUnavailableError")


def busy() -> ApiError:
    """--max-num-queued-reqs is reached."""
    return ApiError(
        "The engine is currently busy and cannot accept new requests. "
        "Please try again later or on a different instance.",
        503,
        "Service Unavailable",
    )


def queue_full() -> ApiError:
    """llm-d's --max-waiting-queue-length is reached."""
    message = "Failed to enqueue request, waiting requests queue is full"
    return ApiError(message, 429, "RateLimitError", headers=((b"retry-after", b"1"),))


def body_too_large(limit: int) -> ApiError:
    return ApiError(f"The request body is larger than {limit} bytes.", 413, "Request Entity Too Large")
