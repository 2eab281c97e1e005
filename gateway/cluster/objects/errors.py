"""Refusals as Kubernetes words them: each becomes a Status with the code and reason that client-go reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.kubeapi.store import Kind

Object = dict[str, Any]


class ApiError(Exception):
    """A request that is not carried out; `status` is the answer's body."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details if details is not None else {},
            "code": code,
        }


class UndecodableError(ApiError):
    """A body that is not of its kind: 400, of a patch 422; `words` say what is wrong."""

    def __init__(self, kind: str, version: str, words: str) -> None:
        message = f'{kind} in version "{version}" cannot be handled as a {kind}: {words}'
        super().__init__(400, "BadRequest", message)
        self.words = words


@dataclass(frozen=True)
class FieldProblem:
    """One field that is wrong: its path, the reason (FieldValueRequired, ...) and Kubernetes' words."""

    path: str
    reason: str
    words: str

    def __str__(self) -> str:
        return f"{self.path}: {self.words}" if self.path else self.words

    @property
    def cause(self) -> Object:
        """In the details of a Status."""
        return {"reason": self.reason, "message": self.words, "field": self.path}


def required(path: str, words: str = "") -> FieldProblem:
    return FieldProblem(path, "FieldValueRequired", "Required value" + (f": {words}" if words else ""))


def invalid(path: str, value: Any, words: str) -> FieldProblem:
    return FieldProblem(path, "FieldValueInvalid", f"Invalid value: {shown(value)}: {words}")


def unsupported(path: str, value: Any, allowed: Sequence[Any]) -> FieldProblem:
    listed = ", ".join(shown(a) for a in allowed)
    words = f"Unsupported value: {shown(value)}: supported values: {listed}"
    return FieldProblem(path, "FieldValueNotSupported", words)


def shown(value: Any) -> str:
    """A value as Go's %#v-like field errors print it; what has fields is named by its type alone."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, dict):
        return '"object"'
    if isinstance(value, list):
        return '"array"'
    return "null" if value is None else str(value)


def go_map(values: Mapping[str, Any], of: str = "string") -> str:
    """A map as Go's %#v prints it."""
    pairs = ",".join(f"{shown(key)}:{shown(values[key])}" for key in sorted(values))
    return f"map[string]{of}{{{pairs}}}"


def resource_name(kind: Kind) -> str:
    """`deployments.apps`, `pods`."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def details_of(kind: Kind, name: str) -> Object:
    found = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: value for key, value in found.items() if value}


def not_found(kind: Kind, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource_name(kind)} "{name}" not found', details_of(kind, name))


def no_resource() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def exists(kind: Kind, name: str) -> ApiError:
    words = f'{resource_name(kind)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", words, details_of(kind, name))


def conflict(kind: Kind, name: str, words: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource_name(kind)} "{name}": {words}'
    return ApiError(409, "Conflict", message, details_of(kind, name))


def bad_request(words: str) -> ApiError:
    return ApiError(400, "BadRequest", words)


def forbidden(kind: Kind, name: str, words: str, causes: list[Object] | None = None) -> ApiError:
    details = details_of(kind, name) | ({"causes": causes} if causes else {})
    return ApiError(403, "Forbidden", f'{resource_name(kind)} "{name}" is forbidden: {words}', details)


def invalid_object(kind: Kind, name: str, problems: Sequence[FieldProblem]) -> ApiError:
    """422 with every field that is wrong."""
    told = [str(p) for p in problems]
    words = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    typed = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    causes = [p.cause for p in problems]
    details = {"name": name, "group": kind.group, "kind": kind.kind, "causes": causes}
    details = {key: value for key, value in details.items() if value}
    return ApiError(422, "Invalid", f'{typed} "{name}" is invalid: {words}', details)
