"""A server that answers with what it was asked, for those who send requests from a shell or by hand."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

from tests.ports import free_port


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers 418 with the request line, its headers and its body; /cut breaks off in the middle."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        text = f"{self.requestline}\n{self.headers}{body.decode()}".encode()
        self.send_response(418)
        self.send_header("X-Kept", "1")
        self.send_header("Content-Length", str(len(text) + (10 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def echoing() -> Iterator[str]:
    """Its URL, without a path; it answers each request in a thread of its own."""
    port = free_port()
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.shutdown()
            thread.join()
