"""The search on servers whose limit is known exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.sweep.search import Search, Tried

LIMITS = st.floats(0.02, 1e5)
FIRSTS = st.floats(0.05, 1e3)


def searched(search: Search, limit: float, *, shows: bool) -> Search:
    """A server that keeps up to `limit`, and when full serves just that."""
    while (rate := search.next_rate()) is not None:
        passes = rate <= limit
        search.add(Tried(rate, passes, limit if shows and not passes else None))
    return search


@given(limit=LIMITS, first=FIRSTS)
def test_a_full_server_shows_its_limit_and_few_runs_are_enough(limit: float, first: float) -> None:
    search = searched(Search(first, most=40), limit, shows=True)
    assert search.found
    assert search.limit == pytest.approx(limit, rel=1e-9)
    steps_to_the_other_side = 2 + max(0, len(_powers(first, limit)))
    assert len(search.tried) <= steps_to_the_other_side + 3


def _powers(first: float, limit: float) -> list[float]:
    rates = [first]
    while rates[-1] <= limit:
        rates.append(rates[-1] * 3)
    return rates


@given(limit=LIMITS, first=FIRSTS, within=st.sampled_from([0.01, 0.05, 0.2]))
def test_without_a_hint_the_gap_is_halved_until_it_is_small(
    limit: float, first: float, within: float
) -> None:
    search = searched(Search(first, within, most=60), limit, shows=False)
    assert search.found
    assert search.low is not None
    assert search.high is not None
    assert search.low <= limit < search.high <= search.low * (1 + within)
    assert search.limit == search.low


def test_it_ends_at_its_most_and_says_so() -> None:
    search = searched(Search(1.0, most=3), 1e6, shows=True)
    assert [t.rate for t in search.tried] == [1.0, 3.0, 9.0]
    assert not search.found
    assert (search.low, search.high) == (9.0, None)


def test_a_server_that_serves_nothing_has_no_rate() -> None:
    search = searched(Search(1.0, most=60), 0.0, shows=False)
    assert search.low is None
    assert not search.found
    assert min(t.rate for t in search.tried) > 1e-3


def test_the_most_that_full_runs_served_counts() -> None:
    search = Search(10.0)
    search.add(Tried(10.0, passes=True))
    search.add(Tried(30.0, passes=False, limit=17.0))
    search.add(Tried(25.0, passes=False, limit=20.0))  # under less pressure it served more
    assert search.next_rate() == pytest.approx(20.0 * 0.985)
    assert search.limit == 20.0


def test_one_unlucky_run_does_not_break_the_bracket() -> None:
    search = Search(10.0)
    for rate, passes in ((10.0, True), (30.0, False), (20.0, True), (19.0, False)):
        search.add(Tried(rate, passes))
    assert (search.low, search.high) == (10.0, 19.0)
