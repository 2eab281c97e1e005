"""The files that tell the picker of its pool, read again whenever they change.

The endpoints file is llm-d-router's file-discovery format; the objects file holds InferenceObjectives and
InferenceModelRewrites as Kubernetes writes them. A file is looked at every 50 ms, so a change counts within
100 ms; a file that cannot be read leaves what was known.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from gateway.picker.errors import PickerConfigError
from gateway.picker.pool.datastore import Datastore, PoolObjects, RewriteRule, RewriteTarget
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.labels import LabelSelector, selects
from kit.errors import DocumentError
from kit.yamldoc import load_documents

POLL_S = 0.05
MAX_BYTES = 1 << 20
_log = logging.getLogger("picker.discovery")


def parse_endpoints(
    text: str, namespace: str, metrics_port: int = 0, where: str = "endpoints file"
) -> tuple[list[Endpoint], list[str]]:
    """The endpoints of a file-discovery file, and what is wrong with the entries that were left out.

    Raises PickerConfigError when the file as a whole cannot be read.
    """
    documents = _documents(text, where)
    document = documents[0] if documents else None
    entries = document.get("endpoints") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise PickerConfigError(f'{where}: a list "endpoints" of {{name, address, port, labels}} is expected')
    endpoints, errors = [], []
    for entry in entries:
        try:
            endpoints.append(_endpoint(entry, namespace, metrics_port))
        except ValueError as error:
            errors.append(f"{where}: {error}")
    return endpoints, errors


def _documents(text: str, where: str) -> list[Any]:
    """The documents of a file; JSON is tried first, because PyYAML takes 50 ms for a hundred endpoints."""
    try:
        return [msgspec.json.decode(text)]
    except msgspec.DecodeError:
        pass
    try:
        return [document.data for document in load_documents(text, where, DocumentError)]
    except DocumentError as error:
        raise PickerConfigError(str(error)) from None


def _endpoint(entry: Any, namespace: str, metrics_port: int) -> Endpoint:
    if not isinstance(entry, dict):
        raise ValueError(f"endpoint {entry!r} is not a mapping")
    name = str(entry.get("name", ""))
    address = str(entry.get("address", ""))
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(f'endpoint "{name}": invalid address "{address}"') from None
    port = str(entry.get("port", ""))
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f'endpoint "{name}": invalid port "{port}"')
    host = f"[{address}]" if ":" in address else address
    return Endpoint(
        name=name,
        namespace=str(entry.get("namespace") or namespace),
        address=address,
        port=int(port),
        metrics_host=str(entry.get("metricsHost") or f"{host}:{metrics_port or port}"),
        labels={str(key): str(value) for key, value in _mapping(entry, "labels").items()},
        pod_name=str(entry.get("podName") or name),
    )


def parse_objects(text: str, pool: str, namespace: str, where: str = "objectives file") -> PoolObjects:
    """Objectives and rewrites of the pool in a file of Kubernetes objects (documents, Lists, JSON)."""
    documents = _documents(text, where)
    priorities: dict[str, int] = {}
    rewrites: list[tuple[str, str, RewriteRule]] = []
    for item in _flattened(documents):
        kind, metadata, spec = item.get("kind"), _mapping(item, "metadata"), _mapping(item, "spec")
        name = str(metadata.get("name", ""))
        reference = _mapping(spec, "poolRef").get("name")
        if metadata.get("namespace", namespace) != namespace or reference not in (None, pool):
            continue
        if kind == "InferenceObjective":
            priorities[name] = _integer(spec.get("priority") or 0, f"{where}: {name}.spec.priority")
        elif kind == "InferenceModelRewrite":
            created = str(metadata.get("creationTimestamp", ""))
            rewrites += [(created, name, _rule(name, rule, where)) for rule in _mappings(spec, "rules")]
    ordered = sorted(enumerate(rewrites), key=lambda pair: (pair[1][0], pair[0]))
    return PoolObjects(priorities, [rule for _, (_, _, rule) in ordered])


def _flattened(documents: Iterable[Any]) -> Iterable[dict[str, Any]]:
    for document in documents:
        if isinstance(document, list):
            yield from _flattened(document)
        elif isinstance(document, dict):
            if isinstance(document.get("items"), list):
                yield from _flattened(document["items"])
            else:
                yield document


def _mapping(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """The mapping under `name`, empty when there is none."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _mappings(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The mappings of the list under `name`."""
    value = parent.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _rule(name: str, rule: dict[str, Any], where: str) -> RewriteRule:
    models = [_mapping(match, "model").get("value") for match in _mappings(rule, "matches")]
    targets = [
        RewriteTarget(
            str(target.get("modelRewrite", "")),
            _integer(target.get("weight", 1), f"{where}: {name}.spec.rules.targets.weight"),
        )
        for target in _mappings(rule, "targets")
    ]
    return RewriteRule(name, frozenset(str(model) for model in models if model), tuple(targets))


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PickerConfigError(f"{where}: {value!r} is not an integer")
    return value


class WatchedFile:
    """One file and what to do with its text; `check` does it when the file is another than before."""

    def __init__(self, path: str, apply: Callable[[str], None]) -> None:
        self.path = Path(path)
        self._apply = apply
        self._stamp: tuple[int, int, int] | None = None
        self._missing = False

    def load(self) -> None:
        """Read it now; PickerConfigError when that cannot be done."""
        try:
            stat = self.path.stat()
            text = self.path.read_text("utf-8", "replace")
        except OSError as error:
            raise PickerConfigError(f"reading {self.path}: {error.strerror}") from None
        if stat.st_size > MAX_BYTES:
            raise PickerConfigError(f"{self.path} exceeds the limit of 1 MiB")
        self._stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        self._apply(text)

    def check(self) -> None:
        """Read it if it changed; a failure is logged and what was known stays."""
        try:
            stat = self.path.stat()
        except OSError as error:
            if not self._missing:
                _log.error("failed to reload %s: %s", self.path, error.strerror)
            self._missing = True
            return
        self._missing = False
        stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.load()
        except PickerConfigError as error:
            _log.error("failed to reload: %s", error)


def endpoints_file(
    path: str, datastore: Datastore, metrics_port: int = 0, selector: LabelSelector | None = None
) -> WatchedFile:
    """Keeps the datastore's endpoints as the file has them; with a selector, those it selects."""

    def apply(text: str) -> None:
        endpoints, errors = parse_endpoints(text, datastore.namespace, metrics_port, path)
        for error in errors:
            _log.error("%s", error)
        if selector is not None:
            endpoints = [endpoint for endpoint in endpoints if selects(selector, endpoint.labels)]
        if datastore.replace(endpoints):
            _log.info("endpoints: %s", ", ".join(e.host_port for e in datastore.endpoints) or "none")

    return WatchedFile(path, apply)


def objects_file(path: str, datastore: Datastore) -> WatchedFile:
    """Keeps the datastore's objectives and rewrites as the file has them."""

    def apply(text: str) -> None:
        datastore.objects = parse_objects(text, datastore.pool, datastore.namespace, path)

    return WatchedFile(path, apply)


async def watch(files: Iterable[WatchedFile], interval: float = POLL_S) -> None:
    """Check files for ever."""
    watched = list(files)
    while True:
        await asyncio.sleep(interval)
        for file in watched:
            file.check()
