"""Loads in flight as plugins: llm-d-router's producer, and what reads it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins import scorers
from gateway.picker.plugins.base import Plugin, PluginContext, Producer, Scorer, Settings
from gateway.picker.plugins.text.prompts import BYTES_PER_TOKEN, pseudo_tokens
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.pool.inflight import estimated_output
from gateway.picker.request import InferenceRequest


class InflightLoadParameters(msgspec.Struct, rename="camel"):
    add_estimated_output_tokens: bool = False
    output_ratio: float = 1.5
    max_estimated_output_tokens: int | None = None
    prefix_match_info_producer_name: str = ""


class InflightLoadProducer(Producer):
    """llm-d-router's inflight-load-producer: a request is worth the tokens that its endpoint has not cached.

    With addEstimatedOutputTokens it is worth its output too, until its end.
    """

    late = True

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        given = context.decode(InflightLoadParameters)
        if given.output_ratio < 0 or (given.max_estimated_output_tokens or 0) < 0:
            raise PickerConfigError(
                f"plugin '{self.name}' (type {self.type_name}): outputRatio and maxEstimatedOutputTokens "
                "must be non-negative"
            )
        self._given, self._estimate = given, context.estimate
        context.inflight.cost = self.tokens
        context.inflight.prompt_only = not given.add_estimated_output_tokens

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            candidate.own_tokens = self.tokens(request, candidate)

    def tokens(self, request: InferenceRequest, candidate: Candidate) -> int:
        """What the request would add to an endpoint."""
        prompts = pseudo_tokens(request, self._estimate)
        asked = sum(len(prompt) // BYTES_PER_TOKEN for prompt in prompts)
        indexed = candidate.prefix_total * candidate.prefix_block_tokens
        if indexed:
            matched = candidate.prefix_matched * candidate.prefix_block_tokens
            left = max(indexed - matched, 0) + max(asked - indexed, 0)
        else:
            left = asked
        return left + (self._output(request, asked) if self._given.add_estimated_output_tokens else 0)

    def _output(self, request: InferenceRequest, asked: int) -> int:
        limits = (request.max_output_tokens, self._given.max_estimated_output_tokens)
        return min([estimated_output(asked, self._given.output_ratio), *(n for n in limits if n is not None)])


class TokenLoad(Scorer):
    """Tokens in flight, with the request's own where a producer knows them."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._parameters = context.decode(scorers.TokenLoadParameters)
        self._blind = context.hears_of_no_load()

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        if self._blind:
            return [1.0] * len(candidates)
        return scorers.token_load(request, candidates, self._parameters)


def inflight_load_producer(context: PluginContext) -> Plugin:
    """inflight-load-producer, as the release has it; GIE v1.5's has no parameters."""
    if context.compat.prefix_hash == "pseudo-tokens":
        return InflightLoadProducer(context)
    return Settings(context, context.parameters or {})
