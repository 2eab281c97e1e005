"""The one error tree of the picker, a branch of gateway.errors.

GatewayError
└── PickerError
    ├── PickerConfigError    a flag, file or EndpointPickerConfig that cannot be used; exit code 2
    ├── ScrapeError          one scrape of one endpoint that failed; its last metrics stay
    └── RequestError         one request that is answered by the picker itself, with an HTTP status
        └── UnschedulableError   (plugins/scheduler.py) the filters left no candidate

Beside it, caught in the folder that raises them: GrpcError ends a call, H2Error a connection, StreamError
one of its streams; NumberError is a body that Go could not hold (wire/).
"""

from __future__ import annotations

from typing import ClassVar

from gateway.errors import GatewayError


class PickerError(GatewayError):
    """Base of every error that the picker raises on purpose."""


class PickerConfigError(PickerError):
    """A flag, file or EndpointPickerConfig that cannot be used; says what, where and what would be right."""

    exit_code = 2


class ScrapeError(PickerError):
    """One scrape of one endpoint that failed; what was known of the endpoint stays as it was."""


class RequestError(PickerError):
    """A request the picker answers itself.

    `code` is one of the keys of STATUS; how it is spelled in the body is the release's (compat.Compat).
    `dropped` is the value of x-llm-d-request-dropped-reason, where the release sends it. `models` are the
    model that was asked for and its target, empty where the request was refused before they were read.
    """

    STATUS: ClassVar[dict[str, int]] = {
        "BadRequest": 400,
        "NotFound": 404,
        "RequestEntityTooLarge": 413,
        "ResourceExhausted": 429,
        "Internal": 500,
        "ServiceUnavailable": 503,
    }

    def __init__(self, code: str, message: str, dropped: str | None = None) -> None:
        super().__init__(f"{code} - {message}")
        self.code = code
        self.message = message
        self.dropped = dropped
        self.models = ("", "")

    @property
    def status(self) -> int:
        return self.STATUS[self.code]
