"""get, list and watch, in the shapes that clients accept: objects, tables, or metadata alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

from gateway.cluster.api.answers import json_answer
from gateway.cluster.api.ask import Ask
from gateway.cluster.api.table import as_table
from gateway.cluster.objects.errors import ApiError, bad_request
from gateway.cluster.objects.kinds import Served
from gateway.cluster.objects.state import State
from gateway.kubeapi.query import BadQueryError, Query, place, read_query, to_continue
from gateway.kubeapi.store import BadSelectorError, ExpiredError, Match, selector
from gateway.kubeapi.watch import Watch

Object = dict[str, Any]
Shape = Callable[[Object], Object]
_FIELDS = {  # what may be selected beside name and namespace
    "pods": {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
             "status.phase", "status.podIP", "spec.hostNetwork", "status.nominatedNodeName"},
    "events": {"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
               "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
               "reason", "reportingComponent", "source", "type"},
    "namespaces": {"status.phase"},
    "nodes": {"spec.unschedulable"},
    "secrets": {"type"},
    "replicasets": {"status.replicas"},
}  # fmt: skip


def converted(served: Served, obj: Object) -> Object:
    """At the version that was asked for; kinds of several versions differ in nothing else here."""
    if obj.get("apiVersion") == served.api_version:
        return obj
    return {**obj, "apiVersion": served.api_version}


def shape_of(served: Served, ask: Ask) -> Shape:
    """How single objects are shown to this client."""
    accept = ask.accept
    if "as=Table" in accept:
        include = ask.query.get("includeObject", "Metadata")

        def table(obj: Object) -> Object:
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            if "name" not in obj["metadata"]:
                return {**as_table(served, [], meta, include), "rows": []}  # a bookmark
            return as_table(served, [converted(served, obj)], meta, include)

        return table
    if "as=PartialObjectMetadata" in accept:
        return _partial
    return lambda obj: converted(served, obj)


def _partial(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


class Reader:
    """Answers what changes nothing."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._watches: set[Watch] = set()

    def end_watches(self) -> None:
        for watch in self._watches:
            watch.end()

    def get(self, ask: Ask, served: Served, namespace: str, name: str) -> Response:
        found = self._state.need(served.kind, namespace, name)
        return json_answer(shape_of(served, ask)(found))

    def list(self, ask: Ask, served: Served, namespace: str, name: str = "") -> Response:
        """A list, or a watch where the query says so. Raises ApiError: 400, 410 of a watch, 504."""
        query, match = _read(served, ask.query, name)
        store = self._state.store
        if query.version is not None and query.version > store.version:
            raise _too_large(query.version, store.version)
        if query.watch:
            return self._watch(ask, served, namespace, match, query)
        items = store.list(served.kind, namespace, match)
        if (after := query.after) is not None:
            items = [item for item in items if place(item) > after]
        # A later part of a list is of later objects; who watches from the first part's version misses none.
        version = query.at if query.after is not None else store.version
        meta: Object = {"resourceVersion": str(version)}
        if query.limit and len(items) > query.limit:
            if not ask.query.get("labelSelector") and not ask.query.get("fieldSelector"):
                meta["remainingItemCount"] = len(items) - query.limit
            items = items[: query.limit]
            meta["continue"] = to_continue(version, place(items[-1]))
        return json_answer(_list_body(ask, served, [converted(served, i) for i in items], meta))

    def _watch(self, ask: Ask, served: Served, namespace: str, match: Match, query: Query) -> Response:
        shape = shape_of(served, ask)
        watch = Watch(self._state.store, served.kind, namespace, match, query, shape=shape)
        try:
            watch.begin()
        except ExpiredError as error:
            raise ApiError(410, "Expired", str(error)) from None
        return StreamingResponse(self._lines(watch), media_type="application/json")

    async def _lines(self, watch: Watch) -> AsyncIterator[bytes]:
        self._watches.add(watch)
        try:
            async for line in watch.lines():
                yield line
        finally:
            self._watches.discard(watch)


def _list_body(ask: Ask, served: Served, items: list[Object], meta: Object) -> Object:
    if "as=Table" in ask.accept:
        return as_table(served, items, meta, ask.query.get("includeObject", "Metadata"))
    if "as=PartialObjectMetadataList" in ask.accept:
        found = [_partial(i) for i in items]
        return {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta,
            "items": found,
        }
    kind = f"{served.kind.kind}List"
    return {"kind": kind, "apiVersion": served.api_version, "metadata": meta, "items": items}


def _read(served: Served, given: Mapping[str, str], name: str) -> tuple[Query, Match]:
    fields = given.get("fieldSelector", "")
    if name:
        fields = f"{fields},metadata.name={name}" if fields else f"metadata.name={name}"
    _check_fields(served, fields)
    try:
        return read_query(given), selector(given.get("labelSelector", ""), fields)
    except (BadSelectorError, BadQueryError) as error:
        raise bad_request(str(error)) from None


def _check_fields(served: Served, fields: str) -> None:
    known = {"metadata.name", "metadata.namespace", *_FIELDS.get(served.kind.plural, ())}
    for part in (p for p in fields.split(",") if p):
        path = part.partition("=")[0].rstrip("!=").strip()
        if path not in known:
            if served.custom or served.kind.plural in _FIELDS:
                raise bad_request(f"field label not supported: {path}")
            words = 'is not a known field selector: only "metadata.name", "metadata.namespace"'
            raise bad_request(f'"{path}" {words}')


def _too_large(wanted: int, version: int) -> ApiError:
    """Of a store that ran before this one; the client lists again."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    words = f"Too large resource version: {wanted}, current: {version}"
    return ApiError(504, "Timeout", words, {"causes": [cause], "retryAfterSeconds": 1})
