"""From the events of a stream to the moments of its tokens, by the server's own count of them.

A closing event without text is the end-of-sequence token with one server and nothing with another; a tool or
reasoning parser swallows tokens. Which it was, the count in `usage` says.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from loadgen.client.sse import SseReader

# Seconds; a role that follows the answer's head sooner than this was said before anything was generated.
HEAD_AND_ROLE = 0.001


class TokenMoments(NamedTuple):
    """Monotonic seconds; `seen` is the number of tokens as far as events show it.

    first: the first event that carries anything, a thought or a tool's name too. content: the first of the
    answer itself. opening: the first token, where it had no event of its own or one that carried nothing.
    """

    opening: float | None = None
    first: float | None = None
    content: float | None = None
    last: float | None = None
    times: list[float] | None = None
    seen: int | None = None


NO_TOKENS = TokenMoments()


def token_moments(reader: SseReader, output: int | None, first_byte: float | None) -> TokenMoments:
    """When tokens came; `output` is how many there were, None when the server did not say.

    The last token is the last event with choices. Events beyond `output` were none: first those behind the
    text, then those before it. Without a count what carries nothing is left out of times and count alike.
    """
    if output == 0 and not reader.tokens:
        return TokenMoments(seen=0)
    before, behind = _none_of_them(reader, output)
    first, last, times = _without(reader, before, behind)
    seen = reader.steps - behind - before
    opening = _opening(reader, first_byte) if output is not None and output > seen else None
    if before < reader.leading:  # held-back tokens: their pace begins before there is anything to read
        if opening is None:
            opening, times = first, times and times[1:]
        first = reader.first_text
    return TokenMoments(opening, first, reader.content, last, times, seen)


Moments: TypeAlias = tuple[float | None, float | None, list[float] | None]


def _without(reader: SseReader, before: int, behind: int) -> Moments:
    """The first and the last moment, and all where they were kept, without so many at either end."""
    times = reader.times
    if times is not None and (behind or before):
        times = times[before : len(times) - behind]
        return times[0], times[-1], times
    if times is not None:
        return reader.first, reader.last, times
    first = reader.first_text if before and before == reader.leading else reader.first
    last = reader.last_text if behind and behind == reader.silent else reader.last
    return first, last, None


def _none_of_them(reader: SseReader, output: int | None) -> tuple[int, int]:
    """How many events before and behind the text stood for no token."""
    if output is None:
        return (reader.leading, reader.silent) if reader.tokens else (0, 0)
    behind = min(reader.silent, max(0, reader.steps - max(1, output)))
    return min(reader.leading, max(0, reader.steps - behind - max(1, output))), behind


def _opening(reader: SseReader, first_byte: float | None) -> float | None:
    """The moment of the role event, if it went out with the first token, as vLLM sends it."""
    if reader.opening is None or first_byte is None or reader.opening - first_byte < HEAD_AND_ROLE:
        return None
    return reader.opening
