"""What the picker itself has sent to each endpoint and not yet seen the end of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

# Of GIE v1.5's SimpleTokenEstimator: 4 bytes a token, and 1.5 tokens out for each token in.
_BYTES_PER_TOKEN = 4
_OUTPUT_RATIO = 1.5
# What a request is worth at an endpoint, in tokens.
Cost = Callable[[InferenceRequest, Candidate], int]


def estimated_tokens(size_bytes: int) -> int:
    """Tokens a request will cost, in and out, from the size of its body."""
    if size_bytes <= 0:
        return 0
    tokens = max(size_bytes // _BYTES_PER_TOKEN, 1)
    return tokens + estimated_output(tokens, _OUTPUT_RATIO)


def estimated_output(tokens: int, ratio: float) -> int:
    """Tokens out for so many in; Go's math.Round rounds halves away from zero."""
    return int(tokens * ratio + 0.5) if tokens > 0 else 0


@dataclass(slots=True)
class _Load:
    """What one request is at one endpoint; a prefill ends where the answer begins."""

    endpoint: str
    requests: int
    tokens: int
    is_prefill: bool


class InflightLoad:
    """Requests and tokens per endpoint, from the pick to the end of the response.

    `cost` says what a request is worth. Where it counts the prompt alone, its tokens are over with the first
    byte of the answer (`prompt_only`), as the prompt is then computed.
    """

    def __init__(self) -> None:
        self._requests: dict[str, int] = {}
        self._tokens: dict[str, int] = {}
        self.cost: Cost = lambda request, _: estimated_tokens(request.size_bytes)
        self.prompt_only = False

    def prepare(self, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            endpoint = candidate.endpoint.id
            candidate.inflight_requests = self._requests.get(endpoint, 0)
            candidate.inflight_tokens = self._tokens.get(endpoint, 0)

    def begin(self, request: InferenceRequest, target: Candidate, *, is_prefill: bool = False) -> None:
        """The request goes to `target`; it may go to several, each for a part of its work."""
        load = _Load(target.endpoint.id, 1, self.cost(request, target), is_prefill)
        request.state.setdefault("loads", []).append(load)
        self._add(load.endpoint, load.requests, load.tokens)

    def first_byte(self, request: InferenceRequest) -> None:
        """The answer begins."""
        for load in request.state.get("loads", ()):
            if self.prompt_only or load.is_prefill:
                self._release(load, load.is_prefill)

    def end(self, request: InferenceRequest) -> None:
        """The answer is over."""
        for load in request.state.pop("loads", ()):
            self._release(load, True)

    def requests(self, endpoint: str) -> int:
        return self._requests.get(endpoint, 0)

    def tokens(self, endpoint: str) -> int:
        return self._tokens.get(endpoint, 0)

    def forget(self, endpoint: str) -> None:
        self._requests.pop(endpoint, None)
        self._tokens.pop(endpoint, None)

    def _release(self, load: _Load, whole: bool) -> None:
        requests, tokens = load.requests if whole else 0, load.tokens
        load.requests -= requests
        load.tokens = 0
        # The endpoint may have left the pool, and its counters with it.
        if load.endpoint in self._requests and (requests or tokens):
            self._add(load.endpoint, -requests, -tokens)

    def _add(self, endpoint: str, requests: int, tokens: int) -> None:
        # Requests of an endpoint that left and came back end without having begun.
        self._requests[endpoint] = max(self._requests.get(endpoint, 0) + requests, 0)
        self._tokens[endpoint] = max(self._tokens.get(endpoint, 0) + tokens, 0)
