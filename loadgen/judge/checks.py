"""One answer of a self-check."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Check:
    """`value` is the number behind the words, where there is one."""

    name: str
    status: Status
    words: str
    value: float | None = None
