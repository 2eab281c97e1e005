"""The autoscalers of a stack: each HorizontalPodAutoscaler of the manifests, at work on its pods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from gateway.autoscale.loop import SYNC_PERIOD_S, Autoscaler
from gateway.cluster.targets import StackTarget
from gateway.stack.stack import Stack


class Autoscaling:
    """`async with Autoscaling(stack, report):` runs the loops of all its autoscalers."""

    def __init__(self, stack: Stack, report: Callable[[str], None], period_s: float = SYNC_PERIOD_S) -> None:
        self.autoscalers = [
            Autoscaler(hpa, StackTarget(stack, server), report) for hpa, server in stack.plan.autoscalers
        ]
        self._period_s = period_s
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(a.run(self._period_s)) for a in self.autoscalers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def status(self) -> list[dict[str, Any]]:
        return [autoscaler.status() for autoscaler in self.autoscalers]
