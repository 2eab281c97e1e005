"""What an engine has to know about its drafter: vLLM 0.33's numbers for each method of speculation.

Sources: `VllmConfig.num_lookahead_tokens`, `num_prefill_lookahead_tokens`, `num_hash_lookahead_tokens` and
`SpeculativeConfig.max_num_new_slots_for_drafting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from simulator.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SpecConfig:
    """A drafter of `num_tokens` tokens a step.

    `acceptance[i]`: the share of drafts whose first i + 1 tokens are all accepted. Raises ConfigError for
    rates that rise or lie outside 0 to 1.
    """

    num_tokens: int
    acceptance: tuple[float, ...]
    method: str = "eagle3"
    lookahead: int = 0  # KV slots that the drafter writes beyond the tokens of the target model
    prefill_lookahead: int = 0  # a prefill chunk ends this far before the end of the prompt, or at it
    hash_lookahead: int = 0  # tokens behind a block that its hash covers
    drops_block: bool = False  # the last block of a prefix hit is computed again
    draft_slots: int = 0  # room in the batch that a drafting sequence takes beside its tokens
    draft_seconds: float | None = None  # of one pass of the drafter; None: the latency model's guess
    draft_passes: int = 0  # passes of a drafter a step

    def __post_init__(self) -> None:
        rates = self.acceptance
        if self.num_tokens < 1:
            raise ConfigError(f"num_speculative_tokens must be at least 1, not {self.num_tokens}")
        if len(rates) != self.num_tokens:
            raise ConfigError(f"{self.num_tokens} acceptance rates are needed, one a position, not {rates}")
        if not all(0.0 <= rate <= 1.0 for rate in rates):
            raise ConfigError(f"acceptance rates must be from 0 to 1, not {rates}")
        if any(rates[i] > rates[i - 1] for i in range(1, len(rates))):
            raise ConfigError(
                f"acceptance rates must not rise, a position counts after those before it: {rates}"
            )

    def draw(self, rng: Random, drafted: int) -> int:
        """How many of `drafted` tokens the target model accepts."""
        share = rng.random()
        accepted = 0
        for rate in self.acceptance[:drafted]:
            if share >= rate:
                break
            accepted += 1
        return accepted


class SpecStats:
    """vLLM's counters of drafts. `histogram[j]` of one request: steps that accepted j tokens."""

    __slots__ = ("accepted", "accepted_per_position", "draft_tokens", "drafts")

    def __init__(self, num_tokens: int) -> None:
        self.drafts = 0
        self.draft_tokens = 0
        self.accepted = 0
        self.accepted_per_position = [0] * num_tokens

    def observe(self, drafted: int, accepted: int) -> None:
        """One draft of one sequence."""
        self.drafts += 1
        self.draft_tokens += drafted
        self.accepted += accepted
        for position in range(accepted):
            self.accepted_per_position[position] += 1


def by_length(length: float, num_tokens: int) -> tuple[float, ...]:
    """Rates whose mean acceptance length, the sampled token included, is `length`, as vLLM makes them."""
    drafts = length - 1
    full = int(drafts)
    rates = [1.0] * full + [drafts - full] + [0.0] * num_tokens
    return tuple(rates[:num_tokens])


def by_rate(rate: float, num_tokens: int) -> tuple[float, ...]:
    """The same chance at each position, given those before it."""
    return tuple(rate ** (position + 1) for position in range(num_tokens))


def mean_length(acceptance: Sequence[float]) -> float:
    """Tokens of a step, the sampled one included."""
    return 1.0 + sum(acceptance)
