"""How a written object becomes a stored one: decoded strictly, pruned, filled with defaults, validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.cluster.objects import rules, validate, walk
from gateway.cluster.objects.defaults import fill_builtin
from gateway.cluster.objects.definitions import META, PREFIX
from gateway.cluster.objects.errors import (
    ApiError,
    FieldProblem,
    UndecodableError,
    bad_request,
    invalid_object,
)
from gateway.cluster.objects.kinds import Served
from gateway.cluster.objects.schema import node

Object = dict[str, Any]
_RESET = ("selfLink",)
# Problems with which an object is too odd for CEL rules to be looked at.
_BLOCKING = {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
             "FieldValueTypeInvalid"}  # fmt: skip
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to "
    "complete validation"
)


@dataclass
class Intake:
    """One object on its way in; `warnings` go to the writer."""

    served: Served
    field_validation: str = "Warn"  # Strict, Warn or Ignore, as the request's parameter says
    warnings: list[str] = field(default_factory=list)

    def decode(self, obj: Any) -> Object:
        """A copy of the right kind, without unknown fields. Raises ApiError 400."""
        if not isinstance(obj, dict):
            raise bad_request("the body of the request is not an object")
        kind = self.served.kind
        obj = {"apiVersion": self.served.api_version, "kind": kind.kind, **obj}
        self._check_type(obj)
        if not isinstance(obj.get("metadata", {}), dict):
            raise bad_request(f"{kind.kind}: metadata is not an object")
        wrong = None if self.served.custom else next(walk.wrong_types(self.served.schema, obj), None)
        wrong = wrong or next(
            walk.wrong_types(node({"$ref": PREFIX + META}), obj.get("metadata", {}), "metadata"), None
        )
        if wrong is not None:
            raise self._undecodable(walk.go_words(wrong))
        pruned, unknown = walk.prune(self.served.schema, obj)
        if unknown and self.field_validation == "Strict":
            raise self._undecodable(
                "strict decoding error: " + ", ".join(f'unknown field "{p}"' for p in unknown)
            )
        if unknown and self.field_validation == "Warn":
            self.warnings += [f'unknown field "{path}"' for path in unknown]
        found: Object = pruned
        found.setdefault("metadata", {})
        for name in _RESET:
            found["metadata"].pop(name, None)
        return found

    def _check_type(self, obj: Object) -> None:
        want, kind = self.served.api_version, self.served.kind.kind
        if obj["kind"] != kind:
            raise bad_request(
                f"the kind in the data ({obj['kind']}) does not match the expected kind ({kind})"
            )
        if obj["apiVersion"] != want:
            raise bad_request(
                f"the API version in the data ({obj['apiVersion']}) does not match the expected API version "
                f"({want})"
            )

    def _undecodable(self, words: str) -> ApiError:
        return UndecodableError(self.served.kind.kind, self.served.version, words)

    def fill(self, obj: Object) -> None:
        """Defaults, in place."""
        if self.served.custom:
            walk.fill(self.served.schema, obj)
        else:
            fill_builtin(obj)

    def validate(self, obj: Object, old: Object | None) -> None:
        """Raises ApiError 422 naming everything that is wrong."""
        found = validate.problems(obj, old)
        found += self._against_schema(obj, old)
        if found:
            kind, name = self.served.kind, obj["metadata"].get("name", "")
            raise invalid_object(kind, name, _told_once(found))

    def _against_schema(self, obj: Object, old: Object | None) -> list[FieldProblem]:
        schema = self.served.schema
        if not self.served.custom:
            return list(walk.missing(schema, {k: v for k, v in obj.items() if k != "status"}))
        found = list(walk.check(schema, obj))
        if any(p.reason in _BLOCKING for p in found):
            if rules.has_rules(schema.body):
                found.append(
                    FieldProblem("<nil>", "FieldValueInvalid", f'Invalid value: "null": {_UNCHECKED}')
                )
            return found
        return found + list(rules.broken(schema, obj, old, self.warnings.append))


def _told_once(found: list[FieldProblem]) -> list[FieldProblem]:
    kept: dict[tuple[str, str], FieldProblem] = {}
    for problem in found:
        kept.setdefault((problem.path, problem.reason), problem)
    return list(kept.values())
