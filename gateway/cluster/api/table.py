"""Lists as kubectl prints them: the columns that kube-apiserver sends (printers/internalversion)."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.cluster.api import jsonpath
from gateway.cluster.objects.kinds import Served

Object = dict[str, Any]
Cell = Callable[[Object], Any]
NONE = "<none>"


@dataclass(frozen=True)
class Column:
    name: str
    cell: Cell
    wide: bool = False
    type: str = "string"


def _status(name: str, default: Any = 0) -> Cell:
    return lambda obj: obj.get("status", {}).get(name, default)


def _spec(name: str, default: Any = NONE) -> Cell:
    return lambda obj: obj.get("spec", {}).get(name, default)


def _count(name: str) -> Cell:
    return lambda obj: len(obj.get(name) or ())


def _pod_ready(pod: Object) -> str:
    states = pod.get("status", {}).get("containerStatuses", ())
    total = len(pod.get("spec", {}).get("containers", ()))
    return f"{sum(bool(s.get('ready')) for s in states)}/{total}"


def _pod_status(pod: Object) -> str:
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for state in status.get("containerStatuses", ()):
        for kind in ("waiting", "terminated"):
            if reason := state.get("state", {}).get(kind, {}).get("reason"):
                return str(reason)
    return str(status.get("reason") or status.get("phase", "Unknown"))


def _restarts(pod: Object) -> str:
    return str(sum(int(s.get("restartCount", 0)) for s in pod.get("status", {}).get("containerStatuses", ())))


def _service_ports(service: Object) -> str:
    def shown(port: Object) -> str:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        return f"{port['port']}{node}/{port.get('protocol', 'TCP')}"

    return ",".join(shown(p) for p in service.get("spec", {}).get("ports", ())) or NONE


def _external(service: Object) -> str:
    spec = service.get("spec", {})
    if spec.get("type") == "LoadBalancer":
        given = service.get("status", {}).get("loadBalancer", {}).get("ingress", ())
        return ",".join(i.get("ip") or i.get("hostname", "") for i in given) or "<pending>"
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", NONE))
    return ",".join(spec.get("externalIPs", ())) or NONE


def _selector(obj: Object) -> str:
    spec = obj.get("spec", {})
    selector = spec.get("selector") or {}
    labels = selector.get("matchLabels", selector) if isinstance(selector, dict) else {}
    shown = [f"{k}={v}" for k, v in sorted(labels.items()) if isinstance(v, str)]
    expressions = selector.get("matchExpressions", ()) if isinstance(selector, dict) else ()
    shown += [
        f"{e['key']} {str(e['operator']).lower()} ({','.join(e.get('values', ()))})" for e in expressions
    ]
    return ",".join(shown) or NONE


def _containers(what: str) -> Cell:
    def shown(obj: Object) -> str:
        containers = obj.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ())
        return ",".join(str(c.get(what, "")) for c in containers)

    return shown


def _ready_of(obj: Object) -> str:
    return f"{obj.get('status', {}).get('readyReplicas', 0)}/{obj.get('spec', {}).get('replicas', 0)}"


def _endpoints(endpoint_slice: Object) -> str:
    found = [a for e in endpoint_slice.get("endpoints") or () for a in e.get("addresses", ())]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return (",".join(found[:3]) + more) or "<unset>"


def _slice_ports(endpoint_slice: Object) -> str:
    return ",".join(str(p.get("port")) for p in endpoint_slice.get("ports") or ()) or "<unset>"


def _event_object(event: Object) -> str:
    about = event.get("involvedObject", {})
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _role(binding: Object) -> str:
    ref = binding.get("roleRef", {})
    return f"{ref.get('kind')}/{ref.get('name')}"


def _target(hpa: Object) -> str:
    ref = hpa.get("spec", {}).get("scaleTargetRef", {})
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _targets(hpa: Object) -> str:
    """What each metric is, and what it is to be."""
    now = [_value(m, "current") for m in hpa.get("status", {}).get("currentMetrics") or ()]
    wanted = [_value(m, "target") for m in hpa.get("spec", {}).get("metrics") or ()]
    known = [*now, *["<unknown>"] * len(wanted)]
    return ", ".join(f"{a}/{b}" for a, b in zip(known, wanted, strict=False)) or "<none>"


def _value(metric: Object, which: str) -> str:
    of = next((v for k, v in metric.items() if k != "type" and isinstance(v, dict)), {}).get(which, {})
    if "averageUtilization" in of:
        return f"{of['averageUtilization']}%"
    return f"{of['averageValue']} (avg)" if "averageValue" in of else str(of.get("value", "<unknown>"))


def _created(obj: Object) -> str:
    return str(obj["metadata"].get("creationTimestamp", ""))


def _node_status(node: Object) -> str:
    conditions = node.get("status", {}).get("conditions", ())
    ready: Object = next((c for c in conditions if c.get("type") == "Ready"), {})
    return "Ready" if ready.get("status") == "True" else "NotReady"


def _node_address(node: Object) -> str:
    return next((a["address"] for a in node.get("status", {}).get("addresses", ())), NONE)


def age_of(text: Any) -> str:
    """`10s`, `5m2s`, `3h`, as kubectl's HumanDuration."""
    try:
        then = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return "<unknown>"
    seconds = int((datetime.datetime.now(datetime.UTC) - then).total_seconds())
    if seconds < 0:
        return "0s" if seconds > -2 else "<invalid>"
    minutes, hours = seconds // 60, seconds // 3600
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _age(obj: Object) -> str:
    return age_of(obj["metadata"].get("creationTimestamp"))


def _last_seen(event: Object) -> str:
    return age_of(event.get("lastTimestamp") or event.get("eventTime") or _created(event))


AGE = Column("Age", _age)
_WIDE_WORKLOAD = (
    Column("Containers", _containers("name"), wide=True),
    Column("Images", _containers("image"), wide=True),
)
_SELECTOR = Column("Selector", _selector, wide=True)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "Pod": (
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _restarts),
        AGE,
        Column("IP", lambda p: p.get("status", {}).get("podIP", NONE), wide=True),
        Column("Node", _spec("nodeName"), wide=True),
        Column("Nominated Node", _status("nominatedNodeName", NONE), wide=True),
        Column("Readiness Gates", lambda _: NONE, wide=True),
    ),
    "Deployment": (
        Column("Ready", _ready_of),
        Column("Up-to-date", _status("updatedReplicas"), type="integer"),
        Column("Available", _status("availableReplicas"), type="integer"),
        AGE,
        *_WIDE_WORKLOAD,
        _SELECTOR,
    ),
    "ReplicaSet": (
        Column("Desired", _spec("replicas", 0), type="integer"),
        Column("Current", _status("replicas"), type="integer"),
        Column("Ready", _status("readyReplicas"), type="integer"),
        AGE,
        *_WIDE_WORKLOAD,
        _SELECTOR,
    ),
    "StatefulSet": (Column("Ready", _ready_of), AGE, *_WIDE_WORKLOAD),
    "DaemonSet": (
        Column("Desired", _status("desiredNumberScheduled"), type="integer"),
        Column("Current", _status("currentNumberScheduled"), type="integer"),
        Column("Ready", _status("numberReady"), type="integer"),
        Column("Up-to-date", _status("updatedNumberScheduled"), type="integer"),
        Column("Available", _status("numberAvailable"), type="integer"),
        Column("Node Selector", lambda _: NONE),
        AGE,
        *_WIDE_WORKLOAD,
        _SELECTOR,
    ),
    "Job": (
        Column("Status", lambda o: "Suspended" if _spec("suspend", False)(o) else "Running"),
        Column("Completions", lambda o: f"{_status('succeeded')(o)}/{_spec('completions', 1)(o)}"),
        Column("Duration", lambda o: age_of(_status("startTime", _created(o))(o))),
        AGE,
        *_WIDE_WORKLOAD,
        _SELECTOR,
    ),
    "CronJob": (
        Column("Schedule", _spec("schedule")),
        Column("Timezone", _spec("timeZone")),
        Column("Suspend", lambda o: str(_spec("suspend", False)(o))),
        Column("Active", lambda _: 0, type="integer"),
        Column("Last Schedule", lambda _: NONE),
        AGE,
    ),
    "HorizontalPodAutoscaler": (
        Column("Reference", _target),
        Column("Targets", _targets),
        Column("MinPods", lambda o: str(_spec("minReplicas")(o))),
        Column("MaxPods", _spec("maxReplicas"), type="integer"),
        Column("Replicas", _status("currentReplicas"), type="integer"),
        AGE,
    ),
    "Service": (
        Column("Type", _spec("type")),
        Column("Cluster-IP", _spec("clusterIP")),
        Column("External-IP", _external),
        Column("Port(s)", _service_ports),
        AGE,
        _SELECTOR,
    ),
    "Namespace": (Column("Status", _status("phase", "")), AGE),
    "ConfigMap": (
        Column("Data", lambda o: len(o.get("data") or ()) + len(o.get("binaryData") or ()), type="string"),
        AGE,
    ),
    "Secret": (Column("Type", lambda o: o.get("type", "")), Column("Data", _count("data")), AGE),
    "ServiceAccount": (Column("Secrets", _count("secrets")), AGE),
    "EndpointSlice": (
        Column("AddressType", lambda o: o.get("addressType", "")),
        Column("Ports", _slice_ports),
        Column("Endpoints", _endpoints),
        AGE,
    ),
    "Event": (
        Column("Last Seen", _last_seen),
        Column("Type", lambda o: o.get("type", "")),
        Column("Reason", lambda o: o.get("reason", "")),
        Column("Object", _event_object),
        Column("Subobject", lambda o: o.get("involvedObject", {}).get("fieldPath", ""), wide=True),
        Column("Source", lambda o: o.get("source", {}).get("component", ""), wide=True),
        Column("Message", lambda o: str(o.get("message", "")).strip()),
        Column("First Seen", lambda o: age_of(o.get("firstTimestamp") or _created(o)), wide=True),
        Column("Count", lambda o: o.get("count", 1), wide=True),
        Column("Name", lambda o: o["metadata"]["name"], wide=True),
    ),
    "Node": (
        Column("Status", _node_status),
        Column("Roles", lambda _: NONE),
        AGE,
        Column("Version", lambda o: o.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")),
        Column("Internal-IP", _node_address, wide=True),
    ),
    "Role": (Column("Created At", _created),),
    "ClusterRole": (Column("Created At", _created),),
    "RoleBinding": (Column("Role", _role), AGE),
    "ClusterRoleBinding": (Column("Role", _role), AGE),
    "CustomResourceDefinition": (Column("Created At", _created),),
}


def as_table(served: Served, items: list[Object], meta: Object, include: str) -> Object:
    """A meta.k8s.io/v1 Table; `include`: None, Metadata (the default) or Object goes with each row."""
    columns = columns_of(served)
    definitions = [_definition(Column("Name", lambda o: o["metadata"]["name"]))]
    if served.kind.kind == "Event":
        definitions = []
    definitions += [_definition(c) for c in columns]
    rows = []
    for obj in items:
        first = [] if served.kind.kind == "Event" else [obj["metadata"]["name"]]
        row: Object = {"cells": [*first, *(c.cell(obj) for c in columns)]}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": obj["metadata"],
            }
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": definitions,
        "rows": rows,
    }


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column.name == "Name" and not column.wide else "",
        "description": "",
        "priority": int(column.wide),
    }


def columns_of(served: Served) -> tuple[Column, ...]:
    """Those of a built-in kind, or what its CRD lists."""
    if not served.custom:
        return COLUMNS.get(served.kind.kind, (AGE,))
    if not served.columns:
        return (AGE,)
    return tuple(Column(c.name, _custom(c.path, c.type), wide=c.priority > 0) for c in served.columns)


def _custom(path: str, type_: str) -> Cell:
    def cell(obj: Object) -> Any:
        found = jsonpath.find(obj, path)
        if not found:
            return None
        if type_ == "date":
            return age_of(found[0])
        if len(found) > 1:
            return ",".join(map(str, found))
        value = found[0]
        return _json(value) if isinstance(value, list | dict) else value

    return cell


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
