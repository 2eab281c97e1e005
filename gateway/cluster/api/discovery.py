"""What the API serves, in the forms that clients ask for: aggregated, by group, by version, OpenAPI v3."""

from __future__ import annotations

from typing import Any

from gateway.cluster.objects.definitions import META, PREFIX, RELEASE, closure, definitions, references
from gateway.cluster.objects.kinds import Registry, Served
from gateway.cluster.objects.state import State

Object = dict[str, Any]
_SUBVERBS = ("get", "patch", "update")
# Kinds that only stand below a pod.
_EXTRA = {"pods": (("log", "Pod", ("get",)), ("eviction", "Eviction", ("create",)))}


def version() -> Object:
    major, minor, _ = RELEASE.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{RELEASE}+simfleet",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def aggregated(registry: Registry, core: bool) -> Object:
    """apidiscovery.k8s.io/v2 of /api or /apis."""
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [
                {
                    "version": version_,
                    "resources": [_aggregated(s) for s in _of(registry, group, version_)],
                    "freshness": "Current",
                }
                for version_ in versions
            ],
        }
        for group, versions in registry.groups().items()
        if core != bool(group)
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _of(registry: Registry, group: str, version_: str) -> list[Served]:
    return [s for s in registry if (s.kind.group, s.version) == (group, version_)]


def _aggregated(served: Served) -> Object:
    kind = served.kind
    found: Object = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": served.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": served.singular,
        "verbs": list(served.verbs),
    }
    if kind.short:
        found["shortNames"] = list(kind.short)
    if served.categories:
        found["categories"] = list(served.categories)
    below = [
        {
            "subresource": name,
            "responseKind": {"group": group, "version": version_, "kind": of},
            "verbs": list(verbs),
        }
        for name, group, version_, of, verbs in _subresources(served)
    ]
    return found | ({"subresources": below} if below else {})


def _subresources(served: Served) -> list[tuple[str, str, str, str, tuple[str, ...]]]:
    kind = served.kind
    found: list[tuple[str, str, str, str, tuple[str, ...]]] = []
    if served.scale:
        found.append(("scale", "autoscaling", "v1", "Scale", _SUBVERBS))
    if served.has_status:
        found.append(("status", kind.group, served.version, kind.kind, _SUBVERBS))
    if not kind.group:
        for name, of, verbs in _EXTRA.get(kind.plural, ()):
            group, version_ = ("policy", "v1") if of == "Eviction" else ("", "v1")
            found.append((name, group, version_, of, verbs))
    return found


def core_versions() -> Object:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list(registry: Registry) -> Object:
    groups = [_group(g, v) for g, v in registry.groups().items() if g]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def one_group(registry: Registry, name: str) -> Object | None:
    versions = registry.groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resource_list(registry: Registry, group: str, version_: str) -> Object | None:
    found = []
    for served in _of(registry, group, version_):
        kind = served.kind
        row: Object = {
            "name": kind.plural,
            "singularName": served.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(served.verbs),
        }
        if kind.short:
            row["shortNames"] = list(kind.short)
        if served.categories:
            row["categories"] = list(served.categories)
        found.append(row)
        for name, sub_group, sub_version, of, verbs in _subresources(served):
            below: Object = {
                "name": f"{kind.plural}/{name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": of,
                "verbs": list(verbs),
            }
            if (sub_group, sub_version) != (group, version_):
                below |= {"group": sub_group, "version": sub_version}
            found.append(below)
    if not found:
        return None
    api_version = f"{group}/{version_}" if group else version_
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": found}


# OpenAPI v3


def openapi_index(state: State) -> Object:
    paths = {}
    for group, versions in state.registry.groups().items():
        for version_ in versions:
            path = f"apis/{group}/{version_}" if group else f"api/{version_}"
            url = f"/openapi/v3/{path}?hash={state.registry_version}"
            paths[path] = {"serverRelativeURL": url}
    return {"paths": paths}


def openapi(registry: Registry, group: str, version_: str) -> Object | None:
    """The document of one group and version; None for one that is not served."""
    kinds = _of(registry, group, version_)
    if not kinds:
        return None
    schemas: Object = {}
    paths: Object = {}
    needed = {META}
    for served in kinds:
        name, schema = _schema(served)
        schemas[name] = schema
        needed |= set(references(schema))
        paths |= _paths(served, name)
    for name in closure(needed) - schemas.keys():
        schemas[name] = definitions()[name]
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": RELEASE},
        "paths": _as_components(paths),
        "components": {"schemas": _as_components(schemas)},
    }


def _gvk(served: Served) -> Object:
    return {"group": served.kind.group, "version": served.version, "kind": served.kind.kind}


def _schema(served: Served) -> tuple[str, Object]:
    reference = served.schema.raw.get("$ref")
    if reference:
        name = reference.removeprefix(PREFIX)
        return name, definitions()[name]
    reverse = ".".join(reversed(served.kind.group.split(".")))
    name = f"{reverse}.{served.version}.{served.kind.kind}"
    return name, {**served.schema.body, "x-kubernetes-group-version-kind": [_gvk(served)]}


def _paths(served: Served, name: str) -> Object:
    kind = served.kind
    base = f"/apis/{kind.group}/{served.version}" if kind.group else f"/api/{served.version}"
    if kind.namespaced:
        base += "/namespaces/{namespace}"
    base += f"/{kind.plural}"
    parameters = [
        {"name": n, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for n in ("dryRun", "fieldManager", "fieldValidation")
    ]

    def operation(action: str) -> Object:
        content = {"application/json": {"schema": {"$ref": PREFIX + name}}}
        return {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(served),
            "parameters": parameters if action in {"post", "put", "patch"} else [],
            "responses": {"200": {"description": "OK", "content": content}},
        }

    if served.verbs == ("create",):
        return {base: {"post": operation("post")}}
    one = {"get": operation("get"), "put": operation("put"), "patch": operation("patch")}
    return {
        base: {"get": operation("list"), "post": operation("post")},
        base + "/{name}": one | {"delete": operation("delete")},
    }


def _as_components(value: Any) -> Any:
    """Our definitions as OpenAPI 3 has them: other references, one type each."""
    if isinstance(value, list):
        return [_as_components(v) for v in value]
    if not isinstance(value, dict):
        return value
    found: Object = {}
    for key, item in value.items():
        if key == "$ref" and isinstance(item, str):
            found[key] = item.replace(PREFIX, "#/components/schemas/")
        elif key == "type" and isinstance(item, list):
            found[key] = next((t for t in item if t != "null"), "object")
        else:
            found[key] = _as_components(item)
    if isinstance(found.get("$ref"), str) and len(found) > 1:  # OpenAPI 3.0 wants it alone
        target = found.pop("$ref")
        found["allOf"] = [{"$ref": target}]
    return found
