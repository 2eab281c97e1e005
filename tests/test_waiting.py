"""The two ways to wait: the value comes back, a limit is kept, and the reason is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.waiting import until, until_async


def sync_wait(condition: Callable[[], object], **options: Any) -> object:
    return until(condition, **options)


def async_wait(condition: Callable[[], object], **options: Any) -> object:
    return asyncio.run(until_async(condition, **options))


@pytest.fixture(params=[sync_wait, async_wait])
def wait(request: pytest.FixtureRequest) -> Callable[..., object]:
    return request.param  # type: ignore[no-any-return]


def test_the_value_comes_back_as_soon_as_it_is_there(wait: Callable[..., object]) -> None:
    values = iter([None, 0, "", [], "here", "later"])
    assert wait(lambda: next(values)) == "here"
    assert next(values) == "later"


def test_what_is_true_already_is_asked_once(wait: Callable[..., object]) -> None:
    asked: list[int] = []
    assert wait(lambda: asked.append(1) or "yes", limit=0.0) == "yes"
    assert asked == [1]


def test_what_never_comes_is_named(wait: Callable[..., object]) -> None:
    with pytest.raises(AssertionError, match=r"^not within 0\.02 s: the third pod"):
        wait(lambda: False, limit=0.02, what="the third pod")


def test_without_a_name_it_is_the_condition(wait: Callable[..., object]) -> None:
    def never() -> bool:
        return False

    with pytest.raises(AssertionError, match="never"):
        wait(never, limit=0.01)


def test_the_loop_runs_on_meanwhile() -> None:
    async def main() -> int:
        done: list[int] = []
        asyncio.get_running_loop().call_later(0.01, done.append, 5)
        return (await until_async(lambda: done))[0]

    assert asyncio.run(main()) == 5
