"""How a running stack is asked: one JSON object per line over a Unix socket, one line in answer.

A request is `{"do": NAME, ...arguments}`, an answer `{"ok": RESULT}` or `{"error": MESSAGE}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from gateway.errors import ControlError, GatewayError

Json = dict[str, Any]
Command = Callable[..., Awaitable[Any]]
_LIMIT = 16 * 1024 * 1024  # bytes of an answer: the status of thousands of pods
_REQUEST_LIMIT = 256 * 1024
IDLE_S = 60.0  # how long a connection may stand between requests; whoever asks does it at once


class _Answer(msgspec.Struct):
    ok: Any = None
    error: str | None = None


class ControlServer:
    """Serves the commands of one stack until it is closed."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._own: os.stat_result | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=_REQUEST_LIMIT)
        self._own = self._path.stat()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()
        with contextlib.suppress(OSError):  # the directory may be gone, or another stack's
            if self._own is not None and os.path.samestat(self._path.lstat(), self._own):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            while line := await _next_line(reader):
                answer = await self._answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the asker left, or the stack ends: the connection closes below either way
        finally:
            writer.close()
            if task is not None:
                self._connections.discard(task)

    async def _answer(self, line: bytes) -> Json:
        """The answer to one line. Every line has one, or the asker would take the stack for dead."""
        try:
            request = json.loads(line)
            do = request.pop("do")
            command = self._commands[do]
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            known = ", ".join(self._commands)
            shown = line[:200].decode(errors="replace").strip()
            return {"error": f"not a request: {shown}; a request is an object with `do`, one of {known}"}
        try:
            arguments = _typed(command, request)
        except (TypeError, msgspec.ValidationError) as error:
            return {"error": f"{do}: wrong arguments: {error}"}
        try:
            return {"ok": await command(**arguments)}
        except GatewayError as error:
            return {"error": str(error)}
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return {"error": f"{do} was not carried through: {where}{error.strerror or error}"}
        except Exception as error:  # noqa: BLE001 - whatever it is, the stack goes on and the asker is told
            return {"error": f"{do} failed: {type(error).__name__}: {error}"}


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    """The next request; empty at the end, which a line beyond the limit and a long silence are as well."""
    try:
        return await asyncio.wait_for(reader.readline(), IDLE_S)
    except (ValueError, TimeoutError):
        return b""


def _typed(command: Command, arguments: Json) -> Json:
    """The arguments as the command's annotations want them.

    Raises TypeError for missing and unknown ones, ValidationError for those of another type.
    """
    inspect.signature(command).bind(**arguments)
    hints = get_type_hints(command)
    found = {}
    for name, value in arguments.items():
        try:
            found[name] = msgspec.convert(value, hints.get(name, Any))
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(f"{name} is {value!r}: {error}") from None
    return found


def ask(path: Path, do: str, *, timeout_s: float = 120.0, **arguments: Any) -> Any:
    """Ask the stack whose socket is `path`. Raises ControlError when it refuses or does not answer."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline(_LIMIT)
        except TimeoutError as error:
            raise ControlError(f"the stack did not answer {do!r} within {timeout_s:g} s") from error
        except OSError as error:
            raise ControlError(f"the stack cannot be asked: {path}: {error.strerror or error}") from error
    if not line:
        raise ControlError(f"the stack ended while it was asked to {do}")
    try:
        answer = msgspec.json.decode(line, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ControlError(f"{path}: what answers there is no stack") from None
    if answer.error is not None:
        raise ControlError(answer.error)
    return answer.ok
