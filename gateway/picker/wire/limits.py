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
MESSAGE = 4 << 20
# Of one request's body, as the simulated servers take it by default.
BODY = 64 << 20
# How long a closed connection may take to read why, in seconds.
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
