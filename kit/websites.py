"""Requests that a web page makes to a local port in its reader's name, and how they are told.

A page of any site may send simple requests to loopback (cross-site request forgery), and a name of its own
that resolves to loopback lets it read the answers as well (DNS rebinding). The first has an Origin that is
not the server's, the second a Host that is a name: others call local ports by address or as localhost.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

Headers = Iterable[tuple[bytes, bytes]]


def why_foreign(headers: Headers, *, any_host: bool = False) -> str | None:
    """Why a request with these headers (names in lower case) may be a web page's; None where it is none.

    `any_host`: the server is called by names, so its callers are known by something else.
    """
    given = {name: value.decode("latin-1") for name, value in headers if name in (b"host", b"origin")}
    host, origin = given.get(b"host", ""), given.get(b"origin")
    if host and not any_host and not _is_local(host):
        return f"Host is {host!r}; call this port by its address or as localhost"
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return f"Origin is {origin!r}; web pages may not call this port"
    return None


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
