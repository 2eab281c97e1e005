"""CEL rules of CRDs (x-kubernetes-validations), evaluated by the package common-expression-language.

A rule that uses a function which that package lacks is not checked, and the writer is told so by a warning.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from gateway.cluster.objects.errors import FieldProblem, shown
from gateway.cluster.objects.schema import Node

# The compiled module inside: xds-protos has a `cel/__init__.py` too, and the last one installed stands.
_CEL = "cel.cel"
_UNSUPPORTED = ("Undefined variable or function", "unsupported syntax")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "split": lambda text, by: text.split(by),
    "lowerAscii": lambda text: text.lower(),
    "upperAscii": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "replace": lambda text, old, new: text.replace(old, new),
    "join": lambda items, by="": by.join(items),
    "isSorted": lambda items: items == sorted(items),
}
Unchecked = Callable[[str], None]


def broken(
    schema: Node, value: Any, old: Any, unchecked: Unchecked, path: str = ""
) -> Iterator[FieldProblem]:
    """The rules of `schema` and of what is below that `value` breaks; `old` is None where nothing stood."""
    for rule in schema.raw.get("x-kubernetes-validations", ()):
        text = str(rule.get("rule", ""))
        if "oldSelf" in text and old is None and not rule.get("optionalOldSelf"):
            continue
        problem = _evaluate(text, value, old, unchecked)
        if problem is not None:
            yield _problem(rule, problem, value, path)
    yield from _below(schema, value, old, unchecked, path)


def _below(schema: Node, value: Any, old: Any, unchecked: Unchecked, path: str) -> Iterator[FieldProblem]:
    if isinstance(value, dict):
        was = old if isinstance(old, dict) else {}
        for name, item in value.items():
            inner = schema.field(name)
            if inner is not None and not inner.builtin:
                place = f"{path}.{name}" if path else name
                yield from broken(inner, item, was.get(name), unchecked, place)
    elif isinstance(value, list):
        inner = schema.items()
        for i, item in enumerate(value):
            yield from broken(inner, item, _same_item(schema, item, old), unchecked, f"{path}[{i}]")


def _same_item(schema: Node, item: Any, old: Any) -> Any:
    """The item of the old list with the same keys; other lists have no history."""
    if not schema.keys or not isinstance(old, list) or not isinstance(item, dict):
        return None
    return next((o for o in old if all(o.get(k) == item.get(k) for k in schema.keys)), None)


def has_rules(schema: Any) -> bool:
    """Whether a schema has rules anywhere."""
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(has_rules(v) for v in schema.values())
    return isinstance(schema, list) and any(has_rules(v) for v in schema)


@functools.cache
def _program(rule: str) -> Any:
    """The compiled rule; a RuntimeError or ValueError where it cannot be."""
    return importlib.import_module(_CEL).compile(rule)


def _evaluate(rule: str, value: Any, old: Any, unchecked: Unchecked) -> str | None:
    """None where the rule holds; else empty, or why it could not be evaluated."""
    try:
        context = importlib.import_module(_CEL).Context(
            variables={"self": value, "oldSelf": old}, functions=_FUNCTIONS
        )
        return None if _program(rule).execute(context) else ""
    except (ValueError, RuntimeError, TypeError, ImportError) as error:
        text = str(error)
        if isinstance(error, ImportError) or any(words in text for words in _UNSUPPORTED):
            unchecked(f"rule {rule!r} is not checked here: {text.splitlines()[0]}")
            return None
        return f"rule evaluation error: {text.splitlines()[0]}"


def _problem(rule: dict[str, Any], why: str, value: Any, path: str) -> FieldProblem:
    message = why or str(rule.get("message") or f"failed rule: {rule.get('rule', '')}").strip()
    reason = rule.get("reason", "FieldValueInvalid")
    place = path + str(rule.get("fieldPath", "")) if path else str(rule.get("fieldPath", "")).lstrip(".")
    if reason == "FieldValueRequired":
        return FieldProblem(place, reason, f"Required value: {message}")
    if reason == "FieldValueForbidden":
        return FieldProblem(place, reason, f"Forbidden: {message}")
    shown_value = shown(value) if isinstance(value, str | dict | list) else str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown_value = str(value)
    return FieldProblem(place or "<nil>", reason, f"Invalid value: {shown_value}: {message}")
