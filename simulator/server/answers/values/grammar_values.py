"""Texts of a grammar: each choice is drawn, so the text follows the rules by construction.

Recursion ends: beyond a depth the branch with the shortest way to an end is taken, whose length every rule
knows beforehand. A rule without such a way makes the grammar one that nothing matches.
"""

from __future__ import annotations

import math
import random

from simulator.server.answers.values.budget import Budget
from simulator.server.answers.values.grammar_syntax import (
    Grammar,
    Node,
    OneOf,
    Pattern,
    Repeat,
    Row,
    Rule,
    Text,
    invalid_grammar,
    parse_grammar,
)
from simulator.server.answers.values.regex_values import matching_text

_DEEP = 12  # rules inside rules from which on the shortest way is taken
_MORE = 3  # repetitions beyond the least where there is no bound


def grammar_text(text: str, rng: random.Random, budget: Budget) -> str:
    """A text that the grammar `text` matches, as much of it as `budget` wants.

    Raises ApiError for a grammar that is wrong, too large, or matched by nothing.
    """
    try:
        grammar = parse_grammar(text, budget)
        lengths = _lengths(grammar, budget)
        if lengths[grammar.start] == math.inf:
            raise invalid_grammar()
        return _drawn(grammar, lengths, rng, budget)
    except RecursionError:
        raise invalid_grammar() from None


def _drawn(grammar: Grammar, lengths: dict[str, float], rng: random.Random, budget: Budget) -> str:
    """Without recursion: what is still to be written lies on a stack, each with its depth in rules."""
    said: list[str] = []
    waiting: list[tuple[Node, int]] = [(Rule(grammar.start), 0)]
    ways = _Ways(lengths)
    while waiting and not budget.is_enough:
        budget.step()
        node, depth = waiting.pop()
        match node:
            case Text(text):
                said.append(text)
                budget.write(len(text))
            case Pattern(pattern):
                said.append(matching_text(pattern, rng, budget))  # counts its characters itself
            case Rule(name):
                waiting.append((grammar.rules[name], depth + 1))
            case Row(parts):
                waiting += [(part, depth) for part in reversed(parts)]
            case OneOf(parts):
                waiting.append((ways.branch(parts, rng, depth), depth))
            case Repeat(part):
                times = ways.times(node, rng, depth)
                budget.step(times)
                waiting += [(part, depth)] * times
    return "".join(said)


class _Ways:
    """Which ways have an end and which is the nearest, looked at once a node: a node is drawn many times."""

    def __init__(self, lengths: dict[str, float]) -> None:
        self._lengths = lengths
        self._branches: dict[int, tuple[list[Node], Node]] = {}  # by id of the parts, which the grammar keeps
        self._ends: dict[int, bool] = {}

    def branch(self, parts: tuple[Node, ...], rng: random.Random, depth: int) -> Node:
        """One of the parts that have an end; the nearest where it is deep."""
        if (found := self._branches.get(id(parts))) is None:
            ways = [_length(part, self._lengths) for part in parts]
            possible = [part for part, way in zip(parts, ways, strict=True) if way < math.inf]
            found = self._branches[id(parts)] = possible, parts[ways.index(min(ways))]
        return found[1] if depth >= _DEEP else rng.choice(found[0])

    def times(self, node: Repeat, rng: random.Random, depth: int) -> int:
        """How often a part stands there."""
        if (ends := self._ends.get(id(node))) is None:
            ends = self._ends[id(node)] = _length(node.part, self._lengths) < math.inf
        if depth >= _DEEP or not ends:
            return node.low
        most = node.low + _MORE
        return rng.randint(node.low, most if node.high is None else min(node.high, most))


def _lengths(grammar: Grammar, budget: Budget) -> dict[str, float]:
    """Of each rule, the rules on its shortest way to an end; infinite: it has none."""
    lengths = dict.fromkeys(grammar.rules, math.inf)
    changed = True
    while changed:
        changed = False
        for name in reversed(grammar.rules):  # what rules refer to mostly stands behind them
            budget.step()
            found = 1 + _length(grammar.rules[name], lengths)
            if found < lengths[name]:
                lengths[name], changed = found, True
    return lengths


def _length(node: Node, lengths: dict[str, float]) -> float:
    match node:
        case Rule(name):
            return lengths[name]
        case Row(parts):
            return sum(_length(part, lengths) for part in parts)
        case OneOf(parts):
            return min(_length(part, lengths) for part in parts)
        case Repeat(part, low, _high):
            return low * _length(part, lengths) if low else 0
    return 0
