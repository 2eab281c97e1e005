"""What the picker itself has sent to each endpoint and not yet seen the end of."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

# Of GIE v1.5's SimpleTokenEstimator: 4 bytes a token, and 1.5 tokens out for each token in.
_BYTES_PER_TOKEN = 4
_OUTPUT_RATIO = 1.5


def estimated_tokens(size_bytes: int) -> int:
    """Tokens a request will cost, in and out, from the size of its body."""
    if size_bytes <= 0:
        return 0
    tokens = max(size_bytes // _BYTES_PER_TOKEN, 1)
    # Go's math.Round rounds halves away from zero.
    return tokens + int(tokens * _OUTPUT_RATIO + 0.5)


class InflightLoad:
    """Requests and estimated tokens per endpoint, from the pick to the end of the response."""

    def __init__(self) -> None:
        self._requests: dict[str, int] = {}
        self._tokens: dict[str, int] = {}

    def prepare(self, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            endpoint = candidate.endpoint.id
            candidate.inflight_requests = self._requests.get(endpoint, 0)
            candidate.inflight_tokens = self._tokens.get(endpoint, 0)

    def begin(self, request: InferenceRequest, endpoint: str) -> None:
        self._add(endpoint, 1, estimated_tokens(request.size_bytes))

    def end(self, request: InferenceRequest, endpoint: str) -> None:
        # The endpoint may have left the pool, and its counters with it.
        if endpoint in self._requests:
            self._add(endpoint, -1, -estimated_tokens(request.size_bytes))

    def requests(self, endpoint: str) -> int:
        return self._requests.get(endpoint, 0)

    def tokens(self, endpoint: str) -> int:
        return self._tokens.get(endpoint, 0)

    def forget(self, endpoint: str) -> None:
        self._requests.pop(endpoint, None)
        self._tokens.pop(endpoint, None)

    def _add(self, endpoint: str, requests: int, tokens: int) -> None:
        # Requests of an endpoint that left and came back end without having begun.
        self._requests[endpoint] = max(self._requests.get(endpoint, 0) + requests, 0)
        self._tokens[endpoint] = max(self._tokens.get(endpoint, 0) + tokens, 0)
