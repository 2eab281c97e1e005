"""The ASGI app of all replicas of a process.

The two generating routes and /metrics are answered here, without a framework. Everything else goes through
one FastAPI app, inside `_FrameworkAnswer`, which adds what every answer carries and counts it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from simulator.server.errors import ApiError, internal_error
from simulator.server.http.exchange import UNSAFE_VALUE, Receive, Scope
from simulator.server.http.writer import Message, Send
from simulator.server.logs import event
from simulator.server.requests.validation import from_errors
from simulator.server.routes import lora, messages, models, responses, vllm_admin
from simulator.server.routes.generate import GENERATING, Prepare, generate
from simulator.server.routes.openapi import describe

if TYPE_CHECKING:
    from simulator.server.replica import Replica

Lookup = Callable[[Scope], "Replica"]
_JSON: Final = b"application/json"
_ATTRIBUTED: Final = (
    *("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"),
)


def create_app(lookup: Lookup | None = None) -> App:
    """One app for any number of replicas; `lookup` finds the one a scope means, by default in its state."""
    return App(lookup or _from_state)


def _from_state(scope: Scope) -> Replica:
    replica: Replica = scope["state"]["replica"]
    return replica


class App:
    """Callable as ASGI 3 for HTTP. `framework` is the FastAPI app that holds the control routes."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.framework = _framework()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        replica = self._lookup(scope)
        path: str = scope["path"]
        root = replica.config.root_path
        if root and path.startswith(root):
            path = scope["path"] = path[len(root) :] or "/"
        front = replica.front
        if front.guard.refuses(scope):
            await _unauthorized(scope, send, replica)
            return
        if front.cors.applies(scope):
            if front.cors.is_preflight(scope):
                await front.cors.preflight(scope, send)
                return
            send = front.cors.wrap(scope, send)
        prepare = GENERATING.get(path)
        if prepare is not None and scope["method"] == "POST":
            await generate(scope, receive, send, replica, path, prepare)
        elif path in ("/metrics", "/metrics/"):
            await _metrics(scope, receive, send, replica)
        else:
            await self._in_framework(scope, receive, send, replica, path)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lifespan is answered at once; there are no websockets."""
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "websocket.close", "code": 1000})

    async def _in_framework(
        self, scope: Scope, receive: Receive, send: Send, replica: Replica, path: str
    ) -> None:
        scope["state"] = {**scope.get("state", {}), "replica": replica}
        exists = vllm_admin.EXISTS.get(path)
        answer = _FrameworkAnswer(scope, send, replica)
        if exists is not None and not exists(replica):
            await _not_found(replica)(scope, receive, answer.send)
        else:
            await self.framework(scope, receive, answer.send)
        answer.record()


class _FrameworkAnswer:
    """Adds the headers of every answer, and counts it when it is done."""

    def __init__(self, scope: Scope, send: Send, replica: Replica) -> None:
        self._scope = scope
        self._send = send
        self._replica = replica
        self._begun = time.monotonic()
        self._path: str = scope["path"]
        self._status = 0
        self._length = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = list(message.get("headers", ()))
            self._length = int(next((v for k, v in headers if k == b"content-length"), b"0"))
            message["headers"] = [*headers, (b"vary", b"Origin"), *self._extra()]
        await self._send(message)

    def _extra(self) -> list[tuple[bytes, bytes]]:
        extra: list[tuple[bytes, bytes]] = []
        if self._path.startswith(_ATTRIBUTED):
            extra += self._replica.front.inference_headers
        if self._replica.config.enable_request_id_headers:
            extra.append(request_id_header(self._scope))
        return extra

    def record(self) -> None:
        if not self._status:
            return
        route = self._scope.get("route")
        handler = getattr(route, "path", "none") if self._status not in (404, 405) or route else "none"
        if self._status == 405:
            handler = "none"
        seconds = time.monotonic() - self._begun
        asked = int(next((v for k, v in self._scope["headers"] if k == b"content-length"), b"0"))
        method = self._scope["method"]
        self._replica.http.record(handler, method, self._status, seconds, asked, self._length)
        if self._replica.config.log_http:
            event("http", method=method, path=self._path, status=self._status, seconds=round(seconds, 6))


def request_id_header(scope: Scope) -> tuple[bytes, bytes]:
    """X-Request-Id of the answer: the client's, or a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
    if given is None or UNSAFE_VALUE.search(given):
        given = uuid.uuid4().hex.encode()
    return (b"x-request-id", given)


async def _unauthorized(scope: Scope, send: Send, replica: Replica) -> None:
    body = b'{"error":"Unauthorized"}'
    headers = [(b"content-length", b"24"), (b"content-type", b"application/json")]
    if scope["path"].startswith(_ATTRIBUTED):
        headers += replica.front.inference_headers
    if replica.config.enable_request_id_headers:
        headers.append(request_id_header(scope))
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _metrics(scope: Scope, receive: Receive, send: Send, replica: Replica) -> None:
    faults = replica.front.faults
    if faults.metrics_hang:
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    status, kind, body = 200, replica.exposition.content_type, b""
    extra: tuple[tuple[bytes, bytes], ...] = ()
    if scope["method"] not in ("GET", "HEAD"):
        status, kind, body = 405, _JSON, b'{"detail":"Method Not Allowed"}'
        extra = ((b"allow", b"GET"),)
    elif faults.metrics_status is not None:
        status = faults.metrics_status
    else:
        body = replica.metrics()
    headers = [
        (b"content-length", str(len(body)).encode()),
        (b"content-type", kind),
        (b"vary", b"Origin"),
        *extra,
    ]
    if replica.config.enable_request_id_headers:
        headers.append(request_id_header(scope))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _framework() -> FastAPI:
    app = FastAPI(title="FastAPI", version="0.1.0")
    for routes in (vllm_admin, lora, models):
        app.include_router(routes.router)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)
    framed = {
        **GENERATING,
        "/v1/responses": responses.prepare,
        "/v1/messages": messages.prepare,
    }
    for path, prepare in framed.items():
        app.router.routes.append(Route(path, _Endpoint(path, prepare), methods=["POST"]))
    app.include_router(messages.router)
    app.include_router(responses.router)
    describe(app)
    return app


class _Endpoint:
    """A generating route as the framework sees it, which answers wrong methods; the rest is `generate`."""

    def __init__(self, path: str, prepare: Prepare) -> None:
        self._path = path
        self._prepare = prepare

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        replica = scope["state"]["replica"]
        return generate(scope, receive, send, replica, self._path, self._prepare)


def _not_found(replica: Replica) -> Response:
    if replica.front.compat.route_errors == "text":
        return PlainTextResponse("Not Found", 404)
    return JSONResponse({"detail": "Not Found"}, 404)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Unknown path, wrong method."""
    assert isinstance(error, HTTPException)
    replica: Replica = request.scope["state"]["replica"]
    headers = dict(error.headers or {})
    if replica.front.compat.route_errors == "text":
        if "allow" in {name.lower() for name in headers}:
            headers = {"Allow": f"{next(iter(headers.values()))}, OPTIONS"}
        return PlainTextResponse(error.detail, error.status_code, headers)
    return JSONResponse({"detail": error.detail}, error.status_code, headers)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    kind = "text/plain; charset=utf-8" if error.plain else "application/json"
    return Response(error.body(), error.status, headers, media_type=kind)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """Query parameters; bodies are validated by the routes themselves."""
    assert isinstance(error, RequestValidationError)
    replica: Replica = request.scope["state"]["replica"]
    found: list[Any] = list(error.errors())
    return await _on_api_error(request, from_errors(found, replica.front.compat))


async def _on_exception(request: Request, error: Exception) -> Response:
    return await _on_api_error(request, internal_error())
