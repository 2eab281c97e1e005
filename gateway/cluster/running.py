"""The running half of `simfleet cluster`: a stack that begins with nothing and follows the objects."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.cluster.autoscaling import Autoscalers
from gateway.cluster.istiod import Istiod
from gateway.cluster.runtime import Runtime
from gateway.cluster.world import World
from gateway.envoy.process import GatewayOptions
from gateway.errors import StackError
from gateway.machine.ports import is_free, loopback_addresses
from gateway.manifests.gatewayapi import Gateway
from gateway.manifests.load import Manifests
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.plan import Plan
from gateway.stack.report import status
from gateway.stack.stack import Stack, StackOptions

FIRST_GATEWAY = "127.0.1.1"  # the first address that a gateway is looked for at; pods begin at 127.0.0.2


class Places:
    """An address of its own for each gateway, where its listeners' own ports can be bound.

    Where they cannot (a port below 1024 without privilege, macOS without addresses), the gateway listens on
    127.0.0.1 and the ports that `up` would give it; its status names them.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self._options = options
        self._given: dict[tuple[str, str], str] = {}

    def __call__(self, gateway: Gateway) -> GatewayOptions:
        ports = {listener.port for listener in gateway.listeners}
        address = self._given.get(gateway.key)
        if address is None:
            taken = set(self._given.values())
            candidates = (a for a in loopback_addresses() if a >= FIRST_GATEWAY and a not in taken)
            address = next((a for _, a in zip(range(64), candidates, strict=False)
                            if all(is_free(a, p) for p in ports)), None)  # fmt: skip
        if address is None:
            return self._options
        self._given[gateway.key] = address
        return replace(self._options, host=address, ports={port: port for port in ports})


def settings(directory: Path, epp: str, gateways: GatewayOptions) -> StackOptions:
    """How the stack of a cluster runs."""
    return StackOptions(directory, PickerOptions(epp), gateways, Places(gateways))


class Started:
    """A cluster's stack, as the control socket asks it."""

    def __init__(self, stack: Stack, world: World, istiod: Istiod | None) -> None:
        self._stack = stack
        self._world = world
        self._istiod = istiod
        self.autoscalers = Autoscalers(stack, world, world.report)

    @property
    def failure(self) -> asyncio.Future[StackError]:
        return self._stack.failure

    @property
    def commands(self) -> dict[str, Callable[..., Any]]:
        stack = self._stack
        return {
            "kill": stack.kill,
            "restart": stack.restart,
            "drain": stack.drain,
            "scale": self._world.scale,
        }

    def status(self, name: str, started: float) -> dict[str, Any]:
        return {
            **status(self._stack, name, started),
            "autoscalers": self.autoscalers.status(),
            **({"control_plane": self._istiod.as_data} if self._istiod else {}),
            "kubeconfig": str(self._stack.options.directory / "kubeconfig"),
        }


@contextlib.asynccontextmanager
async def started(
    options: StackOptions, world: World, name: str, istiod: Path | None = None
) -> AsyncIterator[Started]:
    """The stack of `world` for as long as it is used, programmed by that istiod or by us."""
    async with contextlib.AsyncExitStack() as ends:
        child = None
        if istiod is not None:
            child = Istiod(istiod, options.directory, options.directory / "kubeconfig")
            await child.start()
            ends.push_async_callback(child.stop)
            gateways = replace(options.gateway, xds_port=child.xds_port)
            options = replace(options, gateway=gateways, place=Places(gateways))
        stack = await ends.enter_async_context(Stack(Plan(Manifests(), stack=name), options, world.heard))
        if child is not None:
            watch = asyncio.create_task(_watch(child, stack, world.report))
            ends.callback(watch.cancel)
        world.use(Runtime(stack))
        found = Started(stack, world, child)
        scaling = asyncio.create_task(found.autoscalers.run())
        ends.callback(scaling.cancel)
        yield found


async def _watch(istiod: Istiod, stack: Stack, report: Callable[[str], None]) -> None:
    """Say when it is ready; a cluster without its control plane has failed."""
    begun = time.monotonic()
    try:
        await istiod.until_ready()
        report(f"istiod   {istiod.binary}, ready after {time.monotonic() - begun:.1f} s")
        await istiod.process.wait()
        failure = StackError(f"istiod {istiod.process.ending()}\n{istiod.process.tail()}")
    except StackError as error:
        failure = error
    if not istiod.process.stopping and not stack.failure.done():
        stack.failure.set_result(failure)
