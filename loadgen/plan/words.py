"""Prompts of a wanted number of tokens, without a tokenizer: short common words, one token each.

Real tokenizers have each of these words as a single token behind a blank, and a simulator that splits
at word boundaries counts the same; what the server counted stands in its usage.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from loadgen.scenario.scenario import Distribution

_LIST = """
time year people way day man thing woman life child world school state family student group country
problem hand part place case week company system program question work government number night point
home water room mother area money story fact month lot right study book eye job word business issue
side kind head house service friend father power hour game line end member law car city name
president team minute idea body information back parent face others level office door health person
art war history party result change morning reason research moment air teacher force education foot
boy age policy music market sense nation plan college interest death experience effect use class
control field development role effort rate heart show leader light voice wife police mind price
report decision son view relationship town road arm difference value building action season society
tax director position player record paper space ground form event official matter center couple site
project star table need court oil situation cost industry figure street image phone data picture
practice piece land product doctor wall patient worker news test movie north love support technology
step baby computer type attention film tree source organization hair look century evidence window
culture chance brother energy period course summer plant opportunity term letter condition choice
rule daughter south husband floor campaign material population call economy hospital church risk
fire future bank west sport board subject officer rest behavior performance fight top goal second
bed order author blood agency nature color store sound movement page race concern series language
response animal factor decade article east artist scene stock career treatment approach size dog
fund media sign thought list individual quality pressure answer resource meeting disease success cup
amount ability staff character growth loss degree attack region television box training trade deal
election feeling standard bill message analysis benefit lawyer section glass skill sister professor
operation crime stage compare authority design sort knowledge station strategy truth song example
environment leg dark note purpose
"""
WORDS = tuple(_LIST.split())
# Items of a ring, out of which the long part of every prompt is cut at a place of its own.
_RING = 1 << 16
# The first items of a prompt are drawn one by one, so that no two seeds begin alike.
_HEAD = 6
# Knuth's MMIX generator: 64 bits of state, of which the upper ones are used.
_FACTOR, _STEP, _MASK = 6364136223846793005, 1442695040888963407, (1 << 64) - 1
_SPECIALS = 1000  # ids below are left to special tokens
MOST_SEED = 1 << 53  # seeds are whole numbers of JSON


class Recipe(NamedTuple):
    """How a prompt's text is made when it is sent: equal recipes give equal text.

    `size` words, each behind a blank, or with a `vocabulary` so many token ids of it, as the inside of a
    JSON list. Of two recipes with one seed the shorter text is the beginning of the longer one.
    """

    size: int
    seed: int
    vocabulary: int = 0


class _Ring(NamedTuple):
    items: tuple[str, ...]
    text: str
    offsets: list[int]
    """Where each item of the ring begins in `text`, and its end."""


@functools.lru_cache(maxsize=8)
def _ring(vocabulary: int, words: tuple[str, ...]) -> _Ring:
    rng = np.random.Generator(np.random.PCG64(vocabulary))
    if vocabulary:
        drawn = [f",{number}" for number in rng.integers(_SPECIALS, vocabulary, _RING).tolist()]
        items: tuple[str, ...] = ()
    else:
        items = tuple(f" {word}" for word in words)
        rounds = -(
            -_RING // len(items)
        )  # shuffled again and again: every word is there as often as the others
        order = np.concatenate([rng.permutation(len(items)) for _ in range(rounds)])[:_RING]
        drawn = [items[number] for number in order.tolist()]
    return _Ring(items, "".join(drawn), np.cumsum([0, *map(len, drawn)]).tolist())


def made(recipe: Recipe, words: tuple[str, ...] = ()) -> str:
    """The text of a recipe, out of `words` instead of this module's own if any are given."""
    ring = _ring(recipe.vocabulary, words or WORDS)
    count, state, span = recipe.size, recipe.seed, recipe.vocabulary - _SPECIALS
    head: list[str] = []
    for _ in range(_HEAD):
        state = (state * _FACTOR + _STEP) & _MASK
        head.append(
            f",{_SPECIALS + (state >> 33) % span}"
            if span > 0
            else ring.items[(state >> 33) % len(ring.items)]
        )
    if count <= _HEAD:
        parts = head[: max(0, count)]
    else:
        start, left = ((state * _FACTOR + _STEP) & _MASK) >> 48, count - _HEAD
        parts = head
        while left > 0:
            end = min(_RING, start + left)
            parts.append(ring.text[ring.offsets[start] : ring.offsets[end]])
            left, start = left - (end - start), 0
    text = "".join(parts)
    return text[1:] if recipe.vocabulary else text


def fresh_seed(rng: np.random.Generator) -> int:
    """A seed of a recipe of its own."""
    return int(rng.integers(MOST_SEED))


def mixed_seed(base: int, number: int) -> int:
    """The seed of thing `number` of the many that share `base`; different numbers hardly ever share one."""
    mixed = ((base ^ (number & _MASK)) * _FACTOR + _STEP) & _MASK
    mixed = ((mixed ^ mixed >> 31) * _FACTOR + _STEP) & _MASK
    return mixed >> 11


def sample(distribution: Distribution, rng: np.random.Generator) -> float:
    """One value of a distribution."""
    kind, mean, stddev = distribution.kind, distribution.mean, distribution.stddev
    if kind == "fixed":
        value = mean
    elif kind == "uniform":
        value = rng.uniform(distribution.low, distribution.high)
    elif kind == "normal":
        value = rng.normal(mean, stddev)
    elif kind == "lognormal":
        spread = np.log1p((stddev / mean) ** 2)
        value = rng.lognormal(np.log(mean) - spread / 2, np.sqrt(spread))
    elif kind == "exponential":
        value = rng.exponential(mean)
    else:
        weights = np.array(distribution.weights or [1.0] * len(distribution.values))
        value = rng.choice(np.array(distribution.values), p=weights / weights.sum())
    return float(min(max(value, distribution.low), distribution.high))


def sample_count(distribution: Distribution, rng: np.random.Generator) -> int:
    """One whole number of a distribution, at least 1; a uniform one has its two ends as often as the rest."""
    if distribution.kind == "uniform":
        return max(1, int(rng.integers(round(distribution.low), round(distribution.high) + 1)))
    return max(1, round(sample(distribution, rng)))
