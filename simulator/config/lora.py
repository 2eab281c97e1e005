"""The adapters that a server starts with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from simulator.config.commandline.given import Values
from simulator.config.serve import LoRAModule
from simulator.errors import ConfigError


def lora_enabled(values: Values, strict: bool, modules: bool) -> bool:
    """Whether adapters are served; ConfigError where the flags contradict each other."""
    asked = modules or "max-loras" in values
    default = asked if strict else True
    enabled: bool = values.get("enable-lora", default)
    if modules and not enabled:
        raise ConfigError("--lora-modules with --no-enable-lora: take one of them away")
    return enabled


def lora_modules(values: Values, served: Sequence[str], model: str) -> tuple[LoRAModule, ...]:
    """The adapters of --lora-modules; ConfigError for what is none."""
    modules: list[LoRAModule] = []
    where = values.where("lora-modules")
    items: tuple[str, ...] = values.get("lora-modules", ())
    for item in items:
        entries = _lora_entries(item, where)
        if values.get("strict", False) and not all(isinstance(e, dict) and "path" in e for e in entries):
            raise ConfigError(
                f"{where}: vLLM takes name=path and JSON objects with name and path, not {item!r}"
            )
        modules.extend(_lora_module(entry, where) for entry in entries)
    seen = set(served)
    for module in modules:
        if module.name in seen:
            what = "is the name of the base model" if module.name in served else "is given twice"
            raise ConfigError(f"{where}: LoRA adapter {module.name!r} {what}")
        if module.base_model_name is not None and module.base_model_name not in {*served, model}:
            raise ConfigError(
                f"{where}: unknown base model {module.base_model_name!r} for LoRA {module.name!r}; "
                f"it must be {' or '.join(repr(name) for name in served)}"
            )
        seen.add(module.name)
    return tuple(modules)


def _lora_entries(item: str, where: str) -> list[Any]:
    text = item.strip()
    if not text.startswith(("{", "[")):
        name, equals, path = text.partition("=")
        if not equals:
            raise ConfigError(f"{where}: {item!r} is neither name=path nor JSON")
        return [{"name": name, "path": path}]
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {item!r} is not valid JSON ({error})") from None
    return found if isinstance(found, list) else [found]


def _lora_module(entry: Any, where: str) -> LoRAModule:
    if isinstance(entry, str):
        entry = _lora_entries(entry, where)[0]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ConfigError(f'{where}: {entry!r} has no name; write {{"name": "reviews-1", "path": "..."}}')
    extra = set(entry) - {"name", "path", "base_model_name", "is_3d_lora_weight"}
    if extra:
        raise ConfigError(f"{where}: unknown keys {sorted(extra)} of LoRA {entry['name']!r}")
    return LoRAModule(entry["name"], str(entry.get("path") or entry["name"]), entry.get("base_model_name"))
