"""Waiting for what another thread, process or task brings about: one way each, with a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 30.0  # nobody waits that long unless the test fails: a process may stand still meanwhile


def until(condition: Callable[[], T], limit: float = LIMIT_S, what: str = "") -> T:
    """What `condition` gives once it is true; AssertionError after `limit` seconds without."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what or condition}"
        time.sleep(0.01)  # between two looks
    return value


async def until_async(condition: Callable[[], T], limit: float = LIMIT_S, what: str = "") -> T:
    """As `until`, while the loop runs on."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what or condition}"
        await asyncio.sleep(0.002)  # between two looks
    return value
