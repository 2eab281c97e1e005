"""What `serve` and `fleet` do alike: the event loop, signals, the ready line, and the ways to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from kit.alarm import new_event_loop
from kit.signals import ENDING, hear, ignore
from kit.watchdog import watch
from simulator.config.serve import ServeConfig
from simulator.errors import InvariantError
from simulator.fleet.fleet import Fleet
from simulator.server.logs import event
from simulator.server.stats_log import log_stats

_RARELY = 1000  # collections of the middle generation before one of the oldest
_FORCED = 1  # exit code of a second signal


def run_until_signal(main: Callable[[], Awaitable[int]]) -> int:
    """Run a coroutine on uvloop where there is one; returns its exit code."""
    _raise_file_limit()

    async def awaited() -> int:
        try:
            return await main()
        finally:
            ignore(ENDING)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(awaited())


def _raise_file_limit() -> None:
    """As many descriptors as the system allows: every replica and every connection takes one."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS says "unlimited" and refuses it
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Signals:
    """SIGTERM and SIGINT as things to wait for, and a broken engine, which ends the process too."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        loop = asyncio.get_running_loop()
        hear(ENDING, self._on_signal)
        watch(loop, ENDING)
        self._broken: InvariantError | None = None
        loop.set_exception_handler(self._on_exception)

    def _on_signal(self, number: int) -> None:
        event("signal", signal=signal.Signals(number).name, second=self._first.is_set())
        (self._second if self._first.is_set() else self._first).set()

    def stop(self) -> None:
        """As if the first signal had come."""
        self._first.set()

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no callback has caught; with --check-invariants an InvariantError comes here."""
        error = context.get("exception")
        if not isinstance(error, InvariantError):
            loop.default_exception_handler(context)
            return
        event("invariant broken", logging.CRITICAL, error=str(error))
        self._broken = self._broken or error
        self._first.set()
        self._second.set()

    async def first(self) -> None:
        """Until a signal; raises InvariantError where an engine has broken one."""
        await self._first.wait()
        self._raise_broken()

    async def second(self) -> None:
        """Until another signal; raises as `first` does."""
        await self._second.wait()
        self._raise_broken()

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise InvariantError(f"--check-invariants: {self._broken}; this is a bug of the simulator")


def announce(fleet: Fleet, config: ServeConfig) -> None:
    """Say what a person should know about the flags, and that the replicas answer."""
    if config.meaningless_flags:
        from simulator.config.flags.topics import topic_of  # noqa: PLC0415 - patterns that few starts need

        topics = sorted({str(topic_of(name)) for name in config.meaningless_flags})
        event(
            "flags without effect in a simulator",
            flags=" ".join(config.meaningless_flags),
            would_change="; ".join(topics),
        )
    for warning in config.warnings:
        event("note", logging.WARNING, about=warning)
    gc.collect()
    gc.freeze()  # what is alive now stays; collecting it again and again would stop the loop
    gc.set_threshold(700, 10, _RARELY)  # so would looking through all that thousands of sequences hold
    scheme = "https" if config.ssl_certfile or config.self_signed_certs else "http"
    for replica in list(fleet.replicas.values())[:1]:
        ports = ",".join(str(peer.port) for peer in replica.peers)
        address = config.uds or f"{scheme}://{replica.host}:{ports}"
        event(
            "ready",
            address=address,
            replicas=len(fleet.replicas),
            model=config.served_model_name,
            compat=config.compat,
            latency=config.latency.profile or config.latency.kind,
            pid=os.getpid(),
        )


@contextlib.contextmanager
def statistics(fleet: Fleet, config: ServeConfig, *, named: bool) -> Iterator[None]:
    """vLLM's statistics line while the block runs."""
    if config.disable_log_stats or config.log_stats_interval <= 0:
        yield
        return
    task = asyncio.ensure_future(log_stats(fleet.replicas.values, config.log_stats_interval, named))
    try:
        yield
    finally:
        task.cancel()


async def shut_down(fleet: Fleet, config: ServeConfig, signals: Signals) -> int:
    """Stop in the way that --shutdown-mode names; returns the exit code. A second signal ends it at once.

    Raises InvariantError where an engine breaks one meanwhile.
    """
    began = time.monotonic()
    event("shutting down", mode=config.shutdown_mode, timeout_s=config.shutdown_timeout)
    ending = asyncio.ensure_future(_end(fleet, config))
    forced = asyncio.ensure_future(signals.second())
    done, pending = await asyncio.wait((ending, forced), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if ending not in done:
        forced.result()
        return _FORCED
    finished = ending.result()
    event("stopped", seconds=round(time.monotonic() - began, 3), all_requests_finished=finished)
    return 0


async def _end(fleet: Fleet, config: ServeConfig) -> bool:
    names = list(fleet.replicas)
    if config.shutdown_mode == "kubernetes":
        ends = [fleet.drain(name, config.shutdown_timeout) for name in names]
    elif config.shutdown_mode == "drain":
        ends = [fleet.drain_as_vllm(name, config.shutdown_timeout) for name in names]
    else:
        ends = [fleet.abort(name) for name in names]
    return all(await asyncio.gather(*ends))
