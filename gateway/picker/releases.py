"""What each EPP release reads: the fields of its EndpointPickerConfig, its plugin types and their parameters.

The facts stand in plugin_types.json, read off the sources of the releases: GIE v1.0 to v1.5 (the last with an
EPP), llm-d-router v0.9 and v0.10, and its head of August 2026. A tree of fields is a mapping from name to the
field's type, a further tree, or a list of one of them; None means that parameters are not looked at.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

Tree = Mapping[str, Any]

# What a value of each type may be; Go takes a whole number where a fraction may stand.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "nanoseconds": (int,),
    "duration": (str,),
    "quantity": (int, str),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One plugin type as some releases have it."""

    releases: tuple[str, ...]
    fields: Tree | None
    alpha: bool = False  # needs --allow-experimental-plugins
    deprecated: str = ""  # since which version


@dataclass(frozen=True, slots=True)
class PluginType:
    """A plugin type over all releases."""

    name: str
    kind: str
    variants: tuple[Variant, ...]

    @property
    def releases(self) -> tuple[str, ...]:
        return tuple(release for variant in self.variants for release in variant.releases)

    def of(self, release: str) -> Variant | None:
        """What the release has of it."""
        return next((variant for variant in self.variants if release in variant.releases), None)

    def nearest(self, release: str) -> Variant:
        """The same; where the release has none, what the next one that has it reads."""
        names = [*names_of_releases()]
        own = self.of(release)
        later = (v for name in names[names.index(release) :] for v in self.variants if name in v.releases)
        return own or next(later, self.variants[-1])


@functools.cache
def _facts() -> Mapping[str, Any]:
    text = resources.files("gateway.picker").joinpath("plugin_types.json").read_text("utf-8")
    facts: Mapping[str, Any] = json.loads(text)
    return facts


def names_of_releases() -> Sequence[str]:
    """Oldest first, GIE's before llm-d's."""
    names: Sequence[str] = _facts()["releases"]
    return names


def document_of(release: str) -> Tree:
    """The fields of the release's EndpointPickerConfig."""
    tree: Tree = _facts()["document"][release]
    return tree


@functools.cache
def plugin_types() -> Mapping[str, PluginType]:
    """Every type of every release, by name."""
    found = {}
    for name, about in _facts()["types"].items():
        variants = tuple(
            Variant(tuple(v["in"]), v["fields"], v.get("alpha", False), v.get("deprecated", ""))
            for v in about["variants"]
        )
        found[name] = PluginType(name, about["kind"], variants)
    return found


def unknown_fields(value: Any, tree: Any, path: str = "", *, any_case: bool = False) -> Iterator[str]:
    """Paths of what stands in `value` and not in `tree`. any_case: names are taken as encoding/json does."""
    if isinstance(tree, list) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, tree[0], f"{path}[{index}]", any_case=any_case)
    elif isinstance(tree, Mapping) and isinstance(value, dict):
        for name, item in value.items():
            place = f"{path}.{name}".lstrip(".")
            known = _name_in(tree, str(name), any_case)
            if known is None:
                yield place
            else:
                yield from unknown_fields(item, tree[known], place, any_case=any_case)


def wrong_types(value: Any, tree: Any, path: str = "") -> Iterator[str]:
    """Of each value of a wrong type, "path: what is wrong"; unknown fields and nulls are passed over."""
    if value is None:
        return
    if isinstance(tree, list):
        if not isinstance(value, list):
            yield f"{path}: a list is expected, not {value!r}"
            return
        for index, item in enumerate(value):
            yield from wrong_types(item, tree[0], f"{path}[{index}]")
    elif isinstance(tree, Mapping):
        if not isinstance(value, dict):
            yield f"{path}: an object is expected, not {value!r}"
            return
        for name, item in value.items():
            if (known := _name_in(tree, str(name), True)) is not None:
                yield from wrong_types(item, tree[known], f"{path}.{known}".lstrip("."))
    elif not isinstance(value, _TYPES[tree]) or (isinstance(value, bool) and tree != "bool"):
        yield f"{path}: {value!r} is no {tree}"


def canonical(value: Any, tree: Any) -> Any:
    """`value` with the names of its fields spelled as in `tree`, as encoding/json takes them in any case."""
    if isinstance(tree, list) and isinstance(value, list):
        return [canonical(item, tree[0]) for item in value]
    if not isinstance(tree, Mapping) or not isinstance(value, dict):
        return value
    spelled = {}
    for name, item in value.items():
        known = _name_in(tree, str(name), True)
        spelled[known or name] = canonical(item, tree[known]) if known else item
    return spelled


def _name_in(tree: Tree, name: str, any_case: bool) -> str | None:
    if name in tree or not any_case:
        return name if name in tree else None
    folded = name.casefold()
    return next((known for known in tree if known.casefold() == folded), None)
