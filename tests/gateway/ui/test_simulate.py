"""Simulations of the page that cannot be made say so, and the next one can begin."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.ui import simulate
from tests.waiting import until_async


def full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("where", "name"), [(Path, "write_text"), (asyncio, "create_subprocess_exec")], ids=["disk", "program"]
)
def test_what_cannot_be_made_is_a_problem(where: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> dict[str, Any]:
        simulations = simulate.Simulations()
        simulations.start("", {"today": ""}, "page", None, {})
        await until_async(lambda: not simulations.state()["running"], what="its end")
        return simulations.state()

    monkeypatch.setattr(where, name, full)
    assert "No space left on device" in asyncio.run(run())["problem"]
