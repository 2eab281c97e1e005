"""What the page's server asks a stack over its control socket, beside its status and what all may tell it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import yaml

from gateway.stack.reconfigure import picker_config
from gateway.stack.stack import Stack
from gateway.ui.objects import describe

Json = dict[str, Any]
_TYPES = {"int": "number", "float": "number", "bool": "flag"}


def questions(
    stack: Stack, changes: Mapping[str, Callable[..., Awaitable[Any]]]
) -> dict[str, Callable[..., Awaitable[Any]]]:
    """The commands `commands`, `objects`, `manifests` and `picker_config`."""

    async def commands() -> Json:
        return {name: arguments_of(command) for name, command in changes.items()}

    async def objects() -> Json:
        return await asyncio.to_thread(describe, stack.plan)  # lint takes longer than a turn of the loop may

    async def manifests() -> str:
        objects = stack.plan.manifests.objects()
        return await asyncio.to_thread(yaml.safe_dump_all, objects, sort_keys=False)

    async def config(name: str) -> str:
        return picker_config(stack, name)

    return {"commands": commands, "objects": objects, "manifests": manifests, "picker_config": config}


def arguments_of(command: Callable[..., Awaitable[Any]]) -> list[Json]:
    """The arguments of a command: name, kind (text, number, flag) and whether it must be given."""
    found = []
    for parameter in inspect.signature(command).parameters.values():
        kind = str(parameter.annotation).partition(" ")[0]
        required = parameter.default is inspect.Parameter.empty
        found.append({"name": parameter.name, "kind": _TYPES.get(kind, "text"), "required": required})
    return found
