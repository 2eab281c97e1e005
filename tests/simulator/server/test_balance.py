"""Which rank is picked: the least loaded, in turn where loads are equal."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.server.balance import Balancer


@dataclass
class Engine:
    load: tuple[int, int, int, float] = (0, 0, 0, 0.0)


def test_equal_ranks_take_turns() -> None:
    balancer, engines = Balancer(), [Engine() for _ in range(3)]
    assert [balancer.pick(engines) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_the_least_loaded_is_picked() -> None:
    engines = [Engine((5, 0, 5, 0.1)), Engine((2, 1, 1, 0.1)), Engine((0, 0, 4, 0.1))]
    assert Balancer().pick(engines) == 1


def test_a_queue_counts_more_where_the_cache_is_full() -> None:
    """Two that wait: at half of the cache they count as two, at 90 % as two and 2 * 6 * 0.4 more."""
    full, busy = Engine((4, 2, 2, 0.9)), Engine((8, 0, 8, 0.9))
    assert Balancer().pick([full, busy]) == 1
    assert Balancer().pick([Engine((4, 2, 2, 0.5)), busy]) == 0
