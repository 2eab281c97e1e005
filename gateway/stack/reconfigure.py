"""Another EndpointPickerConfig for a picker that runs: written, checked, and the picker restarted with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ControlError, StackError
from gateway.picker import compat
from gateway.picker.config import parse_config, read_yaml
from gateway.picker.errors import PickerError

if TYPE_CHECKING:
    from gateway.stack.pickerset import PickerHandle
    from gateway.stack.stack import Stack

APPLIED = "applied.yaml"  # in the picker's directory
MOST_BYTES = 1 << 20
_FILE, _TEXT = "--config-file=", "--config-text="


def picker_config(stack: Stack, name: str) -> str:
    """The text of a picker's configuration; empty where it runs on its release's default.

    ControlError when there is no such picker.
    """
    for word in reversed(_handle(stack, name).process.process.argv):
        if word.startswith(_TEXT):
            return word.removeprefix(_TEXT)
        if word.startswith(_FILE):
            return Path(word.removeprefix(_FILE)).read_text(encoding="utf-8")
    return ""


def reconfiguring(stack: Stack) -> Callable[[str, str], Awaitable[str]]:
    """`reconfigure` of one stack, as a command that its control socket takes."""

    async def run(name: str, text: str) -> str:
        return await reconfigure(stack, name, text)

    return run


async def reconfigure(stack: Stack, name: str, text: str) -> str:
    """Restart picker `name` with this configuration (empty: its release's default).

    ControlError for one that it cannot read, and where it does not start with it: then it runs as before.
    """
    handle = _handle(stack, name)
    if len(text.encode()) > MOST_BYTES:
        raise ControlError(f"a configuration of more than {MOST_BYTES} bytes")
    if text:
        try:
            parse_config(text, compat.for_document(read_yaml(text), handle.plan.container.image))
        except PickerError as error:
            raise ControlError(f"picker {handle.name} is left as it is: {error}") from error
    before = handle.process.process.argv
    path = handle.process.spec.directory / APPLIED
    old = path.read_text(encoding="utf-8") if path.exists() else None
    if text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    handle.process.process.argv = with_config(before, path if text else None)
    try:
        await stack.restart(handle.name)
    except StackError as error:
        handle.process.process.argv = before
        if old is not None:
            path.write_text(old, encoding="utf-8")
        await stack.restart(handle.name)
        problem = f"picker {handle.name} does not start with it and runs as before: {error}"
        raise ControlError(problem) from error
    return f"picker {handle.name} restarted with another configuration"


def with_config(argv: Sequence[str], path: Path | None) -> tuple[str, ...]:
    """A picker's command line with that configuration file and no other."""
    kept = [word for word in argv if not word.startswith((_FILE, _TEXT))]
    return (*kept, *([f"{_FILE}{path}"] if path is not None else []))


def _handle(stack: Stack, name: str) -> PickerHandle:
    handle = stack.pickers.find(name)
    if handle is None:
        names = ", ".join(h.name for h in stack.pickers)
        raise ControlError(f"picker {name!r} does not exist; there are: {names or 'none'}")
    return handle
