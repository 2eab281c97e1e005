"""Where requests go: the parsed URL, its address, its TLS; and the bytes of a request to it."""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import msgspec

from loadgen.errors import ScenarioError, TargetError
from loadgen.scenario.scenario import Tls


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved target; `address` is an IP, so no name is looked up during a run."""

    url: str
    host: str
    port: int
    address: str
    base_path: str = ""
    tls: bool = False
    insecure: bool = False
    ca: str | None = None
    server_name: str | None = None

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    """A request as headers and body, for wires that are not plain text."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes


def parse_target(url: str, tls: Tls | None = None) -> Target:
    """Check and resolve a URL; ScenarioError for a bad one, TargetError for a name that is unknown."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    url = without_user(url)
    try:
        port = parts.port
    except ValueError:
        raise ScenarioError(f"target {url!r}: the port is no number up to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ScenarioError(f"target {url!r} must look like http://HOST:PORT or https://HOST:PORT")
    secure = parts.scheme == "https"
    port = port or (443 if secure else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TargetError(f"target {url}: cannot resolve {parts.hostname!r}: {error.strerror}") from error
    found.sort(key=lambda each: each[0] != socket.AF_INET)  # "localhost" is ::1 too, where few servers listen
    tls = tls or Tls()
    return Target(
        url=url,
        host=parts.hostname,
        port=port,
        address=str(found[0][4][0]),
        base_path=parts.path.rstrip("/"),
        tls=secure,
        insecure=tls.insecure,
        ca=tls.ca,
        server_name=tls.server_name,
    )


def ssl_context(target: Target, alpn: tuple[str, ...] = ()) -> ssl.SSLContext | None:
    """The TLS settings of a target, None for plain http; TargetError when the CA file is unusable."""
    if not target.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=target.ca)
    except (OSError, ssl.SSLError) as error:
        raise TargetError(f"CA file {target.ca}: {error}") from error
    if target.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def without_user(url: str) -> str:
    """The URL without user name, password and query."""
    return re.sub(r"(://|^)[^/@]*@", r"\1", url.partition("?")[0])


def user_of(url: str) -> dict[str, str]:
    """The authorization header that the user name and password of a URL ask for, as clients send it."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


class Renderer:
    """Makes the bytes of HTTP/1.1 requests to one target."""

    def __init__(self, target: Target) -> None:
        self._base_path = target.base_path
        self._common = {"host": target.authority, "content-type": "application/json"}

    def render(self, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """One POST; `headers` are lower case, and their host and content-type win over the target's."""
        head = f"POST {self._base_path}{path} HTTP/1.1\r\n"
        fields = "".join([f"{key}: {value}\r\n" for key, value in {**self._common, **headers}.items()])
        return f"{head}{fields}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body
