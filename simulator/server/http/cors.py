"""Cross-origin answers for --allowed-origins and its companions; without allowed origins nothing happens."""

from __future__ import annotations

from simulator.config.serve import ServeConfig
from simulator.server.http.incoming import Incoming, Pair
from simulator.server.http.writer import Writer, header_lines

_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


class Cors:
    """The rules of one replica."""

    __slots__ = ("_config", "_origins")

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._origins = frozenset(config.allowed_origins)

    def applies(self, incoming: Incoming) -> bool:
        return bool(self._origins) and incoming.header(b"origin") is not None

    @staticmethod
    def is_preflight(incoming: Incoming) -> bool:
        return incoming.method == "OPTIONS" and incoming.header(b"access-control-request-method") is not None

    def _allowed(self, origin: str) -> str | None:
        """What access-control-allow-origin says to `origin`; None: it is not allowed."""
        if "*" in self._origins and not self._config.allow_credentials:
            return "*"
        return origin if "*" in self._origins or origin in self._origins else None

    def headers(self, incoming: Incoming) -> tuple[Pair, ...]:
        """What lets a browser read the answer; nothing for an origin that is not allowed."""
        origin = (incoming.header(b"origin") or b"").decode("latin-1")
        allowed = self._allowed(origin)
        if allowed is None:
            return ()
        headers: tuple[Pair, ...] = ((b"access-control-allow-origin", allowed.encode("latin-1")),)
        if self._config.allow_credentials:
            headers += ((b"access-control-allow-credentials", b"true"),)
        return headers

    def preflight(self, incoming: Incoming, writer: Writer) -> None:
        """Answer an OPTIONS that asks whether a request would be allowed."""
        headers = list(self.headers(incoming))
        good = bool(headers)
        methods = self._config.allowed_methods
        named = _METHODS if "*" in methods else ", ".join(methods)
        headers.append((b"access-control-allow-methods", named.encode()))
        asked = incoming.header(b"access-control-request-headers")
        if "*" not in self._config.allowed_headers:
            asked = ", ".join(self._config.allowed_headers).encode()
        if asked:
            headers.append((b"access-control-allow-headers", asked))
        headers += [
            (b"access-control-max-age", b"600"),
            (b"vary", b"Origin"),
            (b"content-type", b"text/plain; charset=utf-8"),
        ]
        body = b"OK" if good else b"Disallowed CORS origin"
        writer.respond(200 if good else 400, header_lines(headers), body)
