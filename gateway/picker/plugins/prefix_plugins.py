"""The approximate prefix cache as plugins: the producer of matches, and the scorer that reads them."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins import scorers
from gateway.picker.plugins.base import Plugin, PluginContext, Producer, Scorer
from gateway.picker.plugins.prefix import DEFAULT_CAPACITY, PrefixSettings, PrefixTracker
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest


class CharsParameters(msgspec.Struct):
    """Of prefix-cache-scorer in GIE v1.2 and v1.3."""

    auto_tune: bool = msgspec.field(default=True, name="autoTune")
    block_size: int = msgspec.field(default=64, name="blockSize")
    max_blocks: int = msgspec.field(default=256, name="maxPrefixBlocksToMatch")
    capacity: int = msgspec.field(default=DEFAULT_CAPACITY, name="lruCapacityPerServer")


class TokensParameters(msgspec.Struct):
    """Of approx-prefix-cache-producer, and of prefix-cache-scorer in GIE v1.4 and v1.5."""

    auto_tune: bool = msgspec.field(default=True, name="autoTune")
    block_size: int = msgspec.field(default=0, name="blockSize")
    block_tokens: int = msgspec.field(default=16, name="blockSizeTokens")
    max_blocks: int | None = msgspec.field(default=None, name="maxPrefixBlocksToMatch")
    max_tokens: int | None = msgspec.field(default=None, name="maxPrefixTokensToMatch")
    capacity: int = msgspec.field(default=DEFAULT_CAPACITY, name="lruCapacityPerServer")


def prefix_settings(context: PluginContext) -> PrefixSettings:
    """The release's defaults with the plugin's parameters over them; PickerConfigError for bad ones."""
    if context.compat.prefix_hash == "chars":
        chars = context.decode(CharsParameters)
        return PrefixSettings(
            scheme="chars",
            auto_tune=chars.auto_tune,
            block_chars=chars.block_size if chars.block_size > 0 else 64,
            block_tokens=(chars.block_size if chars.block_size > 0 else 64) // 4,
            max_blocks=chars.max_blocks if chars.max_blocks > 0 else 256,
            max_tokens=0,
            capacity=chars.capacity if chars.capacity > 0 else DEFAULT_CAPACITY,
            strays=context.compat.prefix_index_strays,
        )
    return _token_settings(context, context.decode(TokensParameters))


def _token_settings(context: PluginContext, given: TokensParameters) -> PrefixSettings:
    pseudo = context.compat.prefix_hash == "pseudo-tokens"
    block = given.block_tokens
    if given.block_size > 0 and pseudo and block == 16:
        block = given.block_size
    if given.block_size > 0 and not pseudo and block <= 0:
        raise _refused(context, "blockSize is deprecated; use blockSizeTokens, in tokens")
    if not given.auto_tune and block <= 0:
        raise _refused(context, "blockSizeTokens must be > 0 when autoTune is disabled")
    if (given.max_tokens or 0) < 0 or (given.max_blocks or 0) < 0:
        raise _refused(context, "maxPrefixTokensToMatch and maxPrefixBlocksToMatch must be >= 0")
    blocks = given.max_blocks if given.max_blocks is not None else (2048 if pseudo else 256)
    tokens = given.max_tokens if given.max_tokens is not None else (131072 if pseudo else 0)
    return PrefixSettings(
        scheme=context.compat.prefix_hash,
        auto_tune=given.auto_tune,
        block_chars=(block if block > 0 else 16) * 4,
        block_tokens=block if block > 0 else 16,
        max_blocks=blocks,
        max_tokens=tokens,
        capacity=given.capacity if given.capacity > 0 else DEFAULT_CAPACITY,
        strays=context.compat.prefix_index_strays,
    )


def _refused(context: PluginContext, message: str) -> PickerConfigError:
    return PickerConfigError(f"invalid configuration of plugin '{context.name}': {message}")


class Tracking(Plugin):
    """A plugin that owns a PrefixTracker; `on_match` hears (bytes matched, bytes in all) of each pick."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self.tracker = PrefixTracker(prefix_settings(context))
        self.on_match: Callable[[int, int], Any] = lambda _matched, _total: None

    def pre_request(self, request: InferenceRequest, target: Candidate) -> None:
        self.on_match(*self.tracker.record(request, target))


class PrefixProducer(Tracking, Producer):
    """approx-prefix-cache-producer."""

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> None:
        self.tracker.prepare(request, candidates)


class TrackingPrefixScorer(Tracking, Scorer):
    """prefix-cache-scorer of GIE v1.2 and v1.3, which hashes and remembers by itself."""

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        self.tracker.prepare(request, candidates)
        return scorers.prefix_cache(request, candidates, scorers.PrefixScoreParameters())


class PrefixScorer(Scorer):
    """prefix-cache-scorer that reads what the producer found."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._parameters = scorers.PrefixScoreParameters()
        if context.compat.prefix_hash == "pseudo-tokens" and not producer_parameters(context.parameters):
            self._parameters = context.decode(scorers.PrefixScoreParameters)
        if not 0.0 <= self._parameters.match_length_weight <= 1.0:
            raise _refused(context, "matchLengthWeight must be between 0.0 and 1.0")

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        return scorers.prefix_cache(request, candidates, self._parameters)


def producer_parameters(parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Those of a prefix-cache-scorer's parameters that are meant for the producer it needs."""
    known = {field.encode_name for field in msgspec.structs.fields(TokensParameters)}
    return {name: value for name, value in (parameters or {}).items() if name in known} or None


def prefix_scorer(context: PluginContext) -> Plugin:
    """prefix-cache-scorer, as the release has it."""
    return TrackingPrefixScorer(context) if context.compat.prefix_hash == "chars" else PrefixScorer(context)
