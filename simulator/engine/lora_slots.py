"""LoRA adapters inside an engine: slots on the GPU, the host's cache, and who uses them.

Names, conflicts and HTTP errors are the server's. Here an adapter is used by requests: it needs one of
max_loras slots while any of them runs, it is loaded into the host's LRU cache first (that takes time), and it
stays in slot and cache until another adapter needs the place. Source: vLLM `lora/worker_manager.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from simulator.engine.config import EngineConfig
from simulator.engine.request import LoRARequest, Request
from simulator.engine.stats import EngineStats
from simulator.errors import InvariantError


class LoRAManager:
    """`load_seconds` says how long an adapter takes from disk to host."""

    __slots__ = (
        "_active",
        "_host",
        "_host_size",
        "_load_seconds",
        "_running_names",
        "_slots",
        "_waiting_names",
        "max_loras",
        "running",
    )

    def __init__(self, config: EngineConfig, load_seconds: Callable[[LoRARequest], float]) -> None:
        self.max_loras = config.max_loras
        self._host_size = config.cpu_lora_slots
        self._load_seconds = load_seconds
        self._slots: OrderedDict[int, str] = OrderedDict()  # least recently used first
        self._host: OrderedDict[int, str] = OrderedDict()
        self.running: dict[int, int] = {}  # adapter id -> running requests
        self._running_names: dict[str, int] = {}
        self._waiting_names: dict[str, int] = {}
        self._active: dict[str, int] = {}  # adapters of requests in flight that have produced output

    def enter_waiting(self, lora: LoRARequest) -> None:
        _count(self._waiting_names, lora.name, 1)

    def leave_waiting(self, lora: LoRARequest) -> None:
        _count(self._waiting_names, lora.name, -1)

    def start(self, lora: LoRARequest) -> float:
        """One of its requests goes from waiting to running; returns the seconds of loading this costs."""
        _count(self._waiting_names, lora.name, -1)
        _count(self._running_names, lora.name, 1)
        self.running[lora.int_id] = self.running.get(lora.int_id, 0) + 1
        return self.load(lora)

    def stop(self, lora: LoRARequest) -> None:
        """One of its running requests has ended or was preempted."""
        _count(self._running_names, lora.name, -1)
        left = self.running[lora.int_id] - 1
        if left:
            self.running[lora.int_id] = left
        else:
            del self.running[lora.int_id]

    def first_output(self, request: Request) -> None:
        if request.lora is not None:
            _count(self._active, request.lora.name, 1)

    def last_output(self, request: Request) -> None:
        """The request has left the engine, after `first_output`."""
        if request.lora is not None:
            _count(self._active, request.lora.name, -1)

    def load(self, lora: LoRARequest) -> float:
        """Bring the adapter into the host's cache and a slot; seconds of loading, 0.0 if it was there."""
        seconds = 0.0
        if lora.int_id not in self._host:
            seconds = self._load_seconds(lora)
            if len(self._host) >= self._host_size:
                self._drop_idle(self._host)
        self._host[lora.int_id] = lora.name
        self._host.move_to_end(lora.int_id)
        if lora.int_id not in self._slots and len(self._slots) >= self.max_loras:
            self._drop_idle(self._slots)
        self._slots[lora.int_id] = lora.name
        self._slots.move_to_end(lora.int_id)
        return seconds

    def forget(self, int_id: int) -> None:
        """The adapter was unloaded; running requests are not touched."""
        if int_id not in self.running:
            self._slots.pop(int_id, None)
        self._host.pop(int_id, None)

    def report(self, stats: EngineStats, now: float) -> None:
        """Set the lora_requests_info numbers."""
        stats.lora_running = tuple(self._running_names)
        stats.lora_waiting = tuple(self._waiting_names)
        stats.lora_active = tuple(self._active)
        stats.lora_time = now

    def snapshot(self) -> dict[str, list[str]]:
        return {"slots": list(self._slots.values()), "host": list(self._host.values())}

    def check_invariants(self, running: list[Request], num_unfinished: int) -> None:
        """Raise InvariantError where users are miscounted."""
        used: dict[int, int] = {}
        for request in running:
            if request.lora is not None:
                used[request.lora.int_id] = used.get(request.lora.int_id, 0) + 1
        if used != self.running:
            raise InvariantError(f"adapters in use {used}, counted {self.running}")
        if sum(self._running_names.values()) != sum(used.values()):
            raise InvariantError("running requests with adapters are miscounted")
        if not num_unfinished and (self._waiting_names or self._active):
            raise InvariantError(f"adapters in use without requests: {[*self._waiting_names, *self._active]}")

    def _drop_idle(self, cache: OrderedDict[int, str]) -> None:
        """Evict the least recently used adapter that no running request needs."""
        for int_id in cache:
            if int_id not in self.running:
                del cache[int_id]
                return
        cache.popitem(last=False)


def _count(counts: dict[str, int], name: str, change: int) -> None:
    left = counts.get(name, 0) + change
    if left:
        counts[name] = left
    else:
        del counts[name]
