"""How long an answer gets, as llm-d-inference-sim draws it in random mode, and a thought before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from random import Random

# shares of the five ranges below the maximum and of the maximum itself
_SHARES = tuple(accumulate((0.2, 0.3, 0.2, 0.05, 0.1, 0.15)))
_STRETCHED = 3  # the range that takes what is left of a large maximum
_RANGE = 20
_MEAN, _STD_DEV = 40.0, 20.0  # without max_tokens
_FEW = 20


def below_maximum(maximum: int, rng: Random) -> int:
    """Tokens of an answer under a given max_tokens; `maximum` itself means that it was cut."""
    if maximum <= 1:
        return maximum
    if maximum <= 6:
        return 1 + int(rng.random() * maximum)
    share = rng.random()
    bucket = next((i for i, bound in enumerate(_SHARES) if share < bound), len(_SHARES) - 1)
    if bucket == len(_SHARES) - 1:
        return maximum
    start, end = _bounds(maximum, bucket)
    return start + int(rng.random() * (end - start + 1))


def _bounds(maximum: int, bucket: int) -> tuple[int, int]:
    """First and last length of a range: five equal ones up to 101, else 20 wide but for the stretched one."""
    if maximum <= 101:
        size = (maximum - 1) / 5
        return int(size * bucket) + 1, int(size * (bucket + 1))
    wide = maximum - 4 * _RANGE
    start = bucket * _RANGE if bucket <= _STRETCHED else _STRETCHED * _RANGE + wide
    width = wide if bucket == _STRETCHED else _RANGE
    return start + 1, min(start + width, maximum - 1)


def without_maximum(limit: int, rng: Random) -> int:
    """Tokens of an answer that only the context bounds: N(40, 20) within [1, limit]."""
    if limit < _FEW:
        return 1 + int(rng.random() * limit) if limit > 1 else limit
    while True:
        length = round(rng.gauss(_MEAN, _STD_DEV))
        if 1 <= length <= limit:
            return length


@dataclass(frozen=True, slots=True)
class ThinkingLength:
    """Tokens of a thought: log-normal with this mean and deviation (long tails), `share` of all answers.

    `most` bounds what is drawn. The others do not think: 0 tokens.
    """

    mean: float = 0.0
    std_dev: float = 0.0
    share: float = 1.0
    most: int | None = None

    def draw(self, rng: Random) -> int:
        """Tokens of one thought; two numbers of `rng` at most."""
        if self.share < 1 and rng.random() >= self.share:
            return 0
        drawn = self.mean
        if self.std_dev and self.mean:
            variance = math.log1p((self.std_dev / self.mean) ** 2)
            drawn = rng.lognormvariate(math.log(self.mean) - variance / 2, math.sqrt(variance))
        count = max(round(drawn), 0)
        return count if self.most is None else min(count, self.most)
