"""A comparison that stops once its arms are told apart: looks after 3, 4, ... repeats and their alpha.

To look at every repeat and stop at the first difference would call luck one far more often than once in
twenty. So each look is held against its own part of ALPHA, and all parts together are ALPHA: after R of at
most M repeats ALPHA * (R / M)^2 is spent (Lan and DeMets 1983), little where few repeats know little of their
own scatter. By Bonferroni over looks this holds whatever the scatter is and however looks depend on each
other; the intervals of a look hold at all looks at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadgen.judge.paired import ALPHA, ENOUGH_REPEATS, Comparison


def alpha_of(repeats: int, most: int) -> float:
    """What of ALPHA the look after `repeats` of at most `most` repeats may spend; 0 where none is taken."""
    if not ENOUGH_REPEATS <= repeats <= most:
        return 0.0
    before = repeats - 1 if repeats > ENOUGH_REPEATS else 0
    return ALPHA * (repeats**2 - before**2) / most**2


def told_apart(comparisons: Sequence[Comparison]) -> bool:
    """Whether this look tells every arm from the baseline."""
    return all(each.better or each.worse for each in comparisons)


def hopeless(comparisons: Sequence[Comparison]) -> bool:
    """Whether nothing can be judged, for want of requests: more repeats would not help."""
    return all(each.verdict == "is not judged against" for each in comparisons)
