"""One request through a running stack, with all that Envoy says about it."""

from __future__ import annotations

import http.client
import json
import shlex
import time
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.doctor.evidence import Evidence, from_log_line
from gateway.errors import ControlError

MARK = "simfleet-doctor"
TIMEOUT_S = 10.0
LOG_WAIT_S = 3.0


def examine(gateway: Mapping[str, Any]) -> Evidence:
    """Send the gateway's example request and gather the evidence. Raises ControlError where it has none.

    `gateway` is an entry of `gateways` in `simfleet ps --format json`.
    """
    if not gateway.get("curl"):
        raise ControlError(f"gateway {gateway['name']} has no route to a pool that a completion fits")
    url, headers, body = read_curl(gateway["curl"])
    mark = uuid.uuid4().hex
    before = _streams(gateway["admin_url"])
    started = time.monotonic()
    status, answer_headers, answer = _post(f"{url}?{MARK}={mark}", headers, body)
    seconds = time.monotonic() - started
    entry = _log_line(Path(gateway["access_log"]), mark)
    evidence = from_log_line(entry) if entry else Evidence()
    after = _streams(gateway["admin_url"])
    return replace(
        evidence,
        status=status or evidence.status,
        body=answer,
        headers=answer_headers,
        seconds=seconds,
        picker_streams=None if before is None or after is None else after - before,
    )


def read_curl(command: str) -> tuple[str, dict[str, str], str]:
    """URL, headers and body of a `curl -s -i URL -H ... -d ...` line."""
    words = shlex.split(command)
    headers: dict[str, str] = {}
    url = body = ""
    i = 1
    while i < len(words):
        if words[i] in ("-H", "-d"):
            name, _, value = words[i + 1].partition(":")
            if words[i] == "-H":
                headers[name] = value.strip()
            else:
                body = words[i + 1]
            i += 1
        elif not words[i].startswith("-"):
            url = words[i]
        i += 1
    return url, headers, body


def _post(url: str, headers: Mapping[str, str], body: str) -> tuple[int, dict[str, str], str]:
    """Status 0 and the reason as body where no answer came."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    sent = {"Content-Type": "application/json", **headers}
    try:
        connection.request("POST", f"{parts.path}?{parts.query}", body.encode(), sent)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, text
    except (OSError, http.client.HTTPException) as error:
        return 0, {}, f"no answer: {error or type(error).__name__}"
    finally:
        connection.close()


def _log_line(path: Path, mark: str) -> dict[str, Any] | None:
    """The access log entry of the marked request, once Envoy has flushed it."""
    end = time.monotonic() + LOG_WAIT_S
    while True:
        for line in reversed(path.read_text(errors="replace").splitlines() if path.exists() else []):
            if mark in line:
                entry: dict[str, Any] = json.loads(line)
                return entry
        if time.monotonic() > end:
            return None
        time.sleep(0.05)


def _streams(admin_url: str) -> int | None:
    """ext_proc streams that Envoy has opened so far; None where its admin port does not answer."""
    parts = urllib.parse.urlsplit(admin_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)
    try:
        connection.request("GET", "/stats?filter=ext_proc.streams_started")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return sum(int(line.rpartition(":")[2]) for line in text.splitlines() if ":" in line)
