"""The one timer: order, cancellation, re-arming, its own lag, and the fallback without timerfd."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from kit.alarm import SpinningAlarm, TimerfdAlarm
from simulator.server import timer as timer_module
from simulator.server.timer import LagHistogram, Timer
from tests.simulator.server.inprocess import run


@pytest.fixture(params=["timerfd", "loop"])
def clockwork(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to be woken."""
    if request.param == "timerfd" and sys.platform != "linux":
        pytest.skip("this system has no timerfd")
    kind = TimerfdAlarm if request.param == "timerfd" else SpinningAlarm
    monkeypatch.setattr(timer_module, "make_alarm", kind)
    return str(request.param)


def test_callbacks_come_in_order_of_time_then_of_registration(clockwork: str) -> None:
    async def main() -> list[str]:
        timer = Timer()
        seen: list[str] = []
        done = asyncio.Event()
        start = time.monotonic()
        for name, delay in (("c", 0.02), ("a", 0.005), ("b1", 0.01), ("b2", 0.01), ("past", -1.0)):
            timer.call_at(start + delay, lambda name=name: seen.append(name))  # type: ignore[misc]
        timer.call_at(start + 0.03, done.set)
        await done.wait()
        timer.close()
        return seen

    assert run(main()) == ["past", "a", "b1", "b2", "c"]


def test_never_early_and_an_earlier_time_rearms(clockwork: str) -> None:
    async def main() -> list[float]:
        timer = Timer()
        early: list[float] = []
        done = asyncio.Event()
        start = time.monotonic()
        for delay in (0.05, 0.02, 0.01, 0.03):
            due = start + delay
            timer.call_at(due, lambda due=due: early.append(time.monotonic() - due))  # type: ignore[misc]
        timer.call_at(start + 0.06, done.set)
        await done.wait()
        assert timer.lag.count == 5
        timer.close()
        return early

    for lag in run(main()):
        assert lag >= -1e-4


def test_cancelled_callbacks_do_not_come(clockwork: str) -> None:
    async def main() -> list[int]:
        timer = Timer()
        seen: list[int] = []
        done = asyncio.Event()
        start = time.monotonic()
        handles = [timer.call_at(start + 0.005 + i * 0.001, lambda i=i: seen.append(i)) for i in range(4)]  # type: ignore[misc]
        handles[0].cancel()
        handles[2].cancel()
        handles[2].cancel()
        timer.call_at(start + 0.02, done.set)
        await done.wait()
        timer.close()
        return seen

    assert run(main()) == [1, 3]


def test_a_callback_that_asks_for_now_does_not_starve_the_loop(clockwork: str) -> None:
    async def main() -> int:
        timer = Timer()
        rounds = 0

        def again() -> None:
            nonlocal rounds
            rounds += 1
            timer.call_at(time.monotonic() - 1.0, again)

        timer.call_at(0.0, again)
        for _ in range(20):
            await asyncio.sleep(0)
        timer.close()
        return rounds

    assert run(main()) > 0


def test_a_callback_that_fails_takes_nobody_with_it(clockwork: str) -> None:
    async def main() -> tuple[list[int], list[str]]:
        timer = Timer()
        seen: list[int] = []
        errors: list[str] = []
        done = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: errors.append(repr(context["exception"]))
        )

        def fail() -> None:
            raise ValueError("on purpose")

        start = time.monotonic()
        for callback in (fail, lambda: seen.append(1), done.set):
            timer.call_at(start - 1.0, callback)
        await done.wait()
        timer.close()
        return seen, errors

    assert run(main()) == ([1], ["ValueError('on purpose')"])


def test_close_forgets_everything(clockwork: str) -> None:
    async def main() -> list[int]:
        timer = Timer()
        seen: list[int] = []
        timer.call_at(time.monotonic() + 0.005, lambda: seen.append(1))
        timer.close()
        await asyncio.sleep(0.02)
        return seen

    assert run(main()) == []


def test_lag_histogram() -> None:
    lag = LagHistogram()
    assert lag.count == 0
    for value in (0.0, 1e-5, 3e-4, 3e-4, 20.0):
        lag.observe(value)
    assert lag.count == 5
    assert lag.counts[0] == 2
    assert lag.counts[-1] == 1
    assert lag.maximum == 20.0
    assert lag.total == pytest.approx(20.00061)
    assert lag.counts[3] == 2
