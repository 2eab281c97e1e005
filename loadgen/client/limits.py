"""How much of one answer is kept at most: a server that never ends one cannot fill the client's memory.

A stream's events are counted and let go, but for the moment of each. What has to be kept until more of it
comes is bounded: a body that is no stream, one event, and bytes that are no body at all (heads, trailers,
extensions of chunks).
"""

from __future__ import annotations

from loadgen.client.exchange import Exchange

MOST_BODY = 64 << 20
MOST_EVENT = 4 << 20
MOST_BARE = 1 << 20
MOST_EVENTS = 1 << 20
# Bytes of an answer below which nothing of it can be too much.
LOOK_FROM = min(MOST_BODY, MOST_EVENT, MOST_BARE)


def too_much(exchange: Exchange, bare: int = 0) -> str | None:
    """What of an answer under way is more than is kept of it; `bare` bytes in a row were no body."""
    if bare > MOST_BARE:
        return f"more than {MOST_BARE >> 20} MiB of headers, or of what is no body"
    if exchange.reader is None:
        return f"a body of more than {MOST_BODY >> 20} MiB" if exchange.bytes_in > MOST_BODY else None
    if exchange.reader.held > MOST_EVENT:
        return f"one event of more than {MOST_EVENT >> 20} MiB"
    if exchange.reader.steps > MOST_EVENTS:
        return f"a stream of more than {MOST_EVENTS:,} events"
    return None
