"""N replicas in one process, each on its own address.

A replica's socket is its life: close it and clients get ECONNREFUSED, bind it again and the replica is back.
One timer, one tokenizer, one HTTP configuration serve all; a replica adds kilobytes.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any, Self

from simulator.config.serve import ControlConfig, ServeConfig
from simulator.errors import FleetError
from simulator.fleet.control import Alone, Control
from simulator.fleet.tokenwatch import watch_tokens
from simulator.server.app import App
from simulator.server.faultcontrol import change_faults
from simulator.server.http.listener import HTTPServer, Listener
from simulator.server.http.tls import ssl_context
from simulator.server.metrics.process_metrics import ProcessMetrics
from simulator.server.replica import Replica, Shared
from simulator.server.timer import Timer

# While draining: at how many looks in a row, 20 ms apart, nobody must have come before the sockets close, and
# how long they stay open at most.
_QUIET_LOOKS = 25
_LOOK_SECONDS = 0.02
_OPEN_SECONDS = 5.0
# How long answers that are already written may take to leave.
_LAST_WORDS_SECONDS = 2.0
# How long tokens that are generated may take into the socket before the replica dies after the last of them.
_LAST_TOKENS_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """A replica to be: several ports are data-parallel ranks of one pod; behind one port are all of them."""

    name: str
    host: str
    ports: tuple[int, ...]
    config: ServeConfig
    own_control: bool = False  # --control-port is its own, on its own address


@dataclass(slots=True)
class _Member:
    """A replica with its sockets; `replicas` go by rank, and so do `listeners`, but where ranks share one."""

    spec: ReplicaSpec
    replicas: tuple[Replica, ...] = ()
    listeners: tuple[Listener, ...] = ()
    control: Control | None = None  # its own control API
    reopens: bool = False  # its sockets are closed by a fault
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while sockets are opened or given up

    @property
    def is_listening(self) -> bool:
        return self.refuses or any(listener.is_listening for listener in self.listeners)

    @property
    def refuses(self) -> bool:
        """Its sockets are closed by a fault; it lives."""
        return any(replica.prepared.faults.refuse for replica in self.replicas)

    def close_control(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None


@dataclass(slots=True)
class _Contexts:
    """TLS contexts by the files that they come from."""

    known: dict[tuple[str | None, str | None, bool], ssl.SSLContext | None] = field(default_factory=dict)

    def get(self, config: ServeConfig) -> ssl.SSLContext | None:
        key = config.ssl_certfile, config.ssl_keyfile, config.self_signed_certs
        if key not in self.known:
            self.known[key] = ssl_context(config)
        return self.known[key]


class Fleet:
    """The replicas of this process by name; an async context manager that stops them all on exit.

    `single` says that the process is one replica: then /metrics has process_* and python_*. Methods raise
    FleetError for a name that is unknown or taken, and for an address that cannot be bound.
    """

    def __init__(self, *, single: bool = False) -> None:
        self._single = single
        self._members: dict[str, _Member] = {}
        self._view: dict[str, Replica] = {}
        self._contexts = _Contexts()
        self._shared: Shared | None = None
        self._server: HTTPServer | None = None
        self._control: Control | None = None

    @property
    def replicas(self) -> Mapping[str, Replica]:
        """Rank 0 of each; the other ranks are its `peers`. A killed or drained replica is still listed."""
        return MappingProxyType(self._view)

    def is_listening(self, name: str) -> bool:
        """Whether any socket of the replica is open."""
        return self._member(name).is_listening

    async def __aenter__(self) -> Self:
        self._shared = Shared(Timer(), process=ProcessMetrics() if self._single else None)
        self._server = HTTPServer(App().handle)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._members):
            self.kill(name)
        if self._control is not None:
            self._control.close()
            await self._control.wait_answered()
        await asyncio.gather(*(self._forget(member) for member in self._members.values()))
        self._members.clear()
        self._view.clear()
        if self._shared is not None:
            self._shared.timer.close()
            await asyncio.to_thread(self._shared.exporters.close)  # it waits for the collector
        if self._server is not None:
            self._server.close()

    async def serve_control(self, control: ControlConfig) -> None:
        """Open the control API where the configuration says; nowhere without a port."""
        if control.port is None:
            return
        self._control = Control(self, control.token)
        await self._control.open(control.host, control.port)

    async def add(self, spec: ReplicaSpec) -> Replica:
        """Build and listen; the replica answers when this returns. Raises FleetError, ConfigError."""
        if spec.name in self._members:
            raise FleetError(f"there is a replica {spec.name!r} already")
        member = _Member(spec)
        await self._start(member)
        self._members[spec.name] = member
        self._view[spec.name] = member.replicas[0]
        return member.replicas[0]

    async def add_all(self, specs: Iterable[ReplicaSpec]) -> None:
        """Add many, then take what was built out of the garbage collector's sight: it is there to stay."""
        gc.disable()
        try:
            for spec in specs:
                await self.add(spec)
        finally:
            gc.enable()
        gc.collect()
        gc.freeze()

    async def remove(self, name: str, grace_s: float = 0.0) -> None:
        """Stop listening, give requests in flight `grace_s` seconds, reset what is left, forget the
        replica.
        """
        member = self._member(name)
        if grace_s > 0:
            for listener in member.listeners:
                await listener.accept_the_last()
                listener.close_idle()
            await self._answered(member, grace_s)
        async with member.changing:
            if self._members.get(name) is not member:
                return  # somebody else has removed it
            self.kill(name)
            await self._forget(member)
            del self._members[name], self._view[name]

    def kill(self, name: str, after_tokens: int | None = None) -> None:
        """Close the sockets and reset the connections at once, or when it has generated that many more
        tokens.
        """
        member = self._member(name)
        if after_tokens:
            watch_tokens(member.replicas, after_tokens, lambda: self._die(member))
            return
        for listener in member.listeners:
            listener.stop_listening()
            listener.reset_connections()
        for replica in member.replicas:
            replica.driver.stall()
            replica.prepared.faults.refuse = False  # it is dead
        member.close_control()

    async def drain(self, name: str, timeout_s: float) -> bool:
        """Readiness 503 first, requests in flight finish, then the sockets close. False: timeout_s passed
        first.

        The sockets stay open until nobody has come for half a second, but five seconds at most, so that a
        gateway can take note; every answer meanwhile ends its connection.
        """
        member = self._member(name)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for replica in member.replicas:
            replica.state.draining = True
        for listener in member.listeners:
            listener.last_answers = True
        await self._quiet(member, min(_OPEN_SECONDS, timeout_s))
        for listener in member.listeners:
            await listener.accept_the_last()
        finished = await self._answered(member, max(0.0, deadline - loop.time()))
        await asyncio.gather(*(listener.wait_closed() for listener in member.listeners))
        self.kill(name)
        return finished

    async def fault(
        self, name: str, changes: Mapping[str, Any], *, clear: bool = False, stall_s: float = 0.0
    ) -> dict[str, Any]:
        """Change the faults of a replica, all ranks alike; those in force.

        `clear`: none but `changes` any more. Raises FleetError where one cannot be.
        """
        member = self._member(name)
        found = change_faults(member.replicas, changes, clear=clear, stall_s=stall_s)
        await self.apply_faults(name)
        return found

    async def apply_faults(self, name: str) -> None:
        """Close the sockets of a replica that is to refuse, open those of one that no longer is."""
        member = self._member(name)
        async with member.changing:
            for replica, listener in zip(member.replicas, member.listeners, strict=True):
                if replica.prepared.faults.refuse:
                    listener.stop_listening()
                    listener.reset_connections()
                    member.reopens = True
                elif member.reopens and not listener.is_listening:
                    await listener.start()
            member.reopens = member.refuses

    async def abort(self, name: str) -> bool:
        """vLLM's own end: no new connections, and requests in flight are answered with its error 500."""
        member = self._member(name)
        for listener in member.listeners:
            listener.stop_listening()
            listener.last_answers = True
        for replica in member.replicas:
            for generation in list(replica.prepared.active):
                generation.fail()
        await self._answered(member, _LAST_WORDS_SECONDS)
        await asyncio.gather(*(listener.wait_closed() for listener in member.listeners))
        self.kill(name)
        return True

    async def drain_as_vllm(self, name: str, timeout_s: float) -> bool:
        """vLLM's --shutdown-timeout: health stays 200, requests in flight finish, new ones end with abort."""
        member = self._member(name)
        for replica in member.replicas:
            replica.state.shutting_down = True
        idle = asyncio.gather(*(replica.driver.wait_idle() for replica in member.replicas))
        try:
            await asyncio.wait_for(idle, None if timeout_s == float("inf") else timeout_s)
        except TimeoutError:
            await self.abort(name)
            return False
        await self._answered(member, _LAST_WORDS_SECONDS)
        await self.abort(name)
        return True

    async def restart(self, name: str) -> Replica:
        """A fresh engine with empty caches on the same address; a replica that still runs is killed first."""
        member = self._member(name)
        async with member.changing:  # a second restart meanwhile would lose the sockets of the first
            self.kill(name)
            await self._forget(member)
            await self._start(member)
            self._view[name] = member.replicas[0]
            return member.replicas[0]

    def _die(self, member: _Member) -> None:
        """Kill it a moment later, when the tokens until now have left; it makes no more."""
        replicas = member.replicas
        for replica in replicas:
            replica.driver.stall()

        def kill() -> None:
            if self._members.get(member.spec.name) is member and member.replicas is replicas:
                self.kill(member.spec.name)

        asyncio.get_running_loop().call_later(_LAST_TOKENS_SECONDS, kill)

    def _member(self, name: str) -> _Member:
        member = self._members.get(name)
        if member is None:
            raise FleetError(f"there is no replica {name!r}; there are {', '.join(self._members) or 'none'}")
        return member

    async def _start(self, member: _Member) -> None:
        if self._shared is None or self._server is None:
            raise FleetError("the fleet has not been entered: `async with Fleet() as fleet`")
        spec = member.spec
        context = self._contexts.get(spec.config)
        member.replicas = tuple(
            Replica(spec.config, self._shared, name=spec.name, host=spec.host, port=port, rank=rank)
            for rank, port in enumerate(_port_of_each_rank(spec), spec.config.ranks.first)
        )
        for replica in member.replicas:
            replica.peers = member.replicas
        if len(spec.ports) == 1:
            member.replicas[0].stand_for(member.replicas)
        member.listeners = tuple(
            Listener(
                self._server,
                replica.host,
                replica.port,
                uds=spec.config.uds,
                context=context,
                app_state={"replica": replica},
                keep_alive_seconds=spec.config.keep_alive_timeout,
                max_head=spec.config.max_head_size,
                max_headers=spec.config.max_header_count,
            )
            for replica in member.replicas[: len(spec.ports)]
        )
        member.reopens = False
        try:
            for listener in member.listeners:
                await listener.start()
            if spec.own_control and spec.config.control.port is not None:
                member.control = Control(Alone(self, spec.name), spec.config.control.token)
                await member.control.open(spec.host, spec.config.control.port)
        except FleetError:
            await self._forget(member)
            raise

    async def _forget(self, member: _Member) -> None:
        member.close_control()
        for listener in member.listeners:
            listener.stop_listening()
            listener.reset_connections()
        for listener in member.listeners:
            await listener.wait_answered(1.0)
        for replica in member.replicas:
            replica.close()

    async def _quiet(self, member: _Member, most: float) -> None:
        """Until no request has come in for a while; in looks, for a process that slept heard nobody."""
        loop = asyncio.get_running_loop()
        end = loop.time() + most
        seen, looks = -1, 0
        while loop.time() < end and looks < _QUIET_LOOKS:
            total = sum(listener.num_begun for listener in member.listeners)
            seen, looks = total, looks + 1 if total == seen else 0
            await asyncio.sleep(_LOOK_SECONDS)

    async def _answered(self, member: _Member, timeout_s: float) -> bool:
        done = await asyncio.gather(*(listener.wait_answered(timeout_s) for listener in member.listeners))
        return all(done)


def _port_of_each_rank(spec: ReplicaSpec) -> tuple[int, ...]:
    """One rank a port; behind a single one, as many as the configuration says."""
    return spec.ports * spec.config.ranks.count if len(spec.ports) == 1 else spec.ports
