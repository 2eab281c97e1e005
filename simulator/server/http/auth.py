"""--api-key: who may ask.

vLLM guards paths that begin with /v1 and a few more; probes and metrics stay open.
"""

from __future__ import annotations

import hmac

from simulator.config.serve import ServeConfig
from simulator.server.http.incoming import Incoming

GUARDED = ("/v1", "/v2", "/inference", "/cohere")


class KeyGuard:
    """The keys of one replica."""

    __slots__ = ("_keys",)

    def __init__(self, config: ServeConfig) -> None:
        self._keys = tuple(key.encode() for key in config.api_keys)

    def refuses(self, incoming: Incoming) -> bool:
        """Whether a request is to be answered 401; the scheme's name is read in any case."""
        if not self._keys or incoming.method == "OPTIONS" or not incoming.path.startswith(GUARDED):
            return False
        given = incoming.header(b"authorization") or b""
        scheme, _, token = given.partition(b" ")
        if scheme.lower() != b"bearer":
            return True
        token = token.strip()
        # Every key is compared, so that the time taken tells nothing.
        matches = [hmac.compare_digest(token, key) for key in self._keys]
        return not any(matches)
