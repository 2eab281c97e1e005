"""What the page is told, once a second: the stack, the requests that changed, a point of the timeline.

Made from what a stack writes anyway: its status, the access logs of its gateways, the decision logs and the
endpoint pages of its pickers. Nothing here does I/O except reading logs; `collect.py` asks.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.ui.rates import Rates
from gateway.ui.rows import Requests, read_access
from gateway.why.decision import decode
from gateway.why.names import common_prefix, short_names
from kit.logtail import Tail

Json = dict[str, Any]
EVENTS = 200
MOST_BYTES = 8 << 20  # of a log within one second; what is before that is left out, and counted as nothing
_ROLES = {"kv_producer": "prefill", "kv_consumer": "decode", "kv_both": "both"}


class Feed:
    """Everything that the page shows, in bounded memory."""

    def __init__(self) -> None:
        self.report: Json = {}
        self.requests = Requests()
        self.rates = Rates()
        self.events: deque[Json] = deque(maxlen=EVENTS)
        self.beliefs: dict[str, Json] = {}  # of pickers, by endpoint
        self.problem: str | None = None  # why the stack does not answer
        self._lines: list[str] = []  # events as the stack tells them
        self._access: dict[str, Tail] = {}
        self._decisions: dict[str, Tail] = {}
        self._tokens: dict[str, float] = {}
        self._pods: dict[str, str] = {}  # by host:port
        self._known: set[str] = set()  # logs that were read before

    def told(self, report: Json) -> list[Json]:
        """A status of the stack; the events that are new in it."""
        self.problem = None
        first = not self.report
        self.report = report
        lines = report.get("events", [])
        fresh = new_lines(self._lines, lines)
        self._lines = list(lines)
        # what happened before the page's server came has no time that is known
        made = [{"t": None if first else round(time.time(), 2), "text": line} for line in fresh]
        self.events.extend(made)
        pods = report.get("pods", ())
        self._pods = {f"{pod['address']}:{port}": pod["name"] for pod in pods for port in pod["ports"]}
        for gateway in report.get("gateways", ()):
            self._access.setdefault(gateway["access_log"], Tail(Path(gateway["access_log"])))
        for picker in report.get("pickers", ()):
            if log := picker.get("decision_log"):
                self._decisions.setdefault(log, Tail(Path(log)))
        return made

    def believed(self, picker: str, page: bytes) -> None:
        """The endpoints page of a picker: what it believes of each pod."""
        try:
            endpoints = json.loads(page)["endpoints"]
        except (ValueError, KeyError, TypeError):
            return
        for endpoint in endpoints:
            self.beliefs[endpoint["endpoint"]] = {
                "picker": picker,
                "waiting": endpoint["waiting"],
                "running": endpoint["running"],
                "kv": endpoint["kv_usage"],
                "adapters": endpoint["active_models"],
                "age_s": endpoint["age_s"],
                "inflight": endpoint["inflight_requests"],
            }

    def read(self) -> None:
        """What was written to the logs since the last call; decisions first, they are made before answers.

        What stood in a log before it was first read is listed, but is part of no second.
        """
        for log, tail in self._decisions.items():
            rates = self._rates_of(log)
            for line in tail.lines(MOST_BYTES):
                decision = decode(line)
                if decision is not None:
                    self.requests.decided(decision)
                    rates.decided(decision)
        for log, tail in self._access.items():
            gateway, ports = self._gateway(log)
            rates = self._rates_of(log)
            for line in tail.lines(MOST_BYTES):
                entry = read_access(line)
                if entry is not None:
                    port = (entry.authority or "").rpartition(":")[2]
                    rates.answered(gateway, ports.get(port, ports.get("", "")), entry)
                    self.requests.answered(gateway, entry, line, self._pods.get(entry.place))

    def _rates_of(self, log: str) -> Rates:
        """Where the lines of a log count; those that it had before are history."""
        if log in self._known:
            return self.rates
        self._known.add(log)
        return Rates()

    def _gateway(self, log: str) -> tuple[str, dict[str, str]]:
        """The gateway of an access log, and its listener by local port; "" is the only one, where it is."""
        for gateway in self.report.get("gateways", ()):
            if gateway["access_log"] == log:
                found = {str(urlsplit(x["url"]).port): str(x["port"]) for x in gateway["listeners"]}
                if len(gateway["listeners"]) == 1:
                    found[""] = str(gateway["listeners"][0]["port"])
                return f"{gateway['namespace']}/{gateway['name']}", found
        return "", {}

    def tick(self, events: Sequence[Json]) -> Json:
        """End a second; what to tell of it."""
        tokens = {p["name"]: float(p.get("generated_tokens", 0)) for p in self.report.get("pods", ())}
        made = sum(max(0.0, n - self._tokens.get(pod, n)) for pod, n in tokens.items())
        self._tokens = tokens
        return {
            "state": self.state(),
            "point": self.rates.turn(time.time(), self.report, made),
            "rows": self.requests.changed(),
            "events": list(events),
        }

    def hello(self) -> Json:
        """All that is known, for a page that has just been opened."""
        return {
            "state": self.state(),
            "points": list(self.rates.points),
            "rows": self.requests.all(),
            "events": list(self.events),
        }

    @property
    def shown(self) -> dict[str, str]:
        """Pods by name as the page shows them."""
        return short_names(pod["name"] for pod in self.report.get("pods", ()))

    def state(self) -> Json:
        """The stack, its pods beside what the picker believes of them, and what flows."""
        report = self.report
        return {
            "problem": self.problem,
            "name": report.get("name"),
            "url": report.get("url"),
            "started": report.get("started"),
            "prefix": common_prefix(pod["name"] for pod in report.get("pods", ())),
            "gateways": [
                {k: g.get(k) for k in ("name", "namespace", "url", "listeners", "admin_url", "curl")}
                for g in report.get("gateways", ())
            ],
            "pools": report.get("pools", []),
            "pickers": [
                {k: p.get(k) for k in ("name", "namespace", "pool", "kind", "state", "decision_log")}
                for p in report.get("pickers", ())
            ],
            "pods": [self._pod(pod) for pod in report.get("pods", ())],
            "notes": report.get("notes", []),
            "flow": self.rates.flow(),
        }

    def _pod(self, pod: Mapping[str, Any]) -> Json:
        shown = {k: pod.get(k) for k in ("name", "namespace", "pool", "workload", "state", "models")}
        numbers = ("running", "waiting", "kv_cache_usage", "prefix_cache_hit_rate", "adapters", "requests")
        places = [f"{pod['address']}:{port}" for port in pod["ports"]]
        return {
            **shown,
            **{k: pod[k] for k in numbers if k in pod},
            "places": places,
            "role": pod.get("role") or role_of(pod.get("args", ())),
            "believed": [self.beliefs[place] for place in places if place in self.beliefs],
        }


def new_lines(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """What was appended to a list that loses its oldest lines when it is full."""
    for start in range(len(before) + 1):
        kept = before[start:]
        if list(after[: len(kept)]) == list(kept):
            return list(after[len(kept) :])
    return list(after)


def role_of(arguments: Sequence[str]) -> str | None:
    """prefill or decode, as a server's --kv-transfer-config says; None for one that does both by itself."""
    for word, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == "--kv-transfer-config":
            try:
                return _ROLES.get(json.loads(value if equals else following)["kv_role"])
            except (ValueError, KeyError, TypeError):
                return None
    return None
