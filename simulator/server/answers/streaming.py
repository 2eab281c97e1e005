"""What a client's stream_options come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.server.requests.lean import StreamOptions

if TYPE_CHECKING:
    from simulator.server.answers.generation import Generation


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
