"""Something to do once the engines of a replica have generated so many tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulator.engine.outputs import StepOutput
from simulator.server.replica import Replica


def watch_tokens(replicas: Sequence[Replica], more: int, then: Callable[[], None]) -> None:
    """Call `then` once the engines of the replica have generated `more` tokens together."""
    engines = [replica.engine for replica in replicas]
    goal = sum(engine.stats.generation_tokens for engine in engines) + more
    for replica in replicas:
        before = replica.driver.on_step

        def on_step(step: StepOutput, before: Callable[[StepOutput], None] | None = before) -> None:
            if before is not None:
                before(step)
            if sum(engine.stats.generation_tokens for engine in engines) >= goal:
                then()

        replica.driver.on_step = on_step
        replica.driver.stretch = 1
