"""What streams of completions and chats share: options, templates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from simulator.server.protocol import StreamOptions

if TYPE_CHECKING:
    from simulator.server.generation import Generation

_encode = msgspec.json.Encoder().encode
_MARK: Final = "\u0000text\u0000"  # cannot stand in a header-derived id or a model name
_MARK_JSON: Final = _encode(_MARK)


@dataclass(frozen=True, slots=True)
class StreamShape:
    """Which chunks carry usage."""

    usage: bool  # a last chunk with usage
    continuous: bool  # usage on every chunk

    @classmethod
    def of(cls, options: StreamOptions | None, generation: Generation) -> StreamShape:
        usage = bool(options and options.include_usage)
        continuous = usage and bool(options and options.continuous_usage_stats)
        return cls(usage or generation.replica.config.enable_force_include_usage, continuous)


def split_template(chunk: Callable[[str], dict[str, Any]]) -> tuple[bytes, bytes]:
    """The bytes of an event before and after its text, text excluded with its quotes."""
    before, after = _encode(chunk(_MARK)).split(_MARK_JSON, 1)
    return b"data: " + before, after + b"\n\n"
