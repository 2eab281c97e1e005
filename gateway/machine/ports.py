"""Free ports and loopback addresses of this machine."""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Iterable, Iterator, Sequence

from gateway.errors import StackError

# Where free ports are looked for: below the ephemeral range, from which outgoing connections are given.
FIRST, LAST = 18000, 32767

# How many pods can have an address of their own: as many as `loopback_addresses` gives.
MAX_ADDRESSES = 254 + 255 * 254 - 1

_given: set[int] = set()
_held: dict[tuple[str, int], socket.socket] = {}  # as long as this process lives


def is_free(host: str, port: int) -> bool:
    """Whether a listener could bind host:port at this moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
                return False
            raise
    return True


def free_port(host: str = "127.0.0.1", preferred: Sequence[int] = ()) -> int:
    """A free port, one of `preferred` if possible; never the same twice in one process.

    The walk starts at a place that the process id decides, so that stacks starting together seldom meet.
    StackError when there is none.
    """
    span = LAST - FIRST + 1
    start = os.getpid() * 131 % span
    walk = (FIRST + (start + i) % span for i in range(span))
    for port in itertools.chain(preferred, walk):
        if port not in _given and is_free(host, port) and hold(host, port):
            _given.add(port)
            return port
    raise StackError(f"no free port between {FIRST} and {LAST} on {host}")


def hold(host: str, port: int) -> bool:
    """Keep a port from the stacks of other processes; False where one of them has it already.

    A port that is free now may be taken when a program gets to it, and two Envoys would then share it by
    SO_REUSEPORT: each request would go to either.
    """
    if (host, port) in _held:
        return True
    if (claim := _claim(host, port)) is None:
        return False
    _held[host, port] = claim
    return True


def reserve(ports: Iterable[int]) -> None:
    """`free_port` gives none of these: somebody has asked for them by number."""
    _given.update(ports)


def loopback_addresses() -> Iterator[str]:
    """127.0.0.2, .3, ... as pods get them; .0 and .255 are left out."""
    for third in range(256):
        for fourth in range(2 if third == 0 else 1, 255):
            yield f"127.0.{third}.{fourth}"


def _claim(address: str, port: int) -> socket.socket | None:
    """A UDP socket on a pod's or gateway's address and port; None when another stack has it.

    It keeps the address for a pod that is down (killed, restarting) or a gateway that is not up yet from the
    stacks of other processes, and the kernel gives it up with the process.
    """
    claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        claim.bind((address, port))
    except OSError:
        claim.close()
        return None
    return claim


class AddressPool:
    """Gives each pod an address of its own on which its ports are free."""

    def __init__(self) -> None:
        self._used: dict[str, socket.socket] = {}

    def take(self, ports: Sequence[int]) -> str:
        """The first address that no pod has and on which no other process listens on these ports.

        StackError when there is none.
        """
        for address in loopback_addresses():
            if address in self._used or not all(is_free(address, port) for port in ports):
                continue
            if (claim := _claim(address, ports[0])) is not None:
                self._used[address] = claim
                return address
        raise StackError(_why_none(ports))

    def release(self, address: str) -> None:
        if (claim := self._used.pop(address, None)) is not None:
            claim.close()

    def close(self) -> None:
        """Give every address back."""
        for address in list(self._used):
            self.release(address)


def _why_none(ports: Sequence[int]) -> str:
    blocked = [port for port in ports if not is_free("127.0.0.2", port)]
    listed = ", ".join(map(str, blocked or ports))
    if any(port < 1024 for port in blocked):
        return f"ports {listed} below 1024 cannot be bound without privilege: use other targetPorts"
    return (
        f"port {listed} is taken on every loopback address: a process listens on 0.0.0.0:{listed}; "
        f"find it with `ss -ltnp 'sport = :{(blocked or list(ports))[0]}'` and stop it"
    )
