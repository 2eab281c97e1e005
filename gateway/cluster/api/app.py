"""The API over HTTP: who may ask, where a request goes, and refusals as Status."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.cluster.api import discovery
from gateway.cluster.api.answers import json_answer, refusal
from gateway.cluster.api.ask import MOST_BYTES, Ask, Place, place_of
from gateway.cluster.api.reading import Reader
from gateway.cluster.api.reviews import answered
from gateway.cluster.api.writing import Writer
from gateway.cluster.objects.errors import ApiError, no_resource
from gateway.cluster.objects.intake import Intake
from gateway.cluster.objects.kinds import REVIEWS, Served
from gateway.cluster.objects.state import State
from kit.websites import why_foreign

Object = dict[str, Any]
OPEN = ("/healthz", "/livez", "/readyz", "/version")  # to whoever has no token, as in a cluster


class Behind(Protocol):
    """What stands behind the objects."""

    def logs(self, pod: Object, container: str, tail: int | None, *, follow: bool) -> AsyncIterator[bytes]:
        """The lines of a pod's container."""

    async def settled(self) -> None:
        """Wait until what was written runs, for a while."""


class ClusterApi:
    """An ASGI app that serves one State to whoever has the token."""

    def __init__(self, state: State, token: str, behind: Behind) -> None:
        self._state = state
        self._token = token
        self._behind = behind
        self._reader = Reader(state)
        self._writer = Writer(state)

    def end_watches(self) -> None:
        self._reader.end_watches()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except ApiError as error:
            answer = refusal(error)
        except ClientDisconnect:
            return
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if why := why_foreign(request.scope["headers"]):
            raise ApiError(403, "Forbidden", why)
        path = request.url.path.rstrip("/") or "/"
        if path not in OPEN and not self._is_known(request):
            raise ApiError(401, "Unauthorized", "Unauthorized")
        size = request.headers.get("content-length", "0")
        if size.isdigit() and int(size) > MOST_BYTES:
            words = f"Request entity too large: limit is {MOST_BYTES}"
            raise ApiError(413, "RequestEntityTooLarge", words)
        body = await request.body()
        ask = Ask(request.method, path, dict(request.query_params), dict(request.headers), body)
        if request.method in {"GET", "HEAD"} and (found := self._about(ask)) is not None:
            return found
        place = place_of(path)
        if place is None:
            raise no_resource()
        if request.method == "GET" and self._has_gateways(place):
            # `kubectl apply; kubectl wait gateway; curl`: programmed is what has been applied.
            await self._behind.settled()
        return self._place(ask, place)

    def _has_gateways(self, place: Place) -> bool:
        """Whether the request is for Gateways that stand."""
        served = self._state.registry.find(place.group, place.version, place.resource)
        return (
            served is not None
            and served.kind.kind == "Gateway"
            and any(
                not g["metadata"].get("deletionTimestamp")
                for g in self._state.list(served.kind, place.namespace)
            )
        )

    def _is_known(self, request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode())

    # what the API says of itself

    def _about(self, ask: Ask) -> Response | None:
        parts = ask.path.strip("/").split("/")
        registry = self._state.registry
        if ask.path in {"/healthz", "/livez", "/readyz"}:
            return PlainTextResponse("ok")
        if ask.path == "/version":
            return json_answer(discovery.version())
        if ask.path in {"/api", "/apis"}:
            return self._roots(ask)
        if parts[:2] == ["openapi", "v3"]:
            return self._openapi(parts[2:])
        found = None
        if parts[0] == "api" and len(parts) == 2:
            found = discovery.resource_list(registry, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            found = discovery.one_group(registry, parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            found = discovery.resource_list(registry, parts[1], parts[2])
        return json_answer(found) if found else None

    def _roots(self, ask: Ask) -> Response:
        core = ask.path == "/api"
        registry = self._state.registry
        if "as=APIGroupDiscoveryList" in ask.accept and "v=v2" in ask.accept:
            answer = json_answer(discovery.aggregated(registry, core))
            kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            answer.headers["content-type"] = kind
            return answer
        return json_answer(discovery.core_versions() if core else discovery.group_list(registry))

    def _openapi(self, parts: list[str]) -> Response:
        if not parts:
            return json_answer(discovery.openapi_index(self._state))
        if parts[0] == "api" and len(parts) == 2:
            group, version = "", parts[1]
        elif parts[0] == "apis" and len(parts) == 3:
            group, version = parts[1], parts[2]
        else:
            raise no_resource()
        document = discovery.openapi(self._state.registry, group, version)
        if document is None:
            raise no_resource()
        return json_answer(document)

    # objects

    def _place(self, ask: Ask, place: Place) -> Response:
        served = self._state.registry.find(place.group, place.version, place.resource)
        if served is None:
            raise no_resource()
        if place.namespace and not served.kind.namespaced:
            raise no_resource()
        if served.kind.kind in REVIEWS:
            return self._review(ask, served)
        if place.subresource:
            return self._below(ask, served, place)
        handler = self._handler(ask, served, place)
        if handler is None:
            words = "the server does not allow this method on the requested resource"
            raise ApiError(405, "MethodNotAllowed", words)
        return handler()

    def _handler(self, ask: Ask, served: Served, place: Place) -> Callable[[], Response] | None:
        reader, writer = self._reader, self._writer
        if not place.name:
            return {
                "GET": lambda: reader.list(ask, served, place.namespace),
                "HEAD": lambda: reader.list(ask, served, place.namespace),
                "POST": lambda: writer.create(ask, served, place),
                "DELETE": lambda: writer.delete_collection(ask, served, place),
            }.get(ask.method)
        if served.kind.namespaced and not place.namespace:
            return None
        if ask.method == "GET" and ask.query.get("watch") in {"true", "1"}:
            return lambda: reader.list(ask, served, place.namespace, place.name)
        return {
            "GET": lambda: reader.get(ask, served, place.namespace, place.name),
            "HEAD": lambda: reader.get(ask, served, place.namespace, place.name),
            "PUT": lambda: writer.update(ask, served, place),
            "PATCH": lambda: writer.patch(ask, served, place),
            "DELETE": lambda: writer.delete(ask, served, place),
        }.get(ask.method)

    def _below(self, ask: Ask, served: Served, place: Place) -> Response:
        name, kind = place.subresource, served.kind
        if name == "scale" and ask.method in {"GET", "PUT", "PATCH"}:
            return self._writer.scale(ask, served, place)
        if (name == "status" and served.has_status) or (name == "finalize" and kind.kind == "Namespace"):
            if ask.method == "GET":
                return self._reader.get(ask, served, place.namespace, place.name)
            if ask.method == "PUT":
                return self._writer.update(ask, served, place)
            if ask.method == "PATCH":
                return self._writer.patch(ask, served, place)
        if kind.kind == "Pod" and name == "log" and ask.method == "GET":
            return self._log(ask, served, place)
        if kind.kind == "Pod" and name == "eviction" and ask.method == "POST":
            return self._writer.evict(ask, served, place)
        raise no_resource()

    def _review(self, ask: Ask, served: Served) -> Response:
        if ask.method != "POST":
            words = "the server does not allow this method on the requested resource"
            raise ApiError(405, "MethodNotAllowed", words)
        return json_answer(answered(Intake(served).decode(ask.content())), 201)

    def _log(self, ask: Ask, served: Served, place: Place) -> Response:
        pod = self._state.need(served.kind, place.namespace, place.name)
        names = [c["name"] for c in pod.get("spec", {}).get("containers", ())]
        container = ask.query.get("container") or (names[0] if len(names) == 1 else "")
        if not container:
            words = (
                f"a container name must be specified for pod {place.name}, choose one of: [{' '.join(names)}]"
            )
            raise ApiError(400, "BadRequest", words)
        if container not in names:
            words = f"container {container} is not valid for pod {place.name}"
            raise ApiError(400, "BadRequest", words)
        tail = ask.query.get("tailLines", "")
        lines = self._behind.logs(
            pod,
            container,
            int(tail) if tail.isdigit() else None,
            follow=ask.query.get("follow") == "true",
        )
        return StreamingResponse(lines, media_type="text/plain")
