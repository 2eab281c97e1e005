"""The approximate prefix cache as plugins: the producer of matches, and the scorer that reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins import scorers
from gateway.picker.plugins.base import Plugin, PluginContext, Producer, Scorer
from gateway.picker.plugins.text.prefix import DEFAULT_CAPACITY, PrefixSettings, PrefixTracker
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest


class CharsParameters(msgspec.Struct):
    """Of prefix-cache-scorer up to GIE v1.3."""

    auto_tune: bool = msgspec.field(default=True, name="autoTune")
    block_size: int = msgspec.field(default=64, name="blockSize")
    old_block_size: int = msgspec.field(default=64, name="hashBlockSize")  # of v1.0
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
        return _char_settings(context, context.decode(CharsParameters))
    given = context.decode(TokensParameters)
    _check_tokens(context, given)
    return _token_settings(context, given)


def _positive(value: int, default: int) -> int:
    """What is not positive is the default, as in the EPP."""
    return value if value > 0 else default


def _char_settings(context: PluginContext, given: CharsParameters) -> PrefixSettings:
    block = _positive(given.block_size if given.block_size != 64 else given.old_block_size, 64)
    return PrefixSettings(
        scheme="chars",
        auto_tune=given.auto_tune and context.compat.prefix_tunes,
        block_chars=block,
        block_tokens=block // 4,
        max_blocks=_positive(given.max_blocks, 256),
        max_tokens=0,
        capacity=_positive(given.capacity, DEFAULT_CAPACITY),
        strays=context.compat.prefix_index_strays,
    )


def _check_tokens(context: PluginContext, given: TokensParameters) -> None:
    if given.block_size > 0 and given.block_tokens <= 0 and context.compat.prefix_hash != "pseudo-tokens":
        raise _refused(context, "blockSize is deprecated; use blockSizeTokens, in tokens")
    if not given.auto_tune and given.block_tokens <= 0:
        raise _refused(context, "blockSizeTokens must be > 0 when autoTune is disabled")
    if (given.max_tokens or 0) < 0 or (given.max_blocks or 0) < 0:
        raise _refused(context, "maxPrefixTokensToMatch and maxPrefixBlocksToMatch must be >= 0")


def _token_settings(context: PluginContext, given: TokensParameters) -> PrefixSettings:
    pseudo = context.compat.prefix_hash == "pseudo-tokens"
    block = _positive(given.block_tokens, 16)
    if given.block_size > 0 and pseudo and given.block_tokens == 16:
        block = given.block_size
    return PrefixSettings(
        scheme=context.compat.prefix_hash,
        auto_tune=given.auto_tune,
        block_chars=block * 4,
        block_tokens=block,
        max_blocks=given.max_blocks if given.max_blocks is not None else (2048 if pseudo else 256),
        max_tokens=given.max_tokens if given.max_tokens is not None else (131072 if pseudo else 0),
        capacity=_positive(given.capacity, DEFAULT_CAPACITY),
        strays=context.compat.prefix_index_strays,
    )


def _refused(context: PluginContext, message: str) -> PickerConfigError:
    return PickerConfigError(f"invalid configuration of plugin '{context.name}': {message}")


class Tracking(Plugin):
    """A plugin that owns a PrefixTracker; `on_match` hears (bytes matched, bytes in all) of each pick."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self.tracker = PrefixTracker(prefix_settings(context), context.estimate)
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
