"""create, update, patch, delete, and the subresources that change something."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from gateway.cluster.api import jsonpath
from gateway.cluster.api.answers import json_answer
from gateway.cluster.api.ask import PATCHES, Ask, Place
from gateway.cluster.api.reading import converted, shape_of
from gateway.cluster.objects.errors import (
    ApiError,
    UndecodableError,
    bad_request,
    invalid,
    invalid_object,
    no_resource,
)
from gateway.cluster.objects.kinds import Served
from gateway.cluster.objects.patch import json_patch, merge_patch, strategic_merge
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import Deletion, Write
from gateway.kubeapi.store import BadSelectorError, Kind, selector

Object = dict[str, Any]
_SCALE_KIND = Kind("autoscaling", "v1", "scales", "Scale")


class Writer:
    """Carries out what changes objects; each refusal is an ApiError."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, ask: Ask, served: Served, place: Place) -> Response:
        if not ask.body.strip():
            raise bad_request("the body of the request is empty")
        obj, intake = self._state.create(served, place.namespace, ask.content(), ask.write())
        return json_answer(shape_of(served, ask)(obj), 201, intake.warnings)

    def update(self, ask: Ask, served: Served, place: Place) -> Response:
        write = ask.write(place.subresource)
        obj, intake = self._state.update(served, place.namespace, place.name, ask.content(), write)
        return json_answer(shape_of(served, ask)(obj), 200, intake.warnings)

    def patch(self, ask: Ask, served: Served, place: Place) -> Response:
        """Any of the four patches; 415 for what the kind does not take."""
        write = ask.write(place.subresource)
        state, kind = self._state, served.kind
        if ask.content_type == "application/apply-patch+yaml":
            if "fieldManager" not in ask.query:
                problem = "fieldManager: Required value: is required for apply patch"
                words = f'PatchOptions.meta.k8s.io "" is invalid: {problem}'
                raise ApiError(422, "Invalid", words)
            body = ask.content()
            obj, intake, created = state.apply(served, place.namespace, place.name, body, write)
            return json_answer(shape_of(served, ask)(obj), 201 if created else 200, intake.warnings)
        if ask.content_type not in PATCHES or (
            served.custom and ask.content_type == "application/strategic-merge-patch+json"
        ):
            taken = [p for p in PATCHES if not (served.custom and "strategic" in p)]
            words = (
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(taken)
            )
            raise ApiError(415, "UnsupportedMediaType", words)
        old = converted(served, state.need(kind, place.namespace, place.name))
        new = patched(served, old, ask)
        given = new.get("metadata", {}).get("name", place.name)
        if given != place.name:
            raise bad_request(
                f"the name of the object ({given}) does not match the name on the URL ({place.name})"
            )
        try:
            obj, intake = state.update(served, place.namespace, place.name, new, write)
        except UndecodableError as error:
            wrong = invalid("patch", msgspec.json.encode(new).decode(), error.words)
            raise ApiError(422, "Invalid", f'"" is invalid: {wrong}', {"causes": [wrong.cause]}) from None
        return json_answer(shape_of(served, ask)(obj), 200, intake.warnings)

    # deleting

    def delete(self, ask: Ask, served: Served, place: Place) -> Response:
        how, dry = ask.deletion()
        obj = self._state.delete(served, place.namespace, place.name, how, Write(dry_run=dry))
        still = self._state.get(served.kind, place.namespace, place.name)
        gone = still is None or still["metadata"]["uid"] != obj["metadata"]["uid"] or dry
        if not gone or served.kind.kind == "Pod":
            return json_answer(shape_of(served, ask)(obj))
        details = {
            "name": place.name,
            "group": served.kind.group,
            "kind": served.kind.plural,
            "uid": obj["metadata"]["uid"],
        }
        return json_answer(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {k: v for k, v in details.items() if v},
            }
        )

    def delete_collection(self, ask: Ask, served: Served, place: Place) -> Response:
        how, dry = ask.deletion()
        try:
            match = selector(ask.query.get("labelSelector", ""), ask.query.get("fieldSelector", ""))
        except BadSelectorError as error:
            raise bad_request(str(error)) from None
        items = self._state.list(served.kind, place.namespace, match)
        for item in items:
            meta = item["metadata"]
            self._state.delete(served, meta.get("namespace", ""), meta["name"], how, Write(dry_run=dry))
        meta = {"resourceVersion": str(self._state.store.version)}
        kind = f"{served.kind.kind}List"
        return json_answer({"kind": kind, "apiVersion": served.api_version, "metadata": meta, "items": items})

    def evict(self, ask: Ask, served: Served, place: Place) -> Response:
        given = ask.content()
        options = (given.get("deleteOptions") or {}) if isinstance(given, dict) else {}
        how = Deletion(options.get("gracePeriodSeconds"))
        self._state.delete(served, place.namespace, place.name, how, ask.write())
        return json_answer(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201
        )

    # scale

    def scale(self, ask: Ask, served: Served, place: Place) -> Response:
        """The replicas of a workload as an autoscaling/v1 Scale, read or changed."""
        if served.scale is None:
            raise no_resource()
        old = self._state.need(served.kind, place.namespace, place.name)
        if ask.method in {"GET", "HEAD"}:
            return json_answer(scale_of(served, old))
        body = ask.content() if ask.method == "PUT" else patched_scale(served, old, ask)
        replicas = body.get("spec", {}).get("replicas", 0) if isinstance(body, dict) else None
        if not isinstance(replicas, int) or replicas < 0:
            words = "must be greater than or equal to 0"
            raise invalid_object(_SCALE_KIND, place.name, [invalid("spec.replicas", replicas, words)])
        new = jsonpath.put(old, served.scale[0], replicas)
        version = body.get("metadata", {}).get("resourceVersion") if isinstance(body, dict) else None
        new["metadata"] = {**new["metadata"], "resourceVersion": version}
        write = ask.write("scale")
        obj, _ = self._state.update(served, place.namespace, place.name, new, write)
        return json_answer(scale_of(served, obj))


def patched(served: Served, old: Object, ask: Ask) -> Object:
    """`old` with the patch of a request. Raises ApiError: 400, 422."""
    patch = ask.content()
    if ask.content_type == "application/json-patch+json":
        return json_patch(old, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a merge patch is an object")
    if ask.content_type == "application/merge-patch+json":
        found: Object = merge_patch(old, patch)
    else:
        found = strategic_merge(old, patch, served.schema)
    return found


def patched_scale(served: Served, old: Object, ask: Ask) -> Object:
    now = scale_of(served, old)
    if ask.content_type == "application/json-patch+json":
        return json_patch(now, ask.content())
    found: Object = merge_patch(now, ask.content())
    return found


def scale_of(served: Served, obj: Object) -> Object:
    assert served.scale is not None
    spec_path, status_path, selector_path = served.scale
    meta = obj["metadata"]
    labels = obj.get("spec", {}).get("selector", {}).get("matchLabels", {}) if not served.custom else {}
    text = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
    if selector_path and served.custom:
        text = str(next(iter(jsonpath.find(obj, selector_path)), ""))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            k: meta[k]
            for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if k in meta
        },
        "spec": {"replicas": next(iter(jsonpath.find(obj, spec_path)), 0)},
        "status": {"replicas": next(iter(jsonpath.find(obj, status_path)), 0), "selector": text},
    }
