"""`simfleet cluster`: a Kubernetes API for kubectl on this machine, and what is written to it runs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cluster.istiod import find_istiod
from gateway.cluster.objects.definitions import RELEASE
from gateway.cluster.saving import Saved, load_files, load_saved
from gateway.cluster.serve import ApiServer
from gateway.cluster.world import World, new_state
from gateway.envoy.compat import LATEST, istio
from gateway.errors import GatewayError, StackError
from gateway.stack.socket import ControlServer
from gateway.stack.statedir import DEFAULT_NAME, StackDirectory, why
from kit.alarm import new_event_loop
from kit.console import complain, say
from kit.signals import ENDING, hear, ignore

if TYPE_CHECKING:
    from gateway.cluster.running import Started

_SIGNALS = (*ENDING, signal.SIGHUP)


@dataclass(frozen=True)
class ClusterOptions:
    """The command line of `cluster`."""

    directory: StackDirectory
    sources: Sequence[str] = ()
    crds: Sequence[str] = ()
    save: Path | None = None
    api_port: int | None = None
    ready_fd: int | None = None
    epp: str = "auto"
    envoy: Path | None = None
    istio_bugs: bool = False
    istio_release: str = LATEST
    istiod: str = "auto"


class Runner:
    """One cluster from start to end."""

    def __init__(self, options: ClusterOptions) -> None:
        self.options = options
        name = options.directory.name
        self.stack_name = "" if name == DEFAULT_NAME else name
        self._ended = asyncio.Event()
        self._begun = time.monotonic()
        self._started = time.time()

    def report(self, line: str) -> None:
        with contextlib.suppress(OSError), self.options.directory.log.open("a") as log:
            log.write(line.replace("\n", "\n  ") + "\n")
        say(line)

    async def run(self) -> None:
        """Until Ctrl-C, `down` or a death. Raises GatewayError."""
        hear(_SIGNALS, lambda _: self._ended.set())
        istio(self.options.istio_release)  # refused before anything starts
        istiod = find_istiod(self.options.istiod)
        state = new_state(istio=istiod is not None)
        world = World(state, self.report, self.stack_name, istio=istiod is not None)
        world.furnish(RELEASE)
        load_saved(state, self.options.save)
        load_files(state, [*self.options.crds, *self.options.sources])
        server = ApiServer(state, self.options.directory.path, world, self.options.api_port)
        await server.start()
        world.start()
        saved = Saved(state, self.options.save)
        try:
            self._announce(server)
            async with self._running(world, istiod) as started:
                control = ControlServer(self.options.directory.socket, self._commands(started))
                await control.start()
                try:
                    await self._until_ended(started)
                finally:
                    await control.close()
        finally:
            ignore(_SIGNALS)
            self.report("stopping")
            await world.stop()
            await server.stop()
            saved.close()

    def _announce(self, server: ApiServer) -> None:
        say(f"export KUBECONFIG={server.kubeconfig}")
        self.report(
            f"cluster {self.options.directory.name}: Kubernetes API at {server.url}, ready in "
            f"{time.monotonic() - self._begun:.1f} s"
        )
        self._let_go()

    @contextlib.asynccontextmanager
    async def _running(self, world: World, istiod: Path | None) -> AsyncIterator[Started]:
        """The part that runs pods; it is loaded while the API serves already."""
        running = await asyncio.to_thread(importlib.import_module, "gateway.cluster.running")
        options = self.options
        gateways = running.GatewayOptions(
            options.envoy, istio_bugs=options.istio_bugs, istio_release=options.istio_release
        )
        settings = running.settings(options.directory.path, options.epp, gateways)
        async with running.started(settings, world, self.stack_name, istiod) as started:
            yield started

    async def _until_ended(self, started: Started) -> None:
        ended = asyncio.create_task(self._ended.wait())
        either: list[asyncio.Future[Any]] = [ended, started.failure]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not self._ended.is_set():
            raise started.failure.result()

    def _commands(self, started: Started) -> dict[str, Any]:
        async def answer_status() -> dict[str, Any]:
            return started.status(self.options.directory.name, self._started)

        async def down() -> str:
            self._ended.set()
            return "going down"

        return {"status": answer_status, "down": down, **started.commands}

    def _let_go(self) -> None:
        """Tell the starter of a detached cluster that it serves, and hold none of its pipes any longer."""
        if self.options.ready_fd is None:
            return
        with open(os.devnull, "w") as null, self.options.directory.log.open("a") as log:
            os.dup2(null.fileno(), 1)
            if not os.isatty(2):
                os.dup2(log.fileno(), 2)
        os.write(self.options.ready_fd, b"1")
        os.close(self.options.ready_fd)


def cluster(options: ClusterOptions) -> int:
    """Run a cluster to its end; the exit code."""
    options.directory.hold()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run(options))
    except GatewayError as error:
        complain(f"simfleet cluster: {error}")
        return error.exit_code
    except OSError as error:
        complain(f"simfleet cluster: {why(error)}")
        return StackError.exit_code
    finally:
        options.directory.remove()
    return 0


async def _run(options: ClusterOptions) -> None:
    await Runner(options).run()
