"""What one request can do to others: `python -m bench.attacks [--gap 50] [--target URL] [--cases FILE]`.

Sends every row of --cases (a line of JSON each: name, path, body or body_base64; by default
../shared/cases/attacks.jsonl where that is, else none) and variants of each kind, one after the other, to a
`simfleet serve`, to a `simfleet fleet` of two, and to --target. Beside each, a client in a process of its own
asks /health of the same replica 20 times a second. The table: name, status, seconds to the answer, longest
gap of /health in milliseconds (how long one of its questions waited), megabytes that the server grew.

Exit code 1: a 5xx or no answer, a gap above --gap (50 ms; 100 ms where CI is set), or growth of more than 50
MB that stays. A gap counts if it comes again in each of three tries: the machine has gaps of its own.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.entry import ROOT, parser
from bench.server import free_port
from kit.children import python

CASES = ROOT.parent / "shared/cases/attacks.jsonl"
INTERVAL_S = 0.05
TRIES = 3
GROWTH_MB = 50
ANSWER_S = 60
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_PROBE = """
import http.client, sys, time
host, port, interval = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
connection = http.client.HTTPConnection(host, port, timeout=120)
due = time.monotonic()
while True:
    time.sleep(max(0.0, due - time.monotonic()))
    asked = time.monotonic()
    connection.request("GET", "/health")
    connection.getresponse().read()
    print(asked, time.monotonic(), flush=True)
    due = max(due + interval, time.monotonic())
"""


@dataclass(frozen=True)
class Attack:
    """One request."""

    name: str
    path: str
    body: bytes


@dataclass(frozen=True)
class Target:
    """A server; `pid` None: not one of ours."""

    name: str
    host: str
    port: int
    pid: int | None


@dataclass(frozen=True)
class Outcome:
    """What came of one attack. `status` 0: no answer."""

    status: int
    seconds: float
    gap_ms: float
    growth_mb: float


def read_cases(path: Path) -> Iterator[Attack]:
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        body = base64.b64decode(row["body_base64"]) if "body_base64" in row else row["body"].encode()
        yield Attack(row["name"], row["path"], body)


def _chat(name: str, **fields: Any) -> Attack:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return Attack(name, CHAT, json.dumps(body).encode())


def _completion(name: str, **fields: Any) -> Attack:
    return Attack(name, COMPLETIONS, json.dumps({"model": "m", "prompt": "hi", **fields}).encode())


def _schema(name: str, schema: Any, **fields: Any) -> Attack:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return _chat(name, response_format=wanted, **fields)


def variants() -> Iterator[Attack]:
    """More of each kind."""
    yield from _schemas()
    for pattern in ("a{1000000000}", "(x+x+){20,}y", "([a-z]{1000}){1000}", "((){60000}){60000}", "(" * 300):
        yield _chat(f"regex {pattern[:20]}", structured_outputs={"regex": pattern})
        yield _schema(f"pattern {pattern[:20]}", {"type": "string", "pattern": pattern}, max_tokens=50)
        yield _completion(f"guided_regex {pattern[:20]}", guided_regex=pattern, n=100, temperature=1)
    choices = ["x" * 100_000] * 40
    yield _chat("choice of 100 kB", structured_outputs={"choice": choices}, n=1000, max_tokens=5)
    nested = "[" * 5000 + "]" * 5000
    yield Attack("deep body", CHAT, b'{"messages": ' + nested.encode() + b"}")
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": nested}}
    messages = [{"role": "assistant", "tool_calls": [call]}, {"role": "user", "content": "x"}]
    yield _chat("deep arguments", messages=messages)
    yield _chat("tool_calls: true", messages=[{"role": "user", "content": "x", "tool_calls": True}])
    yield _completion("1000 prompts x n=16384", prompt=["a"] * 1000, n=16384, max_tokens=5)
    yield _completion("1000 prompts x n=16", prompt=["a"] * 1000, n=16, max_tokens=5)
    yield _completion("a million prompts", prompt=["a"] * 1_000_000, max_tokens=1)
    yield _completion("10 000 stop strings", stop=[f"stop{i}" for i in range(10_000)], max_tokens=500)
    yield _completion("n=16384 stream", n=16384, max_tokens=5, stream=True)
    yield _completion("n=16384 with a schema", n=16384, max_tokens=20, structured_outputs={"json": {}})
    yield _chat("n=16384 chat logprobs", n=16384, max_tokens=5, logprobs=True, top_logprobs=5)
    yield _completion("prompt_logprobs", prompt=list(range(300, 5000)), prompt_logprobs=20, max_tokens=1)
    yield _completion("echo logprobs", prompt=list(range(300, 5000)), echo=True, logprobs=20, max_tokens=1)
    for path in (CHAT, COMPLETIONS, "/v1/responses", "/v1/messages", "/tokenize", "/detokenize"):
        yield Attack(f"UTF-8 {path}", path, b'{"model": "m", "prompt": "\xff\xfe"}')
        yield Attack(f"digits {path}", path, b'{"model": "m", "n": ' + b"9" * 5000 + b"}")


def _schemas() -> Iterator[Attack]:
    doubling = {f"l{i}": {"allOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 2} for i in range(40)}
    branches = {f"l{i}": {"anyOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 9} for i in range(40)}
    end = {"l40": {"type": "null"}}
    yield _schema("allOf doubling", {"$defs": {**doubling, **end}, "$ref": "#/$defs/l0"})
    yield _schema("anyOf times nine", {"$defs": {**branches, **end}, "$ref": "#/$defs/l0"})
    for tokens in (5, 2000):
        for key, schema in {
            "minLength": {"type": "string", "minLength": 10**9},
            "minItems": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
            "uniqueItems": {"type": "array", "minItems": 3000, "uniqueItems": True},
            "minProperties": {"type": "object", "minProperties": 10**9},
            "required": {"type": "object", "required": [f"k{i}" for i in range(20_000)]},
            "enum": {"enum": list(range(100_000))},
            "properties": {"properties": {f"k{i}": {} for i in range(20_000)}},
        }.items():
            yield _schema(f"{key}, {tokens} tokens", schema, max_tokens=tokens)
            function = {
                "name": "f",
                "parameters": {"type": "object", "required": ["a"], "properties": {"a": schema}},
            }
            choice = {"type": "function", "function": {"name": "f"}}
            tools = [{"type": "function", "function": function}]
            yield _chat(f"tool {key}, {tokens} tokens", tools=tools, tool_choice=choice, max_tokens=tokens)


class Probe:
    """/health in a process of its own, with the times of every question and its answer."""

    def __init__(self, target: Target) -> None:
        command = python("-c", _PROBE, target.host, str(target.port), str(INTERVAL_S))
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._times: list[tuple[float, float]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            asked, answered = map(float, line.split())
            self._times.append((asked, answered))

    def settle(self) -> None:
        """Until two more questions have been asked and answered, 60 s at most."""
        wanted, deadline = len(self._times) + 2, time.monotonic() + 60
        while len(self._times) < wanted and time.monotonic() < deadline:
            time.sleep(0.005)

    def worst_ms(self, begun: float) -> float:
        """The longest time that a question since `begun` waited."""
        return max((end - asked for asked, end in self._times if end >= begun), default=0.0) * 1e3

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def rss_mb(pid: int | None) -> float:
    if pid is None:
        return 0.0
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def send(target: Target, attack: Attack) -> int:
    """The status of the answer, read to its end; 0: none came."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=ANSWER_S)
    try:
        connection.request("POST", attack.path, attack.body, {"content-type": "application/json"})
        response = connection.getresponse()
        while response.read(1 << 16):
            pass
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def strike(target: Target, attack: Attack, probe: Probe) -> Outcome:
    probe.settle()
    before, begun = rss_mb(target.pid), time.monotonic()
    status = send(target, attack)
    seconds = time.monotonic() - begun
    probe.settle()
    return Outcome(status, seconds, probe.worst_ms(begun), rss_mb(target.pid) - before)


def best_of(target: Target, attack: Attack, probe: Probe, gap_ms: float) -> Outcome:
    """The least gap of a few tries; growth that stays is what the last of them still adds."""
    first = found = strike(target, attack, probe)
    tries = 1
    while tries < TRIES and (found.gap_ms > gap_ms or found.growth_mb > GROWTH_MB):
        again = strike(target, attack, probe)
        status = max(first.status, again.status) if again.status else 0
        gap = min(found.gap_ms, again.gap_ms)
        found = Outcome(status, again.seconds, gap, again.growth_mb)
        tries += 1
    return found


def attack_all(target: Target, attacks: Sequence[Attack], gap_ms: float) -> int:
    """Prints the table; the number of failures."""
    print(f"\n{target.name}\n{'attack':44} {'status':>6} {'answer s':>9} {'gap ms':>8} {'RSS MB':>7}")
    failures = 0
    probe = Probe(target)
    try:
        for attack in attacks:
            outcome = best_of(target, attack, probe, gap_ms)
            bad = not 0 < outcome.status < 500 or outcome.gap_ms > gap_ms or outcome.growth_mb > GROWTH_MB
            failures += bad
            print(
                f"{attack.name[:44]:44} {outcome.status:>6} {outcome.seconds:>9.3f} {outcome.gap_ms:>8.1f}"
                f" {outcome.growth_mb:>7.1f}{'  BAD' if bad else ''}",
                flush=True,
            )
    finally:
        probe.close()
    return failures


@contextmanager
def running(command: str) -> Iterator[Target]:
    """`simfleet serve`, or `fleet` of two, on a free port."""
    port, host = free_port(), "127.0.0.1" if command == "serve" else "127.0.0.2"
    flags = ["--model", "m", "--max-model-len", "8192", "--latency", "zero", "--port", str(port)]
    flags += ["--tool-call-parser", "hermes", "--disable-log-stats"]
    flags += ["--host", host] if command == "serve" else ["--replicas", "2"]
    process = subprocess.Popen(
        python("-m", "simulator", command, *flags),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    target = Target(f"simfleet {command}", host, port, process.pid)
    try:
        deadline = time.monotonic() + 30
        while send(target, Attack("ready", "/ping", b"")) != 200:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"simfleet {command} did not start")
            time.sleep(0.05)
        yield target
    finally:
        process.kill()
        process.wait()


def main() -> int:
    options = parser(__doc__)
    limit = 100.0 if os.environ.get("CI") else 50.0
    options.add_argument("--gap", type=float, default=limit, help="longest gap of /health in ms")
    options.add_argument("--target", help="also attack this server, http://HOST:PORT")
    options.add_argument("--cases", type=Path, default=CASES, help="rows of name, path, body or body_base64")
    options.add_argument("--only", default="", help="regular expression over names")
    options.add_argument("--command", choices=("serve", "fleet"), action="append", help="default: both")
    arguments = options.parse_args()
    recorded = list(read_cases(arguments.cases)) if arguments.cases.exists() else []
    attacks = [a for a in (*recorded, *variants()) if re.search(arguments.only, a.name)]
    failures = 0
    for command in arguments.command or ("serve", "fleet"):
        with running(command) as target:
            failures += attack_all(target, attacks, arguments.gap)
    if arguments.target:
        url = urllib.parse.urlsplit(arguments.target)
        target = Target(arguments.target, url.hostname or "127.0.0.1", url.port or 80, None)
        failures += attack_all(target, attacks, arguments.gap)
    print(f"\n{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
