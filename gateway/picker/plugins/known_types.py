"""Whether a release has a plugin type and what it reads of its parameters, by the table of releases.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.picker.compat import Compat
from gateway.picker.config import PluginSpec
from gateway.picker.errors import PickerConfigError
from gateway.picker.releases import canonical, plugin_types, unknown_fields, wrong_types


def release_hint(plugin_type: str) -> str | None:
    """What to do about a type that some release has and the reference picker has not; None: nobody has it."""
    known = plugin_types().get(plugin_type)
    if known is None:
        return None
    return (
        f" of the reference picker; this {known.kind} is a type of {', '.join(known.releases)}: "
        "run the real picker (--epp PATH)"
    )


def parameters_of(
    spec: PluginSpec, compat: Compat, warn: Callable[[str], None], *, experimental: bool = True
) -> dict[str, Any] | None:
    """A plugin's parameters as its release takes them: names spelled right, those that it does not read gone.

    PickerConfigError for what the release refuses. A type that the release has not is used all the same, with
    a warning, and reads what the next release that has it reads.
    """
    known = plugin_types().get(spec.type)
    if known is None:
        return spec.parameters
    variant = known.of(compat.name)
    if variant is None:
        warn(
            f"{compat.name} has no plugin type {spec.type}; {', '.join(known.releases)} have it: "
            "used all the same"
        )
        variant = known.nearest(compat.name)
    if variant.alpha and not experimental:
        raise PickerConfigError(
            f"plugin '{spec.name}' (type: '{spec.type}') has Alpha stability level, but command line flag "
            "--allow-experimental-plugins is not set"
        )
    if variant.deprecated:
        warn(f"plugin type {spec.type} is deprecated since llm-d-router {variant.deprecated}")
    if variant.fields is None or spec.parameters is None:
        return spec.parameters
    parameters: dict[str, Any] = canonical(spec.parameters, variant.fields)
    where = f"plugin '{spec.name}' (type {spec.type})"
    for path in unknown_fields(parameters, variant.fields):
        message = f'{where}: unknown field "{path}" in {compat.name}'
        names = ", ".join(variant.fields) or "none"
        if compat.strict_parameters:
            raise PickerConfigError(f"failed to parse the parameters of {message}; it has {names}")
        warn(f"{message} is passed over; it has {names}")
    for problem in wrong_types(parameters, variant.fields):
        raise PickerConfigError(f"failed to parse the parameters of {where} - {problem}")
    return parameters
