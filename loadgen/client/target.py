"""Where requests go: the parsed URL, its address, its TLS; and the bytes of a request to it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from loadgen.client.proxies import Proxy, proxy_of
from loadgen.client.urls import without_user
from loadgen.errors import ScenarioError, TargetError
from loadgen.scenario.scenario import Tls


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved target; `address` is an IP, so no name is looked up during a run.

    Behind a proxy it is empty: the proxy knows the name.
    """

    url: str
    host: str
    port: int
    address: str
    base_path: str = ""
    tls: bool = False
    insecure: bool = False
    ca: str | None = None
    server_name: str | None = None
    proxy: Proxy | None = None

    @property
    def place(self) -> str:
        """Host and port, as a proxy is told them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header."""
        return self.place.rpartition(":")[0] if self.port == (443 if self.tls else 80) else self.place


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
    proxy = proxy_of(parts, port)
    tls = tls or Tls()
    return Target(
        url=url,
        host=parts.hostname,
        port=port,
        address=_resolve(url, parts.hostname, port) if proxy is None else "",
        base_path=parts.path.rstrip("/"),
        tls=secure,
        insecure=tls.insecure,
        ca=tls.ca,
        server_name=tls.server_name,
        proxy=proxy,
    )


def _resolve(url: str, host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TargetError(f"target {url}: cannot resolve {host!r}: {error.strerror}") from error
    found.sort(key=lambda each: each[0] != socket.AF_INET)  # "localhost" is ::1 too, where few servers listen
    return str(found[0][4][0])


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


class Renderer:
    """Makes the bytes of HTTP/1.1 requests to one target; a proxy is told the whole URL."""

    def __init__(self, target: Target) -> None:
        self._place = target.base_path
        self._common = {"host": target.authority, "content-type": "application/json"}
        if target.proxy is not None and not target.tls:
            self._place = f"http://{target.authority}{target.base_path}"
            if target.proxy.authorization is not None:
                self._common["proxy-authorization"] = target.proxy.authorization
        self._bare = {key: value for key, value in self._common.items() if key != "content-type"}

    def render(self, path: str, headers: Mapping[str, str], body: bytes, method: str = "POST") -> bytes:
        """One request; `headers` are lower case, and their host and content-type win over the target's."""
        common = self._common if body else self._bare
        fields = "".join([f"{key}: {value}\r\n" for key, value in {**common, **headers}.items()])
        if body or method not in ("GET", "HEAD"):
            fields += f"content-length: {len(body)}\r\n"
        return f"{method} {self._place}{path} HTTP/1.1\r\n{fields}\r\n".encode("latin-1") + body
