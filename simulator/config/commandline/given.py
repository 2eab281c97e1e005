"""What a user gave, asked for by type; everything else is its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

from simulator.config.commandline.parser import Given
from simulator.errors import ConfigError

T = TypeVar("T")


class Values:
    """Given values by canonical flag name, earlier sources first in `layers`."""

    def __init__(self, *layers: Mapping[str, Given]) -> None:
        self._given: dict[str, Given] = {}
        for layer in reversed(layers):
            self._given.update(layer)

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def __iter__(self) -> Any:
        return iter(self._given)

    @overload
    def get(self, name: str, default: T) -> T: ...

    @overload
    def get(self, name: str) -> Any: ...

    def get(self, name: str, default: Any = None) -> Any:
        """The value given for a flag, else `default`; the table has seen to its type."""
        given = self._given.get(name)
        return default if given is None else given.value

    def text(self, name: str) -> str | None:
        """A text flag, with the empty string as not given."""
        value = self.get(name)
        return str(value) if value not in (None, "") else None

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A JSON flag that must be an object; raises ConfigError."""
        value: Any = self.get(name, {})
        if isinstance(value, Mapping):
            return value
        raise ConfigError(f"{self.where(name)}: a JSON object is expected, not {value!r}")

    def where(self, name: str) -> str:
        """Where the value was given, for messages."""
        given = self._given.get(name)
        return given.where if given else f"--{name}"
