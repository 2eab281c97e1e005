"""What answers under every address of a replica.

The generating routes and /metrics are answered here, without a framework. Everything else goes through one
FastAPI app, inside `_FrameworkAnswer`, which adds what every answer carries and counts it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from simulator.server.errors import ApiError, internal_error
from simulator.server.http.bridge import Message, Receive, Scope, Send, bridged
from simulator.server.http.exchange import Exchange, response_id
from simulator.server.http.incoming import Incoming, Pair
from simulator.server.http.writer import Writer, header_lines
from simulator.server.logs import event
from simulator.server.requests.validation import from_errors
from simulator.server.routes import llmd_admin, lora, messages, models, operations, responses, vllm_admin
from simulator.server.routes.batch import prepare_batch, prepare_scoring
from simulator.server.routes.generate import GENERATING, GenerateCall, Prepare, prepare_invocation
from simulator.server.routes.openapi import describe
from simulator.server.routes.pooling import POOLING
from simulator.server.routes.scale_out import derender, render
from simulator.server.routes.scale_out import generate as tokens

if TYPE_CHECKING:
    from simulator.server.replica import Replica

_JSON = b"application/json"
_INVOCATIONS = "/invocations"
_RECENT = {
    "/v1/chat/completions/batch": prepare_batch,
    "/generative_scoring": prepare_scoring,
    tokens.GENERATE: tokens.prepare_generate,
}
_LLMD = llmd_admin.router
_SCALE_OUT = (render.router, derender.router, tokens.router)
_ATTRIBUTED = (
    *("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"),
)
_EXISTS = {
    **vllm_admin.EXISTS,
    **operations.EXISTS,
    **llmd_admin.EXISTS,
    _INVOCATIONS: lambda replica: replica.prepared.compat.invocations,
    **dict.fromkeys(
        (route.path for router in _SCALE_OUT for route in router.routes if isinstance(route, Route)),
        lambda replica: replica.prepared.compat.scale_out,
    ),
}
_GENERATING = {
    **GENERATING,
    **_RECENT,
    "/v1/responses": responses.prepare,
    "/v1/messages": messages.prepare,
}


def _generates(replica: Replica) -> bool:
    return replica.config.runner != "pooling"


def _recent(replica: Replica) -> bool:
    return replica.prepared.compat.scale_out and _generates(replica)


def _prepare_of(path: str, replica: Replica) -> Prepare | None:
    """What makes the Generation of a POST to `path`; None: the framework answers it."""
    compat = replica.prepared.compat
    if path in _RECENT and not compat.scale_out:
        return None
    if replica.config.runner == "pooling":
        return POOLING.get(path)
    if path == _INVOCATIONS and compat.invocations:
        return prepare_invocation
    return _GENERATING.get(path)


# A server that pools has none of the generating routes.
_EXISTS |= dict.fromkeys(_GENERATING, _generates) | dict.fromkeys(_RECENT, _recent)


class App:
    """Answers for any number of replicas: `handle` finds the one that is meant in the state of its address.

    `framework` is the FastAPI app that holds the control routes.
    """

    def __init__(self) -> None:
        self.framework = _framework()
        self._bridge = bridged(self._in_framework)

    def handle(self, incoming: Incoming, writer: Writer, state: Mapping[str, Any]) -> None:
        """A `service.Handler`."""
        replica: Replica = state["replica"]
        prepared = replica.prepared
        root = replica.config.root_path
        if root and incoming.path.startswith(root):
            incoming.path = incoming.path[len(root) :] or "/"
        if prepared.guard.refuses(incoming):
            _unauthorized(incoming, writer, replica)
            return
        cross: tuple[Pair, ...] = ()
        if prepared.cors.applies(incoming):
            if prepared.cors.is_preflight(incoming):
                prepared.cors.preflight(incoming, writer)
                return
            cross = prepared.cors.headers(incoming)
        path = incoming.path
        prepare = _prepare_of(path, replica) if incoming.method == "POST" else None
        if prepare is not None:
            GenerateCall(Exchange(incoming, writer, replica, cross), path, prepare)
        elif path in ("/metrics", "/metrics/"):
            _metrics(incoming, writer, replica, cross)
        else:
            self._bridge(incoming, writer, {"replica": replica, "cross": cross})

    async def _in_framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        replica: Replica = scope["state"]["replica"]
        exists = _EXISTS.get(scope["path"])
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
            extra += self._replica.prepared.inference_headers
        if self._replica.config.enable_request_id_headers:
            given = next((value for name, value in self._scope["headers"] if name == b"x-request-id"), None)
            extra.append((b"x-request-id", response_id(given)))
        extra += self._scope["state"]["cross"]
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


def _unauthorized(incoming: Incoming, writer: Writer, replica: Replica) -> None:
    headers: list[Pair] = [(b"content-type", _JSON)]
    if incoming.path.startswith(_ATTRIBUTED):
        headers += replica.prepared.inference_headers
    headers += _request_id(incoming, replica)
    writer.respond(401, header_lines(headers), b'{"error":"Unauthorized"}')


def _request_id(incoming: Incoming, replica: Replica) -> list[Pair]:
    if not replica.config.enable_request_id_headers:
        return []
    return [(b"x-request-id", response_id(incoming.header(b"x-request-id")))]


def _metrics(incoming: Incoming, writer: Writer, replica: Replica, cross: tuple[Pair, ...]) -> None:
    faults = replica.prepared.faults
    if faults.metrics_hang:
        return
    status, kind, body = 200, replica.exposition.content_type, b""
    extra: tuple[Pair, ...] = cross
    if incoming.method not in ("GET", "HEAD"):
        status, kind, body = 405, _JSON, b'{"detail":"Method Not Allowed"}'
        extra = ((b"allow", b"GET"), *cross)
    elif faults.metrics_status is not None:
        status = faults.metrics_status
    else:
        body = replica.metrics()
    headers = [(b"content-type", kind), (b"vary", b"Origin"), *extra, *_request_id(incoming, replica)]
    writer.respond(status, header_lines(headers), body)


def _framework() -> FastAPI:
    app = FastAPI(title="FastAPI", version="0.1.0")
    for router in (vllm_admin.router, operations.router, lora.router, models.router, _LLMD, *_SCALE_OUT):
        app.include_router(router)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)
    for path in (*_GENERATING, _INVOCATIONS):
        app.router.routes.append(Route(path, _known, methods=["POST"]))
    app.include_router(messages.router)
    app.include_router(responses.router)
    describe(app)
    return app


async def _known(request: Request) -> Response:
    """A generating route as the framework knows it, for its answers to other methods and to other slashes."""
    raise AssertionError(f"{request.url.path} is answered before the framework (`App.handle`)")


def _not_found(replica: Replica) -> Response:
    if replica.prepared.compat.route_errors == "text":
        return PlainTextResponse("Not Found", 404)
    return JSONResponse({"detail": "Not Found"}, 404)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Unknown path, wrong method."""
    assert isinstance(error, HTTPException)
    replica: Replica = request.scope["state"]["replica"]
    headers = dict(error.headers or {})
    if replica.prepared.compat.route_errors == "text":
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
    return await _on_api_error(request, from_errors(found, replica.prepared.compat))


async def _on_exception(request: Request, error: Exception) -> Response:
    return await _on_api_error(request, internal_error())
