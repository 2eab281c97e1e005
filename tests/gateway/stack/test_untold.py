"""A stack that cannot write its endpoints (a full disk, a directory that is gone) says so and tries again."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from gateway.errors import ControlError, ManifestError, StackError
from gateway.manifests.load import read
from gateway.stack.pickers import reference
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.plan import make_plan
from gateway.stack.stack import Stack, StackOptions
from kit.yamldoc import Document
from tests.e2e import worlds


def make_stack(directory: Path, said: list[str]) -> Stack:
    """One with a picker, whose process is not started."""
    objects = [worlds.servers("x"), *worlds.picker("epp", "pool"), worlds.pool("pool", "x", "epp")]
    manifests = read(Document("m.yaml", i, each, ManifestError) for i, each in enumerate(objects))
    stack = Stack(make_plan(manifests), StackOptions(directory, PickerOptions("reference")), said.append)
    stack.pickers.make()
    return stack


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    async def scenario() -> None:
        stack = make_stack(tmp_path, said)
        with monkeypatch.context() as patch:
            patch.setattr(reference, "replace_file", full)
            stack.publish()
            stack.publish()
            with pytest.raises(StackError, match=r"cannot be told .*endpoints\.yaml: No space left"):
                await stack.until_applied()
        assert len(said) == 1, "once"
        stack.publish()
        await stack.until_applied()

    asyncio.run(scenario())
    assert "No space left on device" in said[0]


def test_a_disk_that_is_full_when_the_content_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's answer to a write names no file; ours does, and what was reached is said."""
    said: list[str] = []

    def full(path: Path, text: str, encoding: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def scenario() -> None:
        stack = make_stack(tmp_path, said)
        server = stack.plan.servers[0].workload.name
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            words = rf"^{server}: 0 -> 0 pods, then: .*{tmp_path}/.*endpoints\.yaml: No space left on device$"
            with pytest.raises(ControlError, match=words):
                await stack.scale(server, 0)
        assert await stack.scale(server, 0) == f"{server}: 0 -> 0 pods"

    asyncio.run(scenario())


def test_the_directory_is_gone(tmp_path: Path) -> None:
    said: list[str] = []

    async def scenario() -> None:
        stack = make_stack(tmp_path / "s", said)
        shutil.rmtree(tmp_path / "s")
        stack.publish()
        with pytest.raises(StackError, match="is gone"):
            await stack.until_applied()

    asyncio.run(scenario())
    assert f"the stack's directory {tmp_path / 's'} is gone" in said[0]


def test_numbers_that_cannot_be(tmp_path: Path) -> None:
    async def scenario() -> None:
        stack = make_stack(tmp_path, [])
        for replicas in (-1, 65024, 10**12):
            with pytest.raises(ControlError, match=f"replicas must be 0 to 65023, not {replicas}"):
                await stack.scale("pool", replicas)
        for grace in (-1.0, float("inf"), float("nan")):
            with pytest.raises(ControlError, match="grace_s must be 0 seconds or more"):
                await stack.drain("x", grace)
        with pytest.raises(ControlError, match="after_tokens must be 0 or more, not -1"):
            await stack.kill("x", -1)

    asyncio.run(scenario())
