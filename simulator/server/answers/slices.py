"""Long work in pieces, so that the other connections of the event loop get their turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

Building = Generator[None, None, dict[str, Any]]  # makes a JSON object, with yields on the way
_SLICE_S = 2e-3


def run_in_slices(
    work: Iterator[Any], goes_on: Callable[[], bool], on_error: Callable[[Exception], None]
) -> None:
    """Run `work` to its end: a few milliseconds at once, the rest in later rounds of the running loop.

    It stops for good where `goes_on` says no; what it raises goes to `on_error`.
    """
    deadline = time.monotonic() + _SLICE_S
    try:
        while goes_on():
            next(work)
            if time.monotonic() > deadline:
                asyncio.get_running_loop().call_soon(run_in_slices, work, goes_on, on_error)
                return
    except StopIteration:
        return
    except Exception as error:  # noqa: BLE001 - later rounds have no caller that could catch it
        on_error(error)
