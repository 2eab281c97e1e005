"""check_invariants: an engine that contradicts itself says so after the step that broke it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulator.engine.core import Engine
from simulator.engine.request import RequestStatus
from simulator.errors import InvariantError
from tests.simulator.engine.build import engine, request


def _lose_a_block(made: Engine) -> None:
    made._kv.pool.num_free -= 1


def _hold_twice(made: Engine) -> None:
    made._kv.pool._more[made._scheduler.running[0].block_ids[0]] = 1


def _forget_content(made: Engine) -> None:
    made._kv.pool.cached.popitem()


def _run_without_status(made: Engine) -> None:
    made._scheduler.running[0].status = RequestStatus.WAITING


def _miscount_deferred(made: Engine) -> None:
    made._scheduler.num_deferred += 1


def _lose_a_request(made: Engine) -> None:
    made._requests.popitem()


FAULTS = [
    (_lose_a_block, "num_free says"),
    (_hold_twice, "has ref_cnt 2, 1 hold it"),
    (_forget_content, "prefix cache's index"),
    (_run_without_status, "has another status"),
    (_miscount_deferred, "num_deferred is 1"),
    (_lose_a_request, "requests are known"),
]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(("breaks", "words"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_engine_raises_after_the_step(
    breaks: Callable[[Engine], None], words: str, fast: bool
) -> None:
    made = engine()
    made.add_request(request("a", 40, 50), 0.0)
    made.step(0.0)
    made.step(1.0)
    breaks(made)
    with pytest.raises(InvariantError, match=f"^after step 1, at 2\\.000000 s: .*{words}"):
        made.fast_forward(2.0) if fast else made.step(2.0)


@pytest.mark.parametrize("breaks", [_lose_a_block, _miscount_deferred])
def test_nothing_is_checked_unless_asked(breaks: Callable[[Engine], None]) -> None:
    made = engine(check_invariants=False)
    made.add_request(request("a", 40, 50), 0.0)
    made.step(0.0)
    breaks(made)
    assert made.fast_forward(10.0)
