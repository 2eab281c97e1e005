"""One HTTP request as curl would send it, and its answer."""

from __future__ import annotations

import http.client
import shlex
import ssl
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errors import UsageError

_FORM = "application/x-www-form-urlencoded"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Request:
    """What `curl -X method -H header -d body url` would send; the method follows from the body, too."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    method: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """Host and port. Raises UsageError for a URL that has none."""
        parts = urllib.parse.urlsplit(self.url)
        try:
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError as error:
            raise UsageError(f"{self.url}: {error}") from error
        if not parts.hostname or not port:
            raise UsageError(f"{self.url}: not a URL such as http://127.0.0.1:8080/v1/completions")
        return parts.hostname, port

    def with_query(self, name: str, value: str) -> Request:
        parts = urllib.parse.urlsplit(self.url)
        query = f"{parts.query}&{name}={value}" if parts.query else f"{name}={value}"
        url = urllib.parse.urlunsplit(parts._replace(query=query, path=parts.path or "/"))
        return Request(url, self.headers, self.body, self.method)


@dataclass(frozen=True)
class Answer:
    """Status 0 where none came or it broke off; then `body` says what happened."""

    status: int
    headers: Mapping[str, str]
    body: str
    seconds: float


def read_headers(texts: Sequence[str]) -> dict[str, str]:
    """Headers as `Name: value`. Raises UsageError."""
    headers = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"header {text!r}: must be 'Name: value'")
        headers[name.strip()] = value.strip()
    return headers


def read_curl(command: str) -> Request:
    """The request of a `curl -s -i URL -H ... -d ...` line as `simfleet up` prints it."""
    words = shlex.split(command)[1:]
    headers, url, body = [], "", None
    while words:
        word = words.pop(0)
        if word == "-H":
            headers.append(words.pop(0))
        elif word == "-d":
            body = words.pop(0)
        elif not word.startswith("-"):
            url = word
    return Request(url, read_headers(headers), body)


def send(request: Request, timeout_s: float) -> Answer:
    """Send it and read the whole answer; `timeout_s` is for each wait, as a client's would be."""
    host, port = request.place
    parts = urllib.parse.urlsplit(request.url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    headers = dict(request.headers)
    if request.body is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = _FORM  # curl's choice for -d
    method = request.method or ("GET" if request.body is None else "POST")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    started = time.monotonic()
    try:
        body = None if request.body is None else request.body.encode()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, text, time.monotonic() - started)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        return Answer(0, {}, f"no answer: {why}", time.monotonic() - started)
    finally:
        connection.close()
