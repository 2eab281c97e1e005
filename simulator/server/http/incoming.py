"""A request as it comes in: its head, what there is of its body, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import httptools

Pair = tuple[bytes, bytes]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Incoming:
    """One request. Who answers it sets `on_data` and `on_end` while it begins to.

    `on_data` is called when more of the body is there, `on_end` once: when the answer is complete, or before
    that when the client is gone.
    """

    __slots__ = (
        "chunks",
        "complete",
        "expects",
        "headers",
        "is_owned",
        "keep_alive",
        "method",
        "on_data",
        "on_end",
        "path",
        "query",
        "raw_path",
        "size",
        "version",
        "wanted",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: list[Pair],
        version: str,
        *,
        keep_alive: bool,
        expects: bool,
    ) -> None:
        """Raises ValueError for a target that is not one."""
        self.method = method
        self.raw_path, self.query = _split(target)
        path = self.raw_path.decode("ascii")
        self.path = unquote(path) if "%" in path else path
        self.headers = headers  # names in lower case
        self.version = version
        self.keep_alive = keep_alive  # whether the connection outlives the answer
        self.expects = expects  # the client waits for leave to send its body
        self.chunks: list[bytes] = []
        self.size = 0  # bytes of the body that have come, kept or not
        self.complete = False
        self.wanted = True  # what comes of the body is kept
        self.is_owned = False  # its end is told by who answers it (`Connection.forget`)
        self.on_data: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None

    def header(self, wanted: bytes) -> bytes | None:
        """The first value of a header; names are in lower case."""
        for name, value in self.headers:
            if name == wanted:
                return value
        return None


def _split(target: bytes) -> tuple[bytes, bytes]:
    """Path and query. Most targets are a path; the others are left to the parser."""
    if target[:1] == b"/" and b"#" not in target:
        path, _, query = target.partition(b"?")
        return path, query
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserError as error:
        raise ValueError(f"{target[:80]!r} is not a request target") from error
    return url.path or b"/", url.query or b""
