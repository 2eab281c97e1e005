"""Lists as kubectl prints them: the columns of a kind, and a cell for each object."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from gateway.kubeapi.store import Kind, Object

Column = tuple[str, Callable[[Object], Any]]


def _ready(pod: Object) -> str:
    states = pod.get("status", {}).get("containerStatuses", [])
    return f"{sum(bool(s.get('ready')) for s in states)}/{len(states)}"


def _phase(pod: Object) -> str:
    return (
        "Terminating"
        if pod["metadata"].get("deletionTimestamp")
        else pod.get("status", {}).get("phase", "Unknown")
    )


def _restarts(pod: Object) -> int:
    return sum(int(s.get("restartCount", 0)) for s in pod.get("status", {}).get("containerStatuses", []))


def _ports(pool: Object) -> str:
    return ",".join(str(p.get("number")) for p in pool.get("spec", {}).get("targetPorts", []))


COLUMNS: dict[str, list[Column]] = {
    "Pod": [
        ("Ready", _ready),
        ("Status", _phase),
        ("Restarts", _restarts),
        ("IP", lambda pod: pod.get("status", {}).get("podIP", "<none>")),
    ],
    "InferencePool": [
        ("Ports", _ports),
        ("Picker", lambda pool: pool.get("spec", {}).get("endpointPickerRef", {}).get("name", "")),
    ],
    "InferenceObjective": [("Priority", lambda o: o.get("spec", {}).get("priority", 0))],
}


def as_table(kind: Kind, items: list[Object], meta: Object) -> Object:
    """A meta.k8s.io/v1 Table; each row carries the metadata of its object."""
    columns: list[Column] = [
        ("Name", lambda o: o["metadata"]["name"]),
        *COLUMNS.get(kind.kind, []),
        ("Age", _age),
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [
            {
                "name": name,
                "type": "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": 0,
            }
            for name, _ in columns
        ],
        "rows": [
            {
                "cells": [cell(obj) for _, cell in columns],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": obj["metadata"],
                },
            }
            for obj in items
        ],
    }


def _age(obj: Object) -> str:
    created = datetime.datetime.fromisoformat(obj["metadata"]["creationTimestamp"])
    seconds = int((datetime.datetime.now(datetime.UTC) - created).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"
