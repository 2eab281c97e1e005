"""Prompts of a wanted number of tokens, without a tokenizer: short common words, one token each.

Real tokenizers have each of these words as a single token behind a blank, and a simulator that splits
at word boundaries counts the same; what the server counted stands in its usage.
"""

from __future__ import annotations

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
_TABLE = np.array([f" {word}" for word in WORDS], dtype=object)


def text_of(count: int, rng: np.random.Generator) -> str:
    """`count` words, each behind a blank."""
    return "".join(_TABLE[rng.integers(0, len(WORDS), count)])


def ids_of(count: int, vocabulary: int, rng: np.random.Generator) -> str:
    """`count` token ids as the inside of a JSON list; the first thousand ids are left to specials."""
    return ",".join(map(str, rng.integers(1000, vocabulary, count).tolist()))


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
