"""`simfleet ui`, and the page of `simfleet up --ui`: the page's server as a process."""

from __future__ import annotations

import argparse
import os
import subprocess
import webbrowser
from pathlib import Path

from gateway.machine.processes import Process
from gateway.stack.statedir import StackDirectory, find_stack
from kit.children import python
from kit.console import say

READY_S = 20.0
URL_FILE = "ui.url"  # in the stack's directory: the address with its token, for its user alone


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `ui`."""
    parser.add_argument("--port", type=_port, default=0, help="port of the page on 127.0.0.1 (any free one)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 0 for a free one, not {text!r}")
    return int(text)


def ui(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or the stack's end; the exit code. One that is served already is shown."""
    directory = find_stack(arguments.stack)
    if (url := served_url(directory)) is not None:
        say(url)
        if arguments.open:
            webbrowser.open(url)
        return 0
    argv = python("-m", "gateway.ui", str(directory.socket), "--port", str(arguments.port))
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        if url := child.stdout.readline().strip():
            say(f"{url}\nthe page of stack {directory.name}; Ctrl-C ends it")
            if arguments.open:
                webbrowser.open(url)
        return child.wait()
    except KeyboardInterrupt:
        child.wait()
        return 0
    finally:
        child.terminate()


def served_url(directory: StackDirectory) -> str | None:
    """The address at which `up --ui` serves the page of a stack."""
    try:
        return (directory.path / URL_FILE).read_text(encoding="ascii") or None
    except OSError:
        return None


class PageProcess:
    """The page of a stack that `up` runs beside it."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self._url_file = directory / URL_FILE
        argv = python(
            *("-m", "gateway.ui", str(directory / "control.sock")),
            *("--port", str(port), "--url-file", str(self._url_file)),
        )
        self._process = Process("ui", argv, directory / "ui.log", dict(os.environ))

    async def start(self) -> str:
        """The address to open. Raises ProcessError when it does not come up."""
        await self._process.start()
        await self._process.until_ready(self._has_url, READY_S)
        return self._url_file.read_text(encoding="ascii")

    async def _has_url(self) -> bool:
        return self._url_file.exists()

    async def stop(self) -> None:
        await self._process.stop()
