"""`python -m gateway.ui SOCKET`: the page's server beside a stack, until the stack or a signal ends it.

The address goes to --url-file, which only the stack's user can read: it has the token in it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
from pathlib import Path

from gateway.ui.server import PageServer
from kit.console import complain, say
from kit.signals import ENDING, hear, ignore


async def serve(socket: Path, port: int, url_file: Path | None) -> None:
    """Serve until the stack's socket is gone, or a signal comes. Raises OSError when the port is taken."""
    ended = asyncio.Event()
    hear(ENDING, lambda _: ended.set())
    server = PageServer(socket, secrets.token_urlsafe(18), port)
    url = await server.start()
    try:
        if url_file is not None:
            part = url_file.with_name(url_file.name + ".part")
            part.write_text(url, encoding="ascii")
            part.replace(url_file)
        else:
            say(url)
        gone = asyncio.create_task(_until_gone(socket))
        await asyncio.wait({gone, asyncio.create_task(ended.wait())}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        _remove(url_file)
        await server.stop()
        ignore(ENDING)


async def _until_gone(socket: Path) -> None:
    while await asyncio.to_thread(socket.exists):  # noqa: ASYNC110 - nothing tells that a file is gone
        await asyncio.sleep(1.0)


def _remove(url_file: Path | None) -> None:
    if url_file is not None:
        url_file.unlink(missing_ok=True)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway.ui")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--url-file", type=Path)
    arguments = parser.parse_args()
    os.umask(0o077)
    try:
        asyncio.run(serve(arguments.socket, arguments.port, arguments.url_file))
    except OSError as error:
        complain(f"simfleet ui: port {arguments.port}: {error.strerror}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
