"""The control API: faults and operations at run time, for people and test programs. `--control-port`.

An ASGI app of its own on a socket of its own, so that no client of the simulated server can reach it. Without
a token it answers on loopback only; that is the listener's business, the token is checked here. A web page
that somebody has open may do nothing: Host and Origin tell of it, and a body must be application/json.
`{name}` is a replica's name, or `all`.

    GET  /replicas                        what there is, and how it does
    GET  /replicas/{name}                 one of them, with its engine's state
    GET  /replicas/{name}/faults          faults in force
    POST /replicas/{name}/faults          change some of them (see faultcontrol.py)
    DELETE /replicas/{name}/faults        none any more
    POST /replicas/{name}/stall           {"seconds": 2.5}: the next engine step comes that much later
    POST /replicas/{name}/kill            {"after_tokens": 100}: reset connections, close the socket
    POST /replicas/{name}/restart         a fresh engine on the same address
    POST /replicas/{name}/drain           {"timeout": 30}
    POST /replicas/{name}/reset_prefix_cache
    POST /replicas/{name}/abort_requests
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kit.websites import why_foreign
from simulator.config.compat import COMPATS, DEFAULT_COMPAT
from simulator.errors import ConfigError, FleetError
from simulator.server.errors import ApiError
from simulator.server.faultcontrol import clear_faults, faults_in_force, number, set_faults, stall
from simulator.server.http.bridge import Send
from simulator.server.requests.validation import parse_object
from simulator.server.routes.vllm_admin import abort_from_outside

if TYPE_CHECKING:
    from simulator.server.replica import Replica

_COMPAT = COMPATS[DEFAULT_COMPAT]  # whose words for malformed bodies
_ALL = "all"


class Operator(Protocol):
    """What the API asks of a fleet."""

    @property
    def replicas(self) -> Mapping[str, Replica]: ...

    def is_listening(self, name: str) -> bool: ...

    def kill(self, name: str, after_tokens: int | None = None) -> None: ...

    async def restart(self, name: str) -> Replica: ...

    async def drain(self, name: str, timeout_s: float) -> bool: ...

    async def apply_faults(self, name: str) -> None:
        """Open or close its sockets, as the fault `refuse` has it."""


class ControlAPI:
    """ASGI app; `token` None: whoever reaches the socket may do everything."""

    def __init__(self, operator: Operator, token: str | None = None) -> None:
        self._operator = operator
        self._token = token.encode() if token else None
        post: dict[str, Callable[[str, Replica, dict[str, Any]], Awaitable[Any]]] = {
            "faults": self._set_faults,
            "stall": self._stall,
            "kill": self._kill,
            "restart": self._restart,
            "drain": self._drain,
            "reset_prefix_cache": self._reset_prefix_cache,
            "abort_requests": self._abort_requests,
        }
        self._post = post
        routes = [
            Route("/replicas", self._list),
            Route("/replicas/{name}", self._show),
            Route("/replicas/{name}/faults", self._faults, methods=["GET"]),
            Route("/replicas/{name}/faults", self._clear_faults, methods=["DELETE"]),
            Route("/replicas/{name}/{action}", self._act, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {ApiError: _on_api_error, ConfigError: _on_error, FleetError: _on_error}
        self._app = Starlette(routes=routes, exception_handlers=handlers)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] == "http" and self._token is not None and not self._knows(scope, self._token):
            await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
            return
        if scope["type"] == "http" and (refused := self._refused(scope)) is not None:
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: dict[str, Any]) -> Response | None:
        """The answer to what a web page could send in its reader's name."""
        headers = dict(scope["headers"])
        if why := why_foreign(scope["headers"], any_host=self._token is not None):
            return Response(ApiError(why, 403).body(), 403, media_type="application/json")
        kind = headers.get(b"content-type", b"").decode("latin-1")
        has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        if (kind or has_body) and kind.partition(";")[0].strip().lower() != "application/json":
            why = f"a body must be application/json, not {kind or 'without a content type'}"
            return Response(ApiError(why, 415).body(), 415, media_type="application/json")
        return None

    @staticmethod
    def _knows(scope: dict[str, Any], token: bytes) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, b"Bearer " + token)

    def _named(self, request: Request) -> dict[str, Replica]:
        """The replicas that the path means; raises ApiError for a name that there is not."""
        name = request.path_params["name"]
        replicas = self._operator.replicas
        if name == _ALL:
            return dict(replicas)
        if name not in replicas:
            known = ", ".join(replicas) or "none"
            raise ApiError(f"there is no replica {name!r}; there are {known}", 404, "NotFoundError")
        return {name: replicas[name]}

    async def _list(self, request: Request) -> Response:
        return JSONResponse([self._summary(name, r) for name, r in self._operator.replicas.items()])

    async def _show(self, request: Request) -> Response:
        shown = [
            {**self._summary(name, replica), "ranks": [peer.engine.snapshot() for peer in replica.peers]}
            for name, replica in self._named(request).items()
        ]
        return JSONResponse(shown[0] if request.path_params["name"] != _ALL else shown)

    def _summary(self, name: str, replica: Replica) -> dict[str, Any]:
        return {
            "name": name,
            "host": replica.host,
            "ports": [peer.port for peer in replica.peers],
            "model": replica.config.served_model_name,
            "listening": self._operator.is_listening(name),
            "ready": replica.state.is_ready(),
            "draining": replica.state.draining,
            "paused": replica.state.paused,
            "running": sum(peer.engine.stats.num_requests_running for peer in replica.peers),
            "waiting": sum(peer.engine.stats.num_requests_waiting for peer in replica.peers),
            "kv_cache_usage": max(peer.engine.stats.kv_cache_usage for peer in replica.peers),
            "faults": faults_in_force(replica),
        }

    async def _faults(self, request: Request) -> Response:
        found = {name: faults_in_force(replica) for name, replica in self._named(request).items()}
        return JSONResponse(found)

    async def _clear_faults(self, request: Request) -> Response:
        for name, replica in self._named(request).items():
            for peer in replica.peers:
                clear_faults(peer)
            await self._operator.apply_faults(name)
        return JSONResponse({"cleared": sorted(self._named(request))})

    async def _act(self, request: Request) -> Response:
        action = self._post.get(request.path_params["action"])
        if action is None:
            known = ", ".join(self._post)
            raise ApiError(f"there is no action {request.path_params['action']!r}; there are {known}", 404)
        raw = await request.body()
        body = parse_object(raw, _COMPAT) if raw.strip() else {}
        done = {name: await action(name, replica, body) for name, replica in self._named(request).items()}
        return JSONResponse(done)

    async def _set_faults(self, name: str, replica: Replica, body: dict[str, Any]) -> Any:
        for peer in replica.peers:
            set_faults(peer, body)
        await self._operator.apply_faults(name)
        return faults_in_force(replica)

    async def _stall(self, name: str, replica: Replica, body: dict[str, Any]) -> Any:
        seconds = number(body, "seconds", 0.0, 3600.0)
        for peer in replica.peers:
            stall(peer, seconds)
        return {"stalled": seconds}

    async def _kill(self, name: str, replica: Replica, body: dict[str, Any]) -> Any:
        after = body.get("after_tokens")
        if after is not None and (not isinstance(after, int) or after < 0):
            raise ApiError("after_tokens must be a whole number that is not negative", param="after_tokens")
        self._operator.kill(name, after)
        return {"killed": not after}

    async def _restart(self, name: str, replica: Replica, body: dict[str, Any]) -> Any:
        await self._operator.restart(name)
        return {"restarted": True}

    async def _drain(self, name: str, replica: Replica, body: dict[str, Any]) -> Any:
        timeout = number({"timeout": 30.0, **body}, "timeout", 0.0, 86400.0)
        return {"drained": await self._operator.drain(name, timeout)}

    async def _reset_prefix_cache(self, name: str, replica: Replica, body: dict[str, Any]) -> Any:
        running = bool(body.get("reset_running_requests", False))
        done = []
        for peer in replica.peers:
            done.append(peer.engine.reset_prefix_cache(time.monotonic(), running))
            peer.driver.schedule()
        return {"success": all(done)}

    async def _abort_requests(self, name: str, replica: Replica, body: dict[str, Any]) -> Any:
        count = 0
        for peer in replica.peers:
            active = list(peer.prepared.active)
            abort_from_outside(peer, active)
            count += len(active)
        return {"aborted": count}


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return Response(error.body(), error.status, media_type="application/json")


async def _on_error(request: Request, error: Exception) -> Response:
    return await _on_api_error(request, ApiError(str(error)))
