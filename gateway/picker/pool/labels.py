"""Label selectors over the labels of endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from gateway.picker.errors import PickerConfigError


class SelectorRequirement(msgspec.Struct):
    key: str
    operator: str
    values: list[str] = []


class LabelSelector(msgspec.Struct, rename="camel"):
    """metav1.LabelSelector."""

    match_labels: dict[str, str] = {}
    match_expressions: list[SelectorRequirement] = []


_OPERATORS: dict[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
}


def check_selector(selector: LabelSelector, where: str) -> None:
    """PickerConfigError for an operator that Kubernetes does not know."""
    for requirement in selector.match_expressions:
        if requirement.operator not in _OPERATORS:
            raise PickerConfigError(
                f"{where}: operator {requirement.operator!r} is not one of {', '.join(_OPERATORS)}"
            )


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a Kubernetes label selector matches."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _OPERATORS[requirement.operator](labels.get(requirement.key), requirement.values)
        for requirement in selector.match_expressions
    )


def parse_selector(text: str) -> LabelSelector:
    """The `key=value,...` of --endpoint-selector; PickerConfigError for anything else."""
    labels = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([^=\s!]+)\s*==?\s*([^=\s]*)\s*", part)
        if not match:
            raise PickerConfigError(f"--endpoint-selector: {part!r} is not key=value")
        labels[match[1]] = match[2]
    return LabelSelector(labels)
