"""The adapters a replica knows by name: vLLM's frontend list.

Loading registers a name and makes the engine load the weights; unloading only takes the name away. What the
engine holds in its slots leaves by LRU, and requests in flight keep their `LoRARequest`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.engine.request import LoRARequest


@dataclass(frozen=True, slots=True)
class Adapter:
    """One registered adapter; `parent` is what /v1/models says."""

    request: LoRARequest
    parent: str

    @property
    def name(self) -> str:
        return self.request.name


class LoRARegistry:
    """Names to adapters, in order of registration. Ids count from 1 and are never used again."""

    def __init__(self) -> None:
        self._adapters: dict[str, Adapter] = {}
        self._next_id = 1

    def __iter__(self) -> Iterator[Adapter]:
        return iter(self._adapters.values())

    def __contains__(self, name: object) -> bool:
        return name in self._adapters

    def __len__(self) -> int:
        return len(self._adapters)

    def get(self, name: str) -> LoRARequest | None:
        """The adapter called `name` as the engine takes it."""
        adapter = self._adapters.get(name)
        return adapter.request if adapter is not None else None

    def register(self, name: str, path: str, parent: str) -> LoRARequest:
        """A new adapter, or the same id with another path where the name is taken (load in place)."""
        known = self._adapters.get(name)
        int_id = known.request.int_id if known is not None else self._next_id
        if known is None:
            self._next_id += 1
        request = LoRARequest(name=name, int_id=int_id, path=path)
        self._adapters[name] = Adapter(request, parent)
        return request

    def remove(self, name: str) -> bool:
        """Forget a name; False where there is none. Requests in flight are not touched."""
        return self._adapters.pop(name, None) is not None
