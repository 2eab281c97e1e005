"""What one peer may ask of the picker's HTTP/2: sizes, and how many frames that bring nothing.

The figures are those of grpc, nghttp2 and Envoy: headers of 16 KiB, messages of 4 MiB; a thousand streams
given up at once and 33 a second, ten thousand idle frames at once and 330 a second; what a peer gets from us
gives it credit, because a busy peer updates windows and measures round trips all the time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

# Of a header list, RFC 9113's measure, and of its encoded block; an eighth of it is a usual gRPC request.
HEADER_LIST = 16384
CONTINUATIONS = 64
STREAMS = 16384
# How many streams are remembered after their end: what may still come on them depends on how they ended.
REMEMBERED = 1024
# How much comes before the peer is told that it may go on.
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 1 << 24
# A stream whose peer leaves this much of our answers unread is not told that it may go on.
UNREAD = 1 << 18
# How much of all answers of a connection is handed to its socket at once.
OUT = 1 << 17
MESSAGE = 4 << 20
# Of one request's body, and of a response that is held back until its end; for a moment several copies of it
# are alive while it is read and written again.
BODY = 16 << 20
# All that unfinished messages, bodies and unread answers keep in memory, over all streams of a picker.
HELD = 64 << 20
# How many messages of a call wait while a reply is awaited.
BACKLOG = 1000
# What Python spends on a piece of data that is kept, beside its bytes.
OVERHEAD = 256
# How long one connection may keep the loop before others have their turn, in seconds.
TURN_S = 0.005
# How long a connection may take to say that it speaks HTTP/2, and a closed one to read why, in seconds.
GREETING_S = 20.0
FAREWELL_S = 5.0


@dataclass(slots=True)
class Allowance:
    """How often a peer may do something: `burst` at once, `rate` a second, `credit` for each unit of work."""

    burst: float
    rate: float
    credit: float
    _left: float = -1.0
    _at: float = 0.0
    _work: int = 0

    def spend(self, work: int) -> bool:
        """Whether it may do so once more. `work` counts what the peer has been sent so far."""
        now = time.monotonic()
        if self._left < 0:
            self._left = self.burst
        else:
            earned = (now - self._at) * self.rate + (work - self._work) * self.credit
            self._left = min(self.burst, self._left + earned)
        self._at, self._work = now, work
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Held:
    """Bytes that streams keep in memory until they end; one for a whole picker.

    A stream may hold as much as is still free: the more is held, the less one may have, so that the small
    ones find room beside any number of large ones.
    """

    def __init__(self, limit: int = HELD) -> None:
        self.limit = limit
        self.total = 0

    def take(self, size: int, mine: int) -> bool:
        """Whether a stream that holds `mine` bytes may hold `size` more; if so, it does."""
        if mine + size > self.limit - self.total - size:
            return False
        self.total += size
        return True

    def give(self, size: int) -> None:
        """What `take` was given is needed no more."""
        self.total -= size
