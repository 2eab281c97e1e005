"""The precise prefix cache: what the engines say that they have, not what they were sent.

Prompts must be known as tokens: the client gives them so, or pool/rendering.py has them of an endpoint where
the release has a tokenizer. Other texts score 0, as with an EPP whose tokenizer does not answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.picker.config import duration_of
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.base import PluginContext, Producer, Scorer
from gateway.picker.plugins.text.prompts import token_ids
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.pool.kvindex import WEIGHTS, KVIndex
from gateway.picker.pool.kvsubscriber import KVEventSettings, KVSubscriber
from gateway.picker.request import InferenceRequest

TOKENS = "tokens"  # in a request's state: lists of token ids, one a prompt


class TokenProcessor(msgspec.Struct, rename="camel"):
    block_size: int = 0
    block_size_tokens: int = 0
    hash_seed: str = ""


class PodDiscovery(msgspec.Struct, rename="camel"):
    socket_port: int = 5557
    replay_socket_port: int = 0


class KVEvents(msgspec.Struct, rename="camel"):
    zmq_endpoint: str = ""
    topic_filter: str = "kv@"
    concurrency: int = 4
    engine_type: str = ""
    discover_pods: bool = True
    pod_discovery_config: PodDiscovery | None = None


class PreciseParameters(msgspec.Struct, rename="camel"):
    token_processor_config: TokenProcessor | None = None
    indexer_config: dict[str, Any] = {}
    kv_events_config: KVEvents = msgspec.field(default_factory=KVEvents)
    speculative_indexing: bool = False
    speculative_ttl: str = msgspec.field(default="", name="speculativeTTL")


class Precise:
    """The index, its sockets and what a request matches; part of the producer and of the old scorer."""

    def __init__(self, context: PluginContext) -> None:
        given = context.decode(PreciseParameters)
        nested = given.indexer_config.get("tokenProcessorConfig")
        processor = given.token_processor_config or msgspec.convert(nested or {}, TokenProcessor)
        block = processor.block_size_tokens or processor.block_size or 16
        if block <= 0:
            raise PickerConfigError(f"blockSizeTokens must be greater than 0, got {block}")
        if context.compat.strict_parameters and given.indexer_config.get("tokenizersPoolConfig"):
            raise PickerConfigError(
                "tokenizersPoolConfig is not supported; configure a token-producer plugin instead"
            )
        self.index = KVIndex(block, processor.hash_seed, _weights(given.indexer_config))
        self._with_port = context.compat.strict_parameters
        events = given.kv_events_config
        if events.engine_type not in ("", "vllm"):
            raise PickerConfigError(f"kvEventsConfig.engineType {events.engine_type!r}: only vllm's are read")
        if events.pod_discovery_config and events.pod_discovery_config.replay_socket_port:
            context.warn_inert(["kvEventsConfig.podDiscoveryConfig.replaySocketPort"])
        if given.speculative_ttl:
            duration_of(given.speculative_ttl, "speculativeTTL")
        if given.speculative_indexing:
            context.warn_inert(["speculativeIndexing"])
        discovery = events.pod_discovery_config or PodDiscovery()
        self.settings = KVEventSettings(
            events.zmq_endpoint, discovery.socket_port, events.topic_filter, events.discover_pods
        )
        self.subscriber = KVSubscriber(self.index, self.settings, with_port=self._with_port)

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> dict[str, float]:
        """Fill in what each candidate has of the prompt; the weighted counts, by the index's names."""
        prompts: list[list[int]] | None = request.state.get(TOKENS)
        if prompts is None:
            ids = token_ids(request.body)
            prompts = [ids] if ids else []
        names = {self.subscriber.name_of(candidate.endpoint): candidate for candidate in candidates}
        scores: dict[str, float] = {}
        total = 0
        for tokens in prompts:
            keys = self.index.keys(tokens, request.target_model)
            total += len(keys)
            for name, (score, _) in self.index.matches(keys, names).items():
                scores[name] = scores.get(name, 0.0) + score
        for name, candidate in names.items():
            candidate.prefix_matched = int(scores.get(name, 0.0))
            candidate.prefix_total = total
            candidate.prefix_block_tokens = self.index.block
        return scores


class PreciseProducer(Producer):
    """precise-prefix-cache-producer: matches for prefix-cache-scorer and whoever else reads them."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self.precise = Precise(context)

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> None:
        self.precise.prepare(request, candidates)


class PreciseScorer(Producer, Scorer):
    """precise-prefix-cache-scorer, which has its own producer; up to v0.7 its scores are spread to 0..1."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self.precise = Precise(context)
        self._spread = not context.compat.strict_parameters

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> None:
        request.state[f"precise:{self.name}"] = self.precise.prepare(request, candidates)

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        if not self._spread:
            return [c.prefix_matched / c.prefix_total if c.prefix_total else 0.0 for c in candidates]
        found: Mapping[str, float] = request.state.get(f"precise:{self.name}", {})
        least, most = min(found.values(), default=0.0), max(found.values(), default=0.0)
        names = [self.precise.subscriber.name_of(candidate.endpoint) for candidate in candidates]
        if least == most:
            return [1.0 if name in found else 0.0 for name in names]
        return [(found[name] - least) / (most - least) if name in found else 0.0 for name in names]


def _weights(indexer: Mapping[str, Any]) -> Mapping[str, float]:
    given = indexer.get("kvCacheBackendConfigs") or ()
    return {str(item.get("name")): float(item.get("weight", 1.0)) for item in given} or WEIGHTS
