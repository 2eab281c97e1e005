"""All prompts of a run in one tree, and what of each could have been found cached: columns, by request."""

from __future__ import annotations

from array import array

import numpy as np

from loadgen.numbers.stats import Floats, Ints
from loadgen.records.table import Mask
from loadgen.score.prefix_prompts import BYTES_PER_ID, Asks
from loadgen.score.prefix_tree import NONE, Paths, PrefixTree, best_hits


class Forest:
    """The prompts of `asks` in their tree; a row of each column is one of them, in order of start."""

    def __init__(self, asks: Asks, block: int) -> None:
        self._block = block
        self._tree = tree = PrefixTree(asks.content)
        rows, sizes, common, ids = array("q"), array("q"), array("q"), array("b")
        self._ends, self._afters = array("i"), array("i")
        for number, ask in enumerate(asks):
            shared, end = tree.insert(ask.space, ask.content, 2 * number)
            follows = tree.insert(ask.space, ask.after, 2 * number + 1)[1] if ask.after else NONE
            self._ends.append(end)
            self._afters.append(follows)
            rows.append(ask.row)
            sizes.append(len(ask.content))
            common.append(shared)
            ids.append(ask.of_ids)
        self.records = asks.records.take(np.frombuffer(rows, np.int64))
        """Of each ask, without its times."""
        self.tokens = _whole(self.records.numbers("prompt_tokens"))
        cached = self.records.numbers("cached_tokens")
        self.said: Mask = np.isfinite(cached)
        self.cached = _whole(cached)
        self._ids = np.frombuffer(ids, np.bool_)
        self.bytes_per_token: Floats = np.ones(len(rows))
        np.divide(np.frombuffer(sizes, np.int64), self.tokens, self.bytes_per_token, where=self.tokens > 0)
        self.explained = self.whole_blocks(np.frombuffer(common, np.int64))
        """Tokens in whole blocks that something asked or answered before had begun with."""
        afters = np.frombuffer(self._afters, np.int32)
        self._uses = tree.uses(np.concatenate([np.frombuffer(self._ends, np.int32), afters[afters != NONE]]))

    def whole_blocks(self, common: Ints) -> Ints:
        """Tokens of whole blocks in so many first bytes; the last prompt token is always computed anew.

        Ids are of fixed size; of text, whose ratio of bytes is a mean, tokens are rounded up.
        """
        text = np.ceil(common / self.bytes_per_token).astype(np.int64)
        usable = np.minimum(np.where(self._ids, common // BYTES_PER_ID, text), self.tokens - 1)
        whole: Ints = np.maximum(0, usable // self._block * self._block)
        return whole

    def unexplained(self, counted: Mask) -> int:
        """Cached tokens beyond what this run's own prompts explain, of requests more than a block beyond it.

        Caches that were warm before the run, or prompts that a chat template makes more alike than they are.
        """
        beyond = self.cached - self.explained
        return int(beyond[counted & (beyond > self._block)].sum())

    def bounds(self, counted: Mask, capacity: float | None) -> tuple[float, float | None]:
        """Tokens that one cache of infinite and of pooled size could have served of the counted requests."""
        limits = np.maximum(self.explained, self.cached)
        infinite = int(limits[counted].sum())
        if capacity is None:
            return infinite, None
        paths, asked = Paths(), array("q")
        for end, after in zip(self._ends, self._afters, strict=True):
            asked.append(len(paths))
            paths.add(self._path(end))
            if after != NONE:
                paths.add(self._path(after))
        lengths = self._tree.lengths()
        sizes = array("d", (lengths / self._rates()).tobytes())
        held = np.asarray(best_hits(paths, sizes, capacity, array("d", lengths.astype(np.float64).tobytes())))
        found = np.ceil(held[np.frombuffer(asked, np.int64)] / self.bytes_per_token)
        return infinite, int(np.maximum(np.minimum(limits, found), self.cached)[counted].sum())

    def _path(self, end: int) -> list[int]:
        """The nodes down to `end` that another path goes through too: no hit is ever on the others."""
        parents, uses = self._tree.parents, self._uses
        while uses[end] < 2 and parents[end] != NONE:
            end = parents[end]
        return self._tree.path(end)

    def _rates(self) -> Floats:
        """For each node the most bytes per token that a request through it counted: its size in a cache."""
        rates = np.zeros(len(self._tree.ends))
        known = np.where(self.tokens > 0, self.bytes_per_token, 0.0)
        for column in (self._ends, self._afters):
            ends = np.frombuffer(column, np.int32)
            np.maximum.at(rates, ends[ends != NONE], known[ends != NONE])
        self._tree.raise_most(rates)
        rates[rates == 0] = rates.max(initial=0.0) or 1.0
        return rates

    def reach(self, pods: Ints, named: Mask) -> tuple[Ints, Ints]:
        """Bytes of each prompt that any pod had been sent before, and that its own pod had, from the start.

        pods: the pod of each as a number; those that are not named are sent nowhere.
        """
        holders = [0] * len(self._uses)  # of each node the pods that were sent it, as bits
        best, own = array("q"), array("q")
        node_ends = self._tree.ends
        for pod, known, end, after in zip(
            pods.tolist(), named.tolist(), self._ends, self._afters, strict=True
        ):
            deepest = mine = 0
            if known:
                bit, alive = 1 << pod, -1
                path = self._path(end)
                for node in path:
                    alive &= holders[node]
                    if not alive:
                        break
                    deepest = node_ends[node]
                    if alive & bit:
                        mine = deepest
                for node in path if after == NONE else self._path(after):
                    holders[node] |= bit
            best.append(deepest)
            own.append(mine)
        return np.frombuffer(best, np.int64), np.frombuffer(own, np.int64)


def _whole(column: Floats) -> Ints:
    return np.asarray(np.nan_to_num(column).astype(np.int64))
