"""Which proxy the environment names for a target: http_proxy, https_proxy, all_proxy and no_proxy.

Loopback is never asked for through a proxy, for it would be the proxy's own.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

import msgspec

from loadgen.client.urls import user_of, without_user
from loadgen.errors import ScenarioError, TargetError


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved proxy; `authorization` is the value of Proxy-Authorization, None where it wants none."""

    url: str
    address: str
    port: int
    tls: bool = False
    host: str = ""
    authorization: str | None = None


def proxy_of(target: SplitResult, port: int) -> Proxy | None:
    """The proxy for a target, None to go straight there.

    ScenarioError for a proxy that is not spoken, TargetError for one whose name is unknown.
    """
    given = getproxies_environment()
    url = given.get(target.scheme) or given.get("all")
    host = target.hostname or ""
    if not url or is_loopback(host) or _is_excepted(host, port, given.get("no", "")):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    shown = without_user(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ScenarioError(
            f"the environment's proxy {shown} must look like http://HOST:PORT; no_proxy={host} goes around it"
        )
    if parts.scheme == target.scheme == "https":
        raise ScenarioError(f"the environment's proxy {shown}: an https target needs an http:// proxy")
    try:
        number = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname, number, type=socket.SOCK_STREAM)
    except ValueError:
        raise ScenarioError(f"the environment's proxy {shown}: the port is no number up to 65535") from None
    except OSError as error:
        raise TargetError(f"the environment's proxy {shown}: cannot resolve it: {error.strerror}") from error
    return Proxy(
        url=shown,
        host=parts.hostname,
        address=str(found[0][4][0]),
        port=number,
        tls=parts.scheme == "https",
        authorization=user_of(url).get("authorization"),
    )


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_excepted(host: str, port: int, listed: str) -> bool:
    """Whether no_proxy has the host: *, a name or the end of one, an address, a network; also with a port."""
    return any(_names(item.strip().lower(), host, port) for item in listed.split(","))


def _names(item: str, host: str, port: int) -> bool:
    if item == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(item.strip("[]"), strict=False)
    except ValueError:  # a name on either side
        name, colon, number = item.rpartition(":")
        if colon and number.isdigit():
            return int(number) == port and _names(name, host, port)
        name = item.removeprefix("*").removeprefix(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
