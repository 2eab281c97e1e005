"""The name of a running stack as a claim that no deletion of files can end.

An abstract Unix socket: the kernel holds it as long as the process lives, wherever the stack's directory is.
Where there are none (not Linux), the lock in the directory is the only claim.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
import sys
from pathlib import Path

from gateway.stack.owned import place

_PEER = struct.Struct("3i")  # pid, uid, gid


def claim(path: Path) -> socket.socket | None:
    """Hold the name of the stack at `path`; None on systems without such sockets. OSError when it is held."""
    if sys.platform != "linux":
        return None
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(_name(path))
        held.listen(socket.SOMAXCONN)
    except OSError:
        held.close()
        raise
    return held


def holder(path: Path) -> int | None:
    """The pid that holds the name of the stack at `path`; 0 when it cannot be told, None when nobody does."""
    if sys.platform != "linux":
        return None
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(_name(path))
            return int(_PEER.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0])
        except BlockingIOError:  # asked so often that its queue is full: nobody takes what is in it
            return 0
        except OSError:
            return None


def _name(path: Path) -> bytes:
    """The same path in another container is another stack, even where the two share a network."""
    mounts = ""
    with contextlib.suppress(OSError):
        mounts = os.readlink("/proc/self/ns/mnt")
    return b"\0simfleet-" + hashlib.sha256(f"{mounts}:{place(path)}".encode()).hexdigest()[:40].encode()
