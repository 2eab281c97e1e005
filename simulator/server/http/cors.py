"""Cross-origin answers for --allowed-origins and its companions; without allowed origins nothing happens."""

from __future__ import annotations

from typing import Any, Final

from simulator.config.serve import ServeConfig
from simulator.server.http.writer import Message, Send

_METHODS: Final = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


class Cors:
    """The rules of one replica."""

    __slots__ = ("_config", "_origins")

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._origins = frozenset(config.allowed_origins)

    def applies(self, scope: dict[str, Any]) -> bool:
        return bool(self._origins) and _header(scope, b"origin") is not None

    @staticmethod
    def is_preflight(scope: dict[str, Any]) -> bool:
        return scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None

    def _allowed(self, origin: str) -> str | None:
        """What access-control-allow-origin says to `origin`; None: it is not allowed."""
        if "*" in self._origins and not self._config.allow_credentials:
            return "*"
        return origin if "*" in self._origins or origin in self._origins else None

    def _headers(self, scope: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        origin = (_header(scope, b"origin") or b"").decode("latin-1")
        allowed = self._allowed(origin)
        if allowed is None:
            return []
        headers = [(b"access-control-allow-origin", allowed.encode("latin-1"))]
        if self._config.allow_credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
        return headers

    async def preflight(self, scope: dict[str, Any], send: Send) -> None:
        """Answer an OPTIONS that asks whether a request would be allowed."""
        headers = self._headers(scope)
        good = bool(headers)
        methods = self._config.allowed_methods
        headers.append(
            (
                b"access-control-allow-methods",
                (_METHODS if "*" in methods else ", ".join(methods)).encode(),
            )
        )
        asked = _header(scope, b"access-control-request-headers")
        if "*" not in self._config.allowed_headers:
            asked = ", ".join(self._config.allowed_headers).encode()
        if asked:
            headers.append((b"access-control-allow-headers", asked))
        body = b"OK" if good else b"Disallowed CORS origin"
        headers += [
            (b"access-control-max-age", b"600"),
            (b"vary", b"Origin"),
            (b"content-length", str(len(body)).encode()),
            (b"content-type", b"text/plain; charset=utf-8"),
        ]
        await send({"type": "http.response.start", "status": 200 if good else 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def wrap(self, scope: dict[str, Any], send: Send) -> Send:
        """`send` with the headers that let a browser read the answer."""
        extra = self._headers(scope)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        return sending


def _header(scope: dict[str, Any], wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)
