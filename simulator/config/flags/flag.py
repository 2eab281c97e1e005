"""One flag as data. Parser, `--help` and the reference page of the docs all read this and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Source = Literal["vllm", "llm-d", "simfleet"]


class Kind(Enum):
    """How the text of a value is read, and what it becomes."""

    BOOL = "true or false"
    INT = "integer"
    HUMAN_INT = "integer, also 4k or 4K"
    FLOAT = "number"
    TEXT = "text"
    DURATION = "duration such as 20ms, 1.5s or 750us; a bare number is milliseconds"  # -> seconds
    LIST = "list"  # -> tuple of str
    JSON = "JSON"  # -> whatever the JSON says; dotted form sets one key
    LORA = "name=path, a JSON object or a JSON array"  # -> tuple of str, read in `resolve`


@dataclass(frozen=True, slots=True)
class Flag:
    """`name` is written with dashes and without the leading ones. An `inert` flag does nothing."""

    name: str
    kind: Kind
    group: str
    help: str
    default: str = ""
    sources: tuple[Source, ...] = ("vllm",)
    aliases: tuple[str, ...] = ()  # as typed: "-tp"
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    inert: bool = False
    older: bool = False  # vLLM had it before 0.33

    @property
    def many(self) -> bool:
        """Takes every argument up to the next flag."""
        return self.kind in (Kind.LIST, Kind.LORA)
