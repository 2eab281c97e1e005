"""KV transfers between the engines of one process: who holds which blocks, and who has fetched them.

Engines of other processes are out of reach: pulls from them work, and they free their blocks by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.server.driver import Driver


class KVLinks:
    """The engines with a connector by their ids, which several may share; a Link for each of them."""

    __slots__ = ("_drivers", "_gone")

    def __init__(self) -> None:
        self._drivers: dict[str, list[Driver]] = {}
        self._gone: set[str] = set()  # ids of engines that were here

    def join(self, engine_id: str, driver: Driver) -> None:
        """An engine is there. From the second on they ask and tell each other."""
        self._drivers.setdefault(engine_id, []).append(driver)
        everybody = [each for drivers in self._drivers.values() for each in drivers]
        if len(everybody) > 1:
            for each in everybody:
                each.engine.transfers.link = self

    def leave(self, engine_id: str, driver: Driver) -> None:
        """It is gone, and its blocks with it."""
        drivers = self._drivers.get(engine_id, [])
        if driver in drivers:
            drivers.remove(driver)
            if not drivers:
                del self._drivers[engine_id]
                self._gone.add(engine_id)

    def has_blocks(self, params: Mapping[str, Any], now: float) -> bool:
        engine_id = str(params.get("remote_engine_id"))
        if engine_id not in self._drivers:
            return engine_id not in self._gone
        return self._holder(params) is not None

    def fetched(self, params: Mapping[str, Any], now: float) -> None:
        driver = self._holder(params)
        if driver is not None:
            driver.engine.kv_fetched(str(params.get("remote_request_id")), now)
            driver.schedule()

    def _holder(self, params: Mapping[str, Any]) -> Driver | None:
        name = str(params.get("remote_request_id"))
        drivers = self._drivers.get(str(params.get("remote_engine_id")), ())
        return next((driver for driver in drivers if driver.engine.transfers.holds(name)), None)
