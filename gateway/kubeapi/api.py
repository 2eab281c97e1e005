"""The store over HTTP: discovery, get, list and watch, as client-go and kubectl ask for them.

Read only: whatever would change an object is refused with a Status that says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.kubeapi.query import BadQueryError, Query, place, read_query, to_continue
from gateway.kubeapi.store import BadSelectorError, ExpiredError, Kind, Match, Object, Store, selector
from gateway.kubeapi.table import as_table
from gateway.kubeapi.watch import Watch
from kit.websites import why_foreign

READ_VERBS = ["get", "list", "watch"]


def create_app(store: Store) -> Starlette:
    """An ASGI app that serves `store` like a Kubernetes API server without authentication.

    `app.state.end_watches()` ends the answers that would otherwise go on.
    """
    api = Api(store)
    app = Starlette(
        routes=[
            Route("/api", api.core_versions),
            Route("/apis", api.groups),
            Route("/version", api.version),
            Route("/{check:str}", api.health),
            Route("/api/v1", api.resources),
            Route("/apis/{group}", api.group),
            Route("/apis/{group}/{version}", api.resources),
            Route("/api/v1/{rest:path}", api.objects, methods=_METHODS),
            Route("/apis/{group}/{version}/{rest:path}", api.objects, methods=_METHODS),
        ]
    )
    app.state.end_watches = api.end_watches
    return app


def local_only(app: ASGIApp) -> ASGIApp:
    """`app` without the requests of web pages: whoever reaches it may read everything."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        why = why_foreign(scope["headers"]) if scope["type"] == "http" else None
        await (status(403, "Forbidden", why) if why else app)(scope, receive, send)

    return call


_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def status(code: int, reason: str, message: str, details: Object | None = None) -> JSONResponse:
    """A failure as Kubernetes words it."""
    body: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        body["details"] = details
    return JSONResponse(body, status_code=code)


class Api:
    """The endpoints."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watches: set[Watch] = set()

    def end_watches(self) -> None:
        for watch in self._watches:
            watch.end()

    async def core_versions(self, request: Request) -> Response:
        return JSONResponse({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})

    async def groups(self, request: Request) -> Response:
        names = dict.fromkeys(k.group for k in self._store.kinds if k.group)
        return JSONResponse(
            {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(n) for n in names]}
        )

    async def group(self, request: Request) -> Response:
        name = request.path_params["group"]
        if not any(k.group == name for k in self._store.kinds):
            return status(404, "NotFound", f"the server could not find the API group {name!r}")
        return JSONResponse({"kind": "APIGroup", "apiVersion": "v1"} | self._group(name))

    def _group(self, name: str) -> Object:
        versions = dict.fromkeys(k.version for k in self._store.kinds if k.group == name)
        listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
        return {"name": name, "versions": listed, "preferredVersion": listed[0]}

    async def version(self, request: Request) -> Response:
        return JSONResponse(
            {"major": "1", "minor": "34", "gitVersion": "v1.34.0-simfleet", "platform": "linux/amd64"}
        )

    async def health(self, request: Request) -> Response:
        if request.path_params["check"] in ("healthz", "livez", "readyz"):
            return Response("ok", media_type="text/plain")
        return status(404, "NotFound", "the server could not find the requested resource")

    async def resources(self, request: Request) -> Response:
        group, version = request.path_params.get("group", ""), request.path_params.get("version", "v1")
        kinds = [k for k in self._store.kinds if (k.group, k.version) == (group, version)]
        if not kinds:
            return status(404, "NotFound", "the server could not find the requested resource")
        listed = [
            {
                "name": k.plural,
                "singularName": k.kind.lower(),
                "namespaced": k.namespaced,
                "kind": k.kind,
                "verbs": READ_VERBS,
                "shortNames": list(k.short),
            }
            for k in kinds
        ]
        body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kinds[0].api_version}
        return JSONResponse(body | {"resources": listed})

    async def objects(self, request: Request) -> Response:
        """/{plural}, /{plural}/{name}, and both below namespaces/{namespace}."""
        parts = [p for p in request.path_params["rest"].split("/") if p]
        namespace = ""
        if len(parts) >= 3 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        kind = self._kind(request, parts[0] if parts else "")
        if kind is None or len(parts) > 2:
            return status(404, "NotFound", "the server could not find the requested resource")
        if request.method not in ("GET", "HEAD"):
            message = f"{request.method} {request.url.path}: this API mirrors a stack and is read only"
            return status(405, "MethodNotAllowed", message)
        if len(parts) == 2:
            return self._get(request, kind, namespace, parts[1])
        try:
            given = request.query_params
            match = selector(given.get("labelSelector", ""), given.get("fieldSelector", ""))
            query = read_query(given)
        except (BadSelectorError, BadQueryError) as error:
            return status(400, "BadRequest", str(error))
        if query.version is not None and query.version > self._store.version:
            return self._too_large(query.version)
        if query.watch:
            return self._watch(query, kind, namespace, match)
        return self._list(request, query, kind, namespace, match)

    def _too_large(self, version: int) -> Response:
        """Of a store that ran before this one; the client lists again."""
        message = f"Too large resource version: {version}, current: {self._store.version}"
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        return status(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})

    def _kind(self, request: Request, plural: str) -> Kind | None:
        group, version = request.path_params.get("group", ""), request.path_params.get("version", "v1")
        wanted = (group, version, plural)
        return next((k for k in self._store.kinds if (k.group, k.version, k.plural) == wanted), None)

    def _get(self, request: Request, kind: Kind, namespace: str, name: str) -> Response:
        found = self._store.get(kind, namespace, name)
        if found is None:
            resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
            return status(404, "NotFound", f'{resource} "{name}" not found')
        return _answer(request, kind, found, [found])

    def _list(self, request: Request, query: Query, kind: Kind, namespace: str, match: Match) -> Response:
        version = self._store.version
        if query.after is not None and query.at != version:
            return status(410, "Expired", "The provided continue parameter is too old; list again without it")
        items = self._store.list(kind, namespace, match)
        if (after := query.after) is not None:
            items = [item for item in items if place(item) > after]
        meta: Object = {"resourceVersion": str(version)}
        if query.limit and len(items) > query.limit:
            meta["remainingItemCount"] = len(items) - query.limit
            items = items[: query.limit]
            meta["continue"] = to_continue(version, place(items[-1]))
        body = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": items}
        return _answer(request, kind, body, items)

    def _watch(self, query: Query, kind: Kind, namespace: str, match: Match) -> Response:
        watch = Watch(self._store, kind, namespace, match, query)
        try:
            watch.begin()
        except ExpiredError as error:
            return status(410, "Expired", str(error))
        return StreamingResponse(self._lines(watch), media_type="application/json")

    async def _lines(self, watch: Watch) -> AsyncIterator[bytes]:
        self._watches.add(watch)
        try:
            async for line in watch.lines():
                yield line
        finally:
            self._watches.discard(watch)


def _answer(request: Request, kind: Kind, body: Object, items: list[Object]) -> Response:
    if "as=Table" in request.headers.get("accept", ""):
        meta = (
            body["metadata"] if "items" in body else {"resourceVersion": body["metadata"]["resourceVersion"]}
        )
        return JSONResponse(as_table(kind, items, meta))
    return JSONResponse(body)
