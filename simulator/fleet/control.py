"""The control API on a socket of its own: of a whole fleet, or of one replica that knows of no other."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.server.http.bridge import bridged
from simulator.server.http.listener import HTTPServer, Listener
from simulator.server.replica import Replica
from simulator.server.routes.lab_control import ControlAPI, Operator


class Control:
    """Listens from `open` to `close`. Raises FleetError where the address is taken."""

    def __init__(self, operator: Operator, token: str | None) -> None:
        self._server = HTTPServer(bridged(ControlAPI(operator, token)))
        self._listener: Listener | None = None

    async def open(self, host: str, port: int) -> None:
        self._listener = Listener(self._server, host, port)
        await self._listener.start()

    async def wait_answered(self) -> None:
        """Until no request is being answered; a second at most."""
        if self._listener is not None:
            await self._listener.wait_answered(1.0)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.stop_listening()
            self._listener.reset_connections()
        self._server.close()


class Alone:
    """One replica of a fleet as an operator."""

    def __init__(self, fleet: Operator, name: str) -> None:
        self._fleet = fleet
        self._name = name
        self.is_listening, self.kill = fleet.is_listening, fleet.kill
        self.restart, self.drain, self.apply_faults = fleet.restart, fleet.drain, fleet.apply_faults

    @property
    def replicas(self) -> Mapping[str, Replica]:
        """It alone; nobody while it is being made."""
        return {n: r for n, r in self._fleet.replicas.items() if n == self._name}
