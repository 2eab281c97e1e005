"""A scenario as it was really run: its text with what the command line laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from kit.yamldoc import load_value
from loadgen.errors import ScenarioError

LAID_OVER = "# as it was run: what the command line said is laid over the file\n"


def laid_over(text: str, keys: Mapping[str, object]) -> str:
    """The YAML of a scenario with these keys laid over its own: mappings are joined, lists of its top grow.

    What nothing is laid over stays as it was written, comments and all. ScenarioError for what is no YAML.
    """
    if not keys:
        return text
    document = load_value(text, "scenario", ScenarioError) or {}
    merged = yaml.safe_dump(_joined(document, keys, grow=True), sort_keys=False, allow_unicode=True)
    return LAID_OVER + merged


def _joined(mine: Mapping[str, Any], over: Mapping[str, Any], *, grow: bool = False) -> dict[str, Any]:
    found = dict(mine)
    for key, value in over.items():
        below = found.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            found[key] = _joined(below, value)
        elif grow and isinstance(below, list) and isinstance(value, list):
            found[key] = [*below, *value]
        else:
            found[key] = value
    return found
