"""Where the containers of a pod listen."""

from __future__ import annotations

from gateway.stack.plan import ServerPlan, fronting_ports


def listening_ports(server: ServerPlan, port: int, ranks: int) -> tuple[int, ...]:
    """The ports that a model server listens on, one per data-parallel rank; `port` is its --port.

    A server of one rank whose --port is among several targetPorts stands for one process per port; a server
    whose --port is none of them listens where it says, and the pool does not reach it.
    """
    targets = server.pool.target_ports
    if ranks == 1 and port in targets:
        return targets
    if port not in targets and fronting_ports(server.workload, server.container, targets):
        return targets  # a routing proxy beside the server would pass requests on; here the server takes them
    return tuple(port + rank for rank in range(ranks))
