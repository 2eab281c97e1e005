"""What goes wrong on purpose: llm-d's failure injection, X-Return-Error, and the control API's faults.

State and decisions only; the routes act on them. All of it can be changed at run time.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from simulator.config.serve import FaultConfig
from simulator.errors import ConfigError
from simulator.server.errors import ApiError

# type -> status, error type, param, message ("{model}" is the requested one); llm-d-inference-sim's words
_INJECTED: dict[str, tuple[int, str, str | None, str]] = {
    "rate_limit": (
        429,
        "RateLimitError",
        None,
        "Rate limit reached for {model} in organization org-xxx on requests per min (RPM): "
        "Limit 3, Used 3, Requested 1.",
    ),
    "invalid_api_key": (401, "AuthenticationError", None, "Incorrect API key provided."),
    "context_length": (
        400,
        "BadRequestError",
        "messages",
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 4500 tokens.",
    ),
    "server_error": (503, "InternalServerError", None, "The server is overloaded or not ready yet."),
    "invalid_request": (
        400,
        "BadRequestError",
        "model",
        "Invalid request: missing required parameter 'model'.",
    ),
    "model_not_found": (404, "NotFoundError", "model", "The model '{model}-nonexistent' does not exist"),
}
FAILURE_TYPES = tuple(_INJECTED)
USAGES = ("missing", "malformed")
_USAGE = re.compile(rb',?"usage":\s?\{(?:[^{}]|\{[^{}]*\})*\}')
_CONTENT_TYPE = re.compile(rb"content-type: [^\r]*")


@dataclass(slots=True)
class Faults:
    """The faults of one replica. `rate` is percent of requests; the others are set by the control API."""

    rate: int = 0
    types: tuple[str, ...] = FAILURE_TYPES
    cut_stream_after: int | None = None  # tokens after which a stream's connection is reset
    metrics_hang: bool = False  # /metrics never answers
    metrics_status: int | None = None  # /metrics answers this status, empty
    metrics_override: dict[str, float] = field(default_factory=dict)  # family -> value told instead
    unready: bool = False  # readiness routes answer 503
    unhealthy: bool = False  # /health answers 503
    hang_requests: bool = False  # generating routes accept and never answer
    refuse: bool = False  # the sockets are closed, the engine runs on
    usage: str | None = None  # of USAGES: what answers say of their tokens
    truncate: bool = False  # half of an answer's JSON, in a stream of its last events
    content_type: str | None = None  # of answers, instead of theirs
    slow_headers: float = 0.0  # seconds by which an answer begins later

    @classmethod
    def from_config(cls, config: FaultConfig) -> Faults:
        """The faults that the flags ask for."""
        faults = cls()
        faults.set_injection(config.rate, config.types)
        return faults

    def set_injection(self, rate: int, types: tuple[str, ...]) -> None:
        """Failure injection from now on; raises ConfigError where llm-d would refuse."""
        if not 0 <= rate <= 100:
            raise ConfigError(f"failure injection rate should be between 0 and 100, got {rate}")
        unknown = [t for t in types if t not in _INJECTED]
        if unknown:
            raise ConfigError(
                f"invalid failure type '{unknown[0]}', valid types are: {', '.join(FAILURE_TYPES)}"
            )
        self.rate = rate
        self.types = types or FAILURE_TYPES

    def injected(self, model: str, rng: random.Random) -> ApiError | None:
        """The error that this request is to be answered with, if any."""
        if not self.rate or rng.randint(1, 100) > self.rate:
            return None
        status, kind, param, message = _INJECTED[rng.choice(self.types)]
        return ApiError(message.format(model=model), status, kind, param)

    @property
    def reshapes(self) -> bool:
        """Whether answers leave otherwise than they were made."""
        return self.truncate or self.usage is not None

    def headers(self, lines: bytes) -> bytes:
        """The header lines of a good answer, as they are to go out."""
        if self.content_type is None:
            return lines
        kind = b"content-type: " + self.content_type.encode("latin-1", "replace")
        return _CONTENT_TYPE.sub(lambda _: kind, lines)

    def reshaped(self, data: bytes, last: bool) -> bytes:
        """A piece of a good answer's body, as it is to go out; `last`: nothing follows it."""
        if self.usage is not None:
            by = b',"usage":"none"' if self.usage == "malformed" else b""
            data = _USAGE.sub(by, data)
        return data[: len(data) // 2] if self.truncate and last else data
