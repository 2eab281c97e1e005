"""Bytes in, requests out: HTTP/1.1 as httptools reads it, and bounds for what it leaves without one.

No I/O and no clock. What one feed has brought is in `ready`; a request whose body is still to come is
`receiving`, too, and its chunks are added to it.
"""

from __future__ import annotations

from collections import deque

import httptools

from simulator.server.http.incoming import Incoming, Pair

MAX_HEAD = 64 << 10  # bytes, unless told otherwise; also of what is no body between two pieces of a body
MAX_HEADERS = 256

Refusal = tuple[int, bytes]  # status and text
_MALFORMED = (400, b"Invalid HTTP request received.")
_TOO_LARGE = (431, b"Request Header Fields Too Large")


class Reader:
    """The requests of one connection. It holds itself until `close`."""

    __slots__ = (
        "_began", "_expects", "_fault", "_fed", "_headers", "_max_head", "_max_headers", "_parser",
        "_trailing", "_understood", "_url",
        "deaf", "in_head", "ready", "receiving",
    )  # fmt: skip

    def __init__(self, max_head: int = MAX_HEAD, max_headers: int = MAX_HEADERS) -> None:
        self._max_head = max_head
        self._max_headers = max_headers
        self._parser: httptools.HttpRequestParser | None = self._new_parser()
        self.ready: deque[Incoming] = deque()  # their heads are whole
        self.receiving: Incoming | None = None  # the last of them, while its body is not
        self.in_head = False  # a head has begun and is not whole
        self.deaf = False  # nothing that comes is read any more
        self._began = False  # the head, in what is being fed
        self._fed = 0  # bytes of the head in whole feeds
        self._understood = 0  # bytes of the head that callbacks have had
        self._url = b""
        self._headers: list[Pair] = []
        self._expects = False
        self._trailing = 0  # bytes since the last byte of the body
        self._fault: Refusal | None = None  # what a callback has found wrong

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows on a last request is no error of it; here it is not read.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def close(self) -> None:
        """Read no more."""
        self.deaf = True
        self.in_head = False
        self._parser = self.receiving = None

    def feed(self, data: bytes) -> Refusal | None:
        """Read on; what is wrong with it, if anything."""
        receiving = self.receiving
        seen = receiving.size if receiving is not None else 0
        wrong = self._feed(data)
        if wrong is None and self.in_head:
            # Where a head begins in a feed is not known, so its first one does not count.
            self._fed += 0 if self._began else len(data)
            self._began = False
            return _TOO_LARGE if self._fed > self._max_head else None
        if wrong is None and receiving is not None and receiving is self.receiving:
            self._trailing = 0 if receiving.size > seen else self._trailing + len(data)
            return (
                _TOO_LARGE if self._trailing > self._max_head else None
            )  # extensions of chunks, or trailers
        return wrong

    def _feed(self, data: bytes) -> Refusal | None:
        parser = self._parser
        if parser is None or self.deaf:
            return None
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No other protocol is spoken: the request is answered as it is, and HTTP goes on behind it.
            self._parser = self._new_parser()
            return self._feed(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self.deaf:
                return self._fault or _MALFORMED
        return None

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.in_head = self._began = not self.deaf
        self._url = b""
        self._headers = []
        self._expects = False
        self._fed = self._understood = 0

    def on_url(self, url: bytes) -> None:
        if self.in_head:
            self._url += url
            self._understand(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            return  # a trailer, for which there is no use
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects = True
        self._headers.append((name, value))
        self._understand(len(name) + len(value) + 4)

    def _understand(self, size: int) -> None:
        self._understood += size
        if self._understood > self._max_head or len(self._headers) > self._max_headers:
            self._fault = _TOO_LARGE
            raise ValueError("the head of a request is too large")  # ends the parser's work

    def on_headers_complete(self) -> None:
        parser = self._parser
        if not self.in_head or parser is None:
            return
        self.in_head = False
        version = parser.get_http_version()
        incoming = Incoming(
            parser.get_method().decode("ascii"),
            self._url,
            self._headers,
            version,
            keep_alive=version == "1.1" and parser.should_keep_alive(),
            expects=version == "1.1" and self._expects,
        )
        self.receiving = incoming
        self._trailing = 0
        self.ready.append(incoming)

    def on_body(self, body: bytes) -> None:
        incoming = self.receiving
        if incoming is not None:
            incoming.size += len(body)
            if incoming.wanted:
                incoming.chunks.append(body)

    def on_message_complete(self) -> None:
        incoming, self.receiving = self.receiving, None
        if incoming is not None:
            incoming.complete = True
            if not incoming.keep_alive:
                self.deaf = True  # the last
