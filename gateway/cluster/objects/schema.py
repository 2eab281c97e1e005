"""One place in the schema of a kind, built-in or custom, and what may stand there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.cluster.objects.definitions import META, PREFIX, definitions

Schema = dict[str, Any]
# Definitions that hold any value or have a form of their own in JSON.
_OPEN = ("IntOrString", "Quantity", "RawExtension", "FieldsV1", "JSON", "JSONSchemaPropsOrBool",
         "JSONSchemaPropsOrArray", "JSONSchemaPropsOrStringArray", "JSONSchemaProps")  # fmt: skip


@dataclass(frozen=True)
class Node:
    """`raw` is what stands at the place, `body` what its reference leads to."""

    raw: Schema
    body: Schema
    open: bool = False  # anything may stand here
    builtin: bool = True

    @property
    def type(self) -> str:
        """object, array, string, integer, number, boolean; empty: any."""
        if self.open or self.raw.get("x-kubernetes-int-or-string"):
            return ""
        found = self.body.get("type", "")
        if isinstance(found, list):  # [T, "null"]: optional
            found = next((t for t in found if t != "null"), "")
        return str(found) or ("object" if "properties" in self.body else "")

    @property
    def name(self) -> str:
        """Of the definition that stands here, such as DeploymentSpec; empty without one."""
        return str(self.raw.get("$ref", "")).rpartition(".")[2]

    def field(self, name: str) -> Node | None:
        """The schema of a field or of a map's value; None for an unknown field."""
        properties = self.body.get("properties", {})
        if name in properties:
            return node(properties[name], builtin=self.builtin)
        extra = self.body.get("additionalProperties")
        return node(extra, builtin=self.builtin) if isinstance(extra, dict) else None

    def items(self) -> Node:
        found = self.body.get("items")
        return node(found if isinstance(found, dict) else {}, builtin=self.builtin)

    @property
    def keeps_unknown(self) -> bool:
        """Whether fields that it does not list are kept."""
        return (
            self.open
            or bool(self.body.get("x-kubernetes-preserve-unknown-fields"))
            or self.body.get("additionalProperties") is True
            or (not self.body.get("properties") and self.type in {"object", ""} and self.builtin)
        )

    @property
    def is_map(self) -> bool:
        """Keys are the user's, as of labels."""
        return isinstance(self.body.get("additionalProperties"), dict)

    @property
    def is_set(self) -> bool:
        return self.raw.get("x-kubernetes-list-type") == "set"

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields that name an item of a list under server-side apply; none: another kind of list."""
        if self.raw.get("x-kubernetes-list-type") == "map":
            return tuple(self.raw.get("x-kubernetes-list-map-keys", ()))
        return ()

    @property
    def is_atomic(self) -> bool:
        """One value for server-side apply, whatever is in it."""
        if self.type == "array":
            return not (self.is_set or self.keys)
        kinds = (self.raw.get("x-kubernetes-map-type"), self.body.get("x-kubernetes-map-type"))
        return self.open or "atomic" in kinds or self.type != "object"

    @property
    def merge_key(self) -> str | None:
        """The field that names an item of a list under a strategic merge; None: the list is replaced."""
        if "merge" in str(self.raw.get("x-kubernetes-patch-strategy", "")):
            return str(self.raw.get("x-kubernetes-patch-merge-key", ""))
        return None

    @property
    def retains_keys(self) -> bool:
        return "retainKeys" in str(self.raw.get("x-kubernetes-patch-strategy", ""))

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.body.get("required", ()))

    def named(self) -> Iterator[tuple[str, Node]]:
        for name in self.body.get("properties", {}):
            if (found := self.field(name)) is not None:
                yield name, found


ANY = Node({}, {}, open=True)


def node(raw: Schema, *, builtin: bool = True) -> Node:
    target = raw.get("$ref")
    if not isinstance(target, str):
        for part in raw.get("allOf", ()) if builtin else ():
            if "$ref" in part:
                return node({**raw, "$ref": part["$ref"], "allOf": ()})
        return Node(raw, raw, builtin=builtin)
    name = target.removeprefix(PREFIX)
    if name.rpartition(".")[2] in _OPEN:
        return Node(raw, {}, open=True)
    return Node(raw, definitions()[name])


def custom(schema: Schema) -> Node:
    """The root of a custom kind: its metadata are Kubernetes' own."""
    properties = {
        **schema.get("properties", {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": PREFIX + META},
    }
    body = {**schema, "properties": properties}
    return Node(body, body, builtin=False)
