"""`simfleet up`: bring a stack up, stay with it, take it down in order.

This process is the stack's: the model servers run in it. The live table is a process of its own, so that
drawing it costs the simulators no time.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import os
import resource
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import yaml

from gateway.autoscale.loop import SYNC_PERIOD_S
from gateway.commands.autoscaling import Autoscaling
from gateway.commands.ui import PageProcess
from gateway.envoy.process import GatewayOptions
from gateway.errors import ControlError, GatewayError, StackError
from gateway.manifests.load import Manifests, load
from gateway.stack.change import apply
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.plan import make_plan
from gateway.stack.reconfigure import reconfiguring
from gateway.stack.report import example_request, status
from gateway.stack.revise import revised
from gateway.stack.socket import Command, ControlServer
from gateway.stack.stack import Stack, StackOptions
from gateway.stack.statedir import DEFAULT_NAME, StackDirectory, why
from gateway.ui.questions import questions
from kit.alarm import new_event_loop
from kit.children import python
from kit.console import complain, say, show
from kit.errors import DocumentError
from kit.printable import on_terminal
from kit.signals import ENDING, hear, ignore
from kit.watchdog import watch

EVENTS_KEPT = 200
_SIGNALS = (*ENDING, signal.SIGHUP)


@dataclass(frozen=True)
class UpOptions:
    """The command line of `up`."""

    directory: StackDirectory
    sources: Sequence[str] = ()
    namespace: str = "default"
    replicas: int | None = None
    picker: PickerOptions = field(default_factory=PickerOptions)
    gateway: GatewayOptions = field(default_factory=GatewayOptions)
    hpa_sync_period: float = SYNC_PERIOD_S  # seconds
    live: bool = False  # draw the table
    ui_port: int | None = None  # serve the page; 0: on any free port
    ready_fd: int | None = None  # of a detached stack: told when it is ready


def preset(name: str = "lab") -> list[str]:
    """The files of a packaged preset."""
    return sorted(
        str(f) for f in files("gateway").joinpath("presets", name).iterdir() if f.name.endswith(".yaml")
    )


def read_manifests(sources: Sequence[str], namespace: str) -> Manifests:
    """The given manifests, or the lab preset."""
    return load(sources or preset(), namespace)


def print_manifests(sources: Sequence[str], namespace: str) -> int:
    """The objects as they were given, kustomizations built, and nothing run; the exit code."""
    resources = read_manifests(sources, namespace).resources
    objects = [resource.root.value for resource in resources if not resource.made_by]
    show(yaml.safe_dump_all(objects, sort_keys=False))
    return 0


class Runner:
    """One `up` from start to end."""

    def __init__(self, options: UpOptions) -> None:
        self.options = options
        self.events: collections.deque[str] = collections.deque(maxlen=EVENTS_KEPT)
        self._ended = asyncio.Event()
        self._view: asyncio.subprocess.Process | None = None
        self._page: PageProcess | None = None
        self._started = time.time()
        self._begun = time.monotonic()
        self._announced = False  # what comes after that is an event

    def report(self, line: str) -> None:
        """Show a line; while the table is on the screen, it shows the last ones itself."""
        if self._announced:
            self.events.append(line)
        with contextlib.suppress(OSError), self.options.directory.log.open("a") as log:
            log.write(
                on_terminal(line).replace("\n", "\n  ") + "\n"
            )  # the disk may be full, the directory removed under a running stack
        if self._view is None or self._view.returncode is not None:
            say(line)

    async def run(self) -> None:
        """Until Ctrl-C, `down` or a death; raises what ended it unasked."""
        hear(_SIGNALS, lambda _: self._ended.set())
        watch(asyncio.get_running_loop(), _SIGNALS)
        up = asyncio.create_task(self._up())
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({up, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            if not up.done():
                up.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await up
        finally:
            ignore(_SIGNALS)

    async def _up(self) -> None:
        options = self.options
        manifests = read_manifests(options.sources, options.namespace)
        name = options.directory.name
        plan = make_plan(manifests, options.replicas, "" if name == DEFAULT_NAME else name)
        if not plan.servers and not plan.gateways:
            raise StackError(
                "\n  ".join(
                    [
                        "nothing to run: these manifests have neither model servers nor a Gateway",
                        *map(str, plan.unread),
                    ]
                )
            )
        what = ", ".join(options.sources) or "preset lab"
        self.report(
            f"stack {name} of {what}: "
            f"{counted(sum(s.replicas for s in plan.servers), 'pod')}, "
            f"{counted(len(plan.pickers), 'picker')}, {counted(len(plan.gateways), 'gateway')}"
        )
        for note in plan.notes:
            self.report(f"note: {note}")
        for found in plan.unread:
            self.report(str(found))
        settings = StackOptions(options.directory.path, options.picker, options.gateway)
        async with (
            Stack(plan, settings, self.report) as stack,
            Autoscaling(stack, self.report, options.hpa_sync_period) as scaling,
        ):
            control = ControlServer(options.directory.socket, self._commands(stack, scaling))
            await control.start()
            try:
                await self._start_page()
                self._announce(stack)
                await self._start_view()
                _let_go(self.options)
                raise await stack.failure
            finally:
                await self._stop_view()
                if self._page is not None:
                    await self._page.stop()
                self.report("stopping")
                await control.close()

    def _announce(self, stack: Stack) -> None:
        seconds = time.monotonic() - self._begun
        self.report(f"ready in {seconds:.1f} s")
        for gateway in stack.gateways:
            if (shown := example_request(stack, gateway)) is not None:
                self.report(f"\n  {shown.command()}\n")
        self._announced = True

    def _commands(self, stack: Stack, scaling: Autoscaling) -> dict[str, Any]:
        async def answer_status() -> dict[str, Any]:
            report = status(stack, self.options.directory.name, self._started)
            return {**report, "autoscalers": scaling.status(), "events": list(self.events)}

        async def down() -> str:
            self._ended.set()
            return "going down"

        async def apply_files(sources: list[str], namespace: str = "default", prune: bool = False) -> str:
            return await self._apply(stack, sources, namespace, prune=prune)

        changes: dict[str, Command] = {
            "apply": apply_files, "scale": stack.scale, "kill": stack.kill, "restart": stack.restart,
            "drain": stack.drain, "fault": stack.fault,
        }  # fmt: skip
        changes["reconfigure"] = reconfiguring(stack)
        return {
            "status": answer_status,
            "down": down,
            **{n: self._logged(c) for n, c in changes.items()},
            **questions(stack, changes),
        }

    async def _apply(self, stack: Stack, sources: list[str], namespace: str, *, prune: bool) -> str:
        """`simfleet apply`: the stack with these objects; what that changed. Raises ControlError."""
        try:
            manifests, lines = revised(stack.plan.manifests, sources, namespace, prune=prune)
            plan = make_plan(manifests, self.options.replicas, stack.plan.stack)
        except DocumentError as error:
            raise ControlError(str(error)) from error
        done = await apply(stack, plan)
        notes = [f"note: {note}" for note in plan.notes]
        problems = [f"{about} stays as it was: {words}" for about, words in done.problems.items()]
        told = "\n".join([*lines, *done.lines, *notes, *problems])
        if problems:
            raise ControlError(told)
        return told

    def _logged(self, command: Any) -> Any:
        @functools.wraps(command)
        async def run(**arguments: Any) -> str:
            result: str = await command(**arguments)
            self.report(result)
            return result

        return run

    async def _start_page(self) -> None:
        if self.options.ui_port is not None:
            self._page = PageProcess(self.options.directory.path, self.options.ui_port)
            self.report(f"page     {await self._page.start()}")

    async def _start_view(self) -> None:
        if self.options.live:
            argv = python("-m", "gateway.commands.table", str(self.options.directory.socket))
            self._view = await asyncio.create_subprocess_exec(*argv)

    async def _stop_view(self) -> None:
        if self._view is not None and self._view.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._view.terminate()
            await self._view.wait()


def counted(number: int, noun: str) -> str:
    """`1 pod`, `3 pods`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def up(options: UpOptions) -> int:
    """Run a stack to its end; the exit code."""
    options.directory.hold()
    _raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run(options))
    except GatewayError as error:
        complain(f"simfleet up: {error}")
        return error.exit_code
    except OSError as error:  # the disk is full, a name is too long for a file
        complain(f"simfleet up: {why(error)}")
        return StackError.exit_code
    finally:
        options.directory.remove()
    return 0


def _raise_file_limit() -> None:
    """As many descriptors as the system allows: every pod and every connection takes some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(options: UpOptions) -> None:
    await Runner(options).run()


def _let_go(options: UpOptions) -> None:
    """Tell the starter of a detached stack that it is ready, and hold none of its pipes any longer.

    A terminal is kept for standard error: the last word of a stack that dies should be seen.
    """
    if options.ready_fd is None:
        return
    with open(os.devnull, "w") as null, options.directory.log.open("a") as log:
        os.dup2(null.fileno(), 1)
        if not os.isatty(2):
            os.dup2(log.fileno(), 2)
    os.write(options.ready_fd, b"1")
    os.close(options.ready_fd)
