"""Alarms: never early, hardly late, and the last setting counts."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import time

import pytest

from kit.alarm import Alarm, SpinningAlarm, TimerfdAlarm, make_alarm, new_event_loop

KINDS = [SpinningAlarm, TimerfdAlarm]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, new_event_loop])
def test_alarms_ring_on_time(kind: type, loop_of: type) -> None:
    loop = loop_of()
    lags: list[float] = []
    prompt = 0

    async def main() -> None:
        nonlocal prompt
        rang = asyncio.Event()
        due = 0.0

        def ring() -> None:
            lags.append(time.monotonic() - due)
            rang.set()

        alarm: Alarm = kind(loop, ring)
        for _ in range(500):  # a busy machine delays many; an alarm that is late by itself delays all
            rang.clear()
            due = time.monotonic() + 0.005
            alarm.set(due)
            await asyncio.wait_for(rang.wait(), 60)
            prompt += lags[-1] < 0.002
            if prompt == 10:
                break
        alarm.close()

    loop.run_until_complete(main())
    loop.close()
    assert min(lags) >= 0
    assert prompt == 10, sorted(lags)[:10]


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_setting_counts_and_a_cleared_one_is_silent(kind: type) -> None:
    rings: list[float] = []

    async def main() -> None:
        begin = time.monotonic()
        alarm: Alarm = kind(asyncio.get_running_loop(), lambda: rings.append(time.monotonic() - begin))
        alarm.set(begin + 5)
        alarm.set(begin + 0.02)
        await asyncio.sleep(0.1)
        alarm.set(begin + 0.11)
        alarm.clear()
        await asyncio.sleep(0.05)
        alarm.set(begin - 1)
        await asyncio.sleep(0.02)
        alarm.close()

    asyncio.run(main())
    assert len(rings) == 2
    assert rings[0] >= 0.02


def test_this_platform_has_an_alarm() -> None:
    async def main() -> None:
        alarm = make_alarm(asyncio.get_running_loop(), lambda: None)
        alarm.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_alarm_is_silent_and_may_be_closed_again(kind: type) -> None:
    rings: list[str] = []

    async def main() -> None:
        rang = asyncio.Event()
        loop = asyncio.get_running_loop()
        closed: Alarm = kind(loop, lambda: rings.append("closed"))
        other: Alarm = kind(loop, lambda: (rings.append("other"), rang.set()))
        now = time.monotonic()
        closed.set(now + 0.001)
        other.set(now + 0.02)
        closed.close()
        closed.close()
        await asyncio.wait_for(rang.wait(), 60)
        other.close()

    asyncio.run(main())
    assert rings == ["other"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_past_time_rings_soon_but_not_inside_the_call(kind: type) -> None:
    async def main() -> None:
        rang = asyncio.Event()
        alarm: Alarm = kind(asyncio.get_running_loop(), rang.set)
        for past in (0.0, -1.0, time.monotonic() - 1):
            rang.clear()
            alarm.set(past)
            assert not rang.is_set()
            await asyncio.wait_for(rang.wait(), 60)
        alarm.close()

    asyncio.run(main())


@pytest.mark.parametrize("missing", ["system", "call", "descriptors"])
def test_without_a_timerfd_the_loop_is_asked(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def timerfd_settime(self) -> int:
            return 0

    if missing == "descriptors":
        Library.timerfd_create = lambda *_: -1  # type: ignore[attr-defined]
    if missing == "system":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library())

    async def main() -> Alarm:
        return make_alarm(asyncio.get_running_loop(), lambda: None)

    assert type(asyncio.run(main())) is SpinningAlarm


def test_the_loop_is_uvloops_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed in (True, False):
        if not installed:
            monkeypatch.setitem(sys.modules, "uvloop", None)
        loop = new_event_loop()
        loop.close()
        assert type(loop).__module__.startswith("uvloop") is (installed and sys.platform != "win32")
