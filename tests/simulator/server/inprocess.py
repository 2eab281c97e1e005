"""Replicas without a process.

An event loop for a test, a replica without a socket, a sink that keeps everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from simulator.config.resolve import parse_args
from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason, Request, SamplingParams
from simulator.server.replica import Replica, Shared
from simulator.server.timer import Timer

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], timeout_s: float = 20.0) -> T:
    """Run on uvloop, as the servers do; fails the test when it takes too long."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main, timeout_s))


def replica(*flags: str, shared: Shared | None = None) -> Replica:
    """A replica of model "m" that listens nowhere. Call it in a running loop."""
    config = parse_args(["--model", "m", *flags], {})
    return Replica(config, shared or Shared(Timer()), name="pod", host="127.0.0.1", port=8000)


class Kept:
    """A sink that keeps its outputs; `done` is set by the last."""

    def __init__(self) -> None:
        self.outputs: list[RequestOutput] = []
        self.done = asyncio.Event()

    def on_output(self, output: RequestOutput) -> None:
        self.outputs.append(output)
        if output.finish_reason is not None:
            self.done.set()

    @property
    def num_tokens(self) -> int:
        return sum(len(output.new_token_ids) for output in self.outputs)

    @property
    def finish_reason(self) -> FinishReason | None:
        return self.outputs[-1].finish_reason if self.outputs else None


def request(name: str, max_tokens: int = 8, prompt: int = 4, **fields: Any) -> Request:
    """A request that says exactly `max_tokens` tokens."""
    sampling = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
    return Request(name, list(range(10, 10 + prompt)), sampling, **fields)
