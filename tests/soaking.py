"""What the soak tests share: how long they are, what a process holds, a client that never tires.

SIMFLEET_SOAK scales them: 1 (the default) is the full size, 0.01 a hundredth of it. Each says how long it
takes at full size.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

SOAK = float(os.environ.get("SIMFLEET_SOAK", "1"))
_PAGE = os.sysconf("SC_PAGE_SIZE")


def sized(full: int, least: int = 1) -> int:
    """So many of `full` as SIMFLEET_SOAK says."""
    return max(least, round(full * SOAK))


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 1e6


def num_fds(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@dataclass
class Held:
    """What a process has held at each look, megabytes and descriptors."""

    pid: int
    looks: list[tuple[float, float, int]] = field(default_factory=list)  # time, RSS, descriptors

    def look(self) -> None:
        self.looks.append((time.monotonic(), rss_mb(self.pid), num_fds(self.pid)))

    def growth_mb(self) -> float:
        """The most of the last third of the looks over the most of the middle one: 0 where it is flat."""
        rss = [look[1] for look in self.looks]
        third = len(rss) // 3
        return max(rss[-third:]) - max(rss[third : 2 * third])

    def __str__(self) -> str:
        begin = self.looks[0][0]
        every = max(1, len(self.looks) // 30)
        return " ".join(f"{when - begin:.0f}s:{rss:.1f}MB,{fds}fd" for when, rss, fds in self.looks[::every])


class Answers(asyncio.Protocol):
    """A keep-alive connection: one request after the other, each read to its end. `wrong` has what was."""

    def __init__(self, requests: Iterator[tuple[bytes, bool]], check: Callable[[bytes], bool]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered = 0
        self.wrong: list[bytes] = []
        self._requests = requests
        self._check = check
        self._parts: list[bytes] = []
        self._chunked = False
        self._due = 0  # bytes of a sized answer still to come; 0: the head is not there yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        request, self._chunked = next(self._requests, (b"", False))
        if request:
            self._transport.write(request)
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if self._chunked:
            if not data.endswith(b"0\r\n\r\n"):
                return
        else:
            if not self._due:
                head, found, body = b"".join(self._parts).partition(b"\r\n\r\n")
                if not found:
                    return
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None, head
                self._due = int(length[1]) - len(body)
            else:
                self._due -= len(data)
            if self._due > 0:
                return
        answer = b"".join(self._parts)
        self._parts.clear()
        self._due = 0
        self.answered += 1
        if not (answer.startswith(b"HTTP/1.1 200 ") and self._check(answer)):
            self.wrong.append(answer[:500])
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.set_result(None)


async def ask_all(
    places: list[tuple[str, int]],
    requests: Iterator[tuple[bytes, bool]],
    check: Callable[[bytes], bool],
    each: int = 1,
) -> int:
    """Send all of `requests` (bytes, whether the answer is chunked) over `each` connections a place; how many
    were answered. Raises AssertionError for the first answers that are not as they should be.
    """
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(lambda: Answers(requests, check), host, port))[1]
        for host, port in places
        for _ in range(each)
    ]
    await asyncio.gather(*(answers.done for answers in made))
    wrong = [answer for answers in made for answer in answers.wrong]
    assert not wrong, (len(wrong), wrong[:3])
    return sum(answers.answered for answers in made)
