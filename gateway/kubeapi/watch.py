"""A watch: what has happened to the objects of a kind, then what happens, as lines of JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from gateway.kubeapi.query import Query
from gateway.kubeapi.store import Change, Kind, Match, Object, Store

BOOKMARK_SECONDS = 30.0
MOST_WAITING = 10_000  # lines that a watch has not read; beyond them it ends
_END = b""


def _nothing() -> None:
    """Ends a watch that has not begun."""


def _as_it_is(obj: Object) -> Object:
    return obj


class Watch:
    """One watch request: what has happened since the version asked for, then what happens, line by line."""

    def __init__(
        self,
        store: Store,
        kind: Kind,
        namespace: str,
        match: Match,
        query: Query,
        *,
        shape: Callable[[Object], Object] = _as_it_is,
    ) -> None:
        self._store, self._kind, self._namespace, self._match = store, kind, namespace, match
        self._query = query
        self._shape = shape  # of objects, into what the watcher asked to see
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._stop: Callable[[], None] = _nothing

    def begin(self) -> None:
        """Reads the past and starts to listen. Raises ExpiredError."""
        query = self._query
        if query.initial or query.version is None:
            for obj in self._store.list(self._kind, self._namespace, self._match):
                self._put("ADDED", obj)
        else:
            for change in self._store.since(query.version):
                self._on_change(change)
        if query.initial and query.bookmarks:
            self._bookmark({"k8s.io/initial-events-end": "true"})
        self._stop = self._store.listen(self._on_news)

    async def lines(self) -> AsyncIterator[bytes]:
        """Events as lines of JSON until the time asked for is over; bookmarks while nothing happens."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._query.seconds
        try:
            while (left := end - loop.time()) > 0:
                try:
                    line = await asyncio.wait_for(self._queue.get(), min(left, BOOKMARK_SECONDS))
                    if line is _END:
                        return
                    waiting = [line]
                    while not self._queue.empty() and (line := self._queue.get_nowait()) is not _END:
                        waiting.append(line)
                    yield b"".join(waiting)
                    if line is _END:
                        return
                except TimeoutError:
                    if self._query.bookmarks:
                        self._bookmark({})
        finally:
            self._stop()

    def end(self) -> None:
        """No more lines than those that wait already."""
        self._queue.put_nowait(_END)

    def _on_news(self, change: Change) -> None:
        """A watcher that does not read is let go, as kube-apiserver does; it lists and watches again."""
        if self._queue.qsize() > MOST_WAITING:
            self._stop()
            self._stop = _nothing
            self.end()
        else:
            self._on_change(change)

    def _on_change(self, change: Change) -> None:
        """An object that starts or stops to match is added or deleted for this watcher, as in Kubernetes."""
        if change.kind != self._kind:
            return
        obj = change.object
        if self._namespace and obj["metadata"].get("namespace") != self._namespace:
            return
        was = change.before is not None and self._match(change.before)
        now = change.type != "DELETED" and self._match(obj)
        if now:
            self._put("MODIFIED" if was else "ADDED", obj)
        elif was:
            self._put("DELETED", obj)

    def _bookmark(self, annotations: dict[str, str]) -> None:
        meta: dict[str, Any] = {"resourceVersion": str(self._store.version)}
        if annotations:
            meta["annotations"] = annotations
        mark = {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": meta}
        self._put("BOOKMARK", mark)

    def _put(self, event: str, obj: Object) -> None:
        shaped = self._shape(obj)
        self._queue.put_nowait(json.dumps({"type": event, "object": shaped}).encode() + b"\n")
