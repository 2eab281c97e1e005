"""From the events of a stream to the moments of its tokens, by the server's own count of them.

A closing event without text is the end-of-sequence token with one server and nothing with another; a tool or
reasoning parser swallows tokens. Which it was, the count in `usage` says.
"""

from __future__ import annotations

from typing import NamedTuple

from loadgen.client.sse import SseReader

# Seconds; a role that follows the answer's head sooner than this was said before anything was generated.
HEAD_AND_ROLE = 0.001


class TokenMoments(NamedTuple):
    """Monotonic seconds; `seen` is the number of tokens as far as events show it."""

    opening: float | None = None
    first: float | None = None
    last: float | None = None
    times: list[float] | None = None
    seen: int | None = None


NO_TOKENS = TokenMoments()


def token_moments(reader: SseReader, output: int | None, first_byte: float | None) -> TokenMoments:
    """When tokens came; `output` is how many there were, None when the server did not say.

    The last token is the last event with choices. Events beyond `output` were none: first those behind the
    text, then those before it. Without a count the closing ones are left out of times and count alike.
    """
    if output is None:
        behind, before = (reader.silent if reader.tokens else 0), 0
    else:
        behind = min(reader.silent, max(0, reader.steps - max(1, output)))
        before = min(reader.leading, max(0, reader.steps - behind - max(1, output)))
    first, last, times = reader.first, reader.last, reader.times
    if times is not None and (behind or before):
        times = times[before : len(times) - behind]
        first, last = times[0], times[-1]
    elif times is None:
        first = reader.first_text if before and before == reader.leading else first
        last = reader.last_text if behind and behind == reader.silent else last
    seen = reader.steps - behind - before
    unseen = output is not None and output > seen
    return TokenMoments(_opening(reader, first_byte) if unseen else None, first, last, times, seen)


def _opening(reader: SseReader, first_byte: float | None) -> float | None:
    """The moment of the role event, if it went out with the first token, as vLLM sends it."""
    if reader.opening is None or first_byte is None or reader.opening - first_byte < HEAD_AND_ROLE:
        return None
    return reader.opening
