"""What one request can do to others: `python -m bench.attacks [--gap 50] [--target URL] [--cases FILE]`.

Sends every row of --cases (a line of JSON each: name, path, body or body_base64; by default
../shared/cases/attacks.jsonl where that is, else none) and variants of each kind, one after the other, to a
`simfleet serve`, to a `simfleet fleet` of two, to a pod of a `simfleet up`, and to --target. Beside each, a
client in a process of its own asks /health of the same replica 20 times a second. The table: name, status,
seconds to the answer, longest gap of /health in milliseconds (how long one of its questions waited), the same
in the server's own CPU time (how long it worked for others while the question waited), megabytes that the
server grew. At the end: seconds from SIGTERM to the end of the process.

On a machine that works for nobody else the two times are the same, since the server has one thread; on
another the first has the machine's gaps in it, and --loaded judges by the second alone. The asker runs before
all others where it may (as root), so that the server's work is not counted while an answer lies unread.

Exit code 1: a 5xx or no answer, a time above --gap (50 ms; 100 ms where CI is set), growth of more than 50 MB
that stays, or more than 2 s from SIGTERM to the end. What is too long counts if it comes again in each of
five tries.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.attack_bodies import Attack, completion, read_cases, variants
from bench.entry import ROOT, parser
from bench.server import free_port
from kit.children import python

CASES = ROOT.parent / "shared/cases/attacks.jsonl"
INTERVAL_S = 0.05
TRIES = 5
GROWTH_MB = 50
ANSWER_S = 60
END_S = 2.0
SERVE = (
    *("--model", "m", "--max-model-len", "8192", "--latency", "zero"),
    *("--tool-call-parser", "hermes", "--disable-log-stats"),
)
MANIFESTS = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: m}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: m}}}}
  template:
    metadata: {{labels: {{app: m}}}}
    spec:
      containers: [{{name: vllm, args: {json.dumps(SERVE)}, ports: [{{containerPort: 8000}}]}}]
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {{name: m}}
spec:
  selector: {{matchLabels: {{app: m}}}}
  targetPorts: [{{number: 8000}}]
  endpointPickerRef: {{name: none, port: {{number: 9002}}}}
"""
_PROBE = """
import contextlib, http.client, os, sys, time
with contextlib.suppress(OSError, AttributeError):  # else a busy machine keeps the answer from the asker
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
host, port, interval, pid = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
clock = (~pid << 3) | 2  # Linux: the CPU time of another process (CPUCLOCK_SCHED of its id)
worked = (lambda: time.clock_gettime(clock)) if pid else (lambda: 0.0)
connection = http.client.HTTPConnection(host, port, timeout=120)
due = time.monotonic()
while True:
    time.sleep(max(0.0, due - time.monotonic()))
    asked, before = time.monotonic(), worked()
    connection.request("GET", "/health")
    connection.getresponse().read()
    print(asked, time.monotonic(), worked() - before, flush=True)
    due = max(due + interval, time.monotonic())
"""


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
    cpu_ms: float
    growth_mb: float

    def is_bad(self, limit_ms: float, loaded: bool) -> bool:
        longest = self.cpu_ms if loaded else max(self.gap_ms, self.cpu_ms)
        return not 0 < self.status < 500 or longest > limit_ms or self.growth_mb > GROWTH_MB


class Probe:
    """/health in a process of its own, with the times of every question and its answer."""

    def __init__(self, target: Target) -> None:
        where = target.host, str(target.port), str(INTERVAL_S), str(target.pid or 0)
        self._process = subprocess.Popen(python("-c", _PROBE, *where), stdout=subprocess.PIPE, text=True)
        self._times: list[tuple[float, float, float]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            asked, answered, worked = map(float, line.split())
            self._times.append((asked, answered, worked))

    def settle(self) -> None:
        """Until two more questions have been asked and answered, 60 s at most."""
        wanted, deadline = len(self._times) + 2, time.monotonic() + 60
        while len(self._times) < wanted and time.monotonic() < deadline:
            time.sleep(0.005)

    def worst_ms(self, begun: float) -> tuple[float, float]:
        """The longest that a question since `begun` waited, and the most that the server did meanwhile."""
        found = [(end - asked, worked) for asked, end, worked in self._times if end >= begun]
        waits, works = zip(*found, strict=True) if found else ((0.0,), (0.0,))
        return max(waits) * 1e3, max(works) * 1e3

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
    return Outcome(status, seconds, *probe.worst_ms(begun), rss_mb(target.pid) - before)


def best_of(target: Target, attack: Attack, probe: Probe, gap_ms: float, loaded: bool) -> Outcome:
    """The least times of a few tries; growth that stays is what the last of them still adds."""
    found = strike(target, attack, probe)
    for _ in range(TRIES - 1):
        if not found.is_bad(gap_ms, loaded) or not found.status:
            break
        again = strike(target, attack, probe)
        found = Outcome(
            max(found.status, again.status) if again.status else 0,
            again.seconds,
            min(found.gap_ms, again.gap_ms),
            min(found.cpu_ms, again.cpu_ms),
            again.growth_mb,
        )
    return found


def attack_all(target: Target, attacks: Sequence[Attack], gap_ms: float, loaded: bool) -> int:
    """Prints the table; the number of failures."""
    columns = f"{'status':>6} {'answer s':>9} {'gap ms':>8} {'CPU ms':>8} {'RSS MB':>7}"
    print(f"\n{target.name}\n{'attack':44} {columns}")
    failures = 0
    probe = Probe(target)
    try:
        for attack in attacks:
            outcome = best_of(target, attack, probe, gap_ms, loaded)
            bad = outcome.is_bad(gap_ms, loaded)
            failures += bad
            print(
                f"{attack.name[:44]:44} {outcome.status:>6} {outcome.seconds:>9.3f} {outcome.gap_ms:>8.1f}"
                f" {outcome.cpu_ms:>8.1f} {outcome.growth_mb:>7.1f}{'  BAD' if bad else ''}",
                flush=True,
            )
    finally:
        probe.close()
    return failures


@contextmanager
def running(command: str) -> Iterator[Target]:
    """`simfleet serve`, or `fleet` of two, on a free port."""
    port, host = free_port(), "127.0.0.1" if command == "serve" else "127.0.0.2"
    own = ["--host", host] if command == "serve" else ["--replicas", "2"]
    started = python("-m", "simulator", command, *SERVE, "--port", str(port), *own)
    process = subprocess.Popen(started, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    target = Target(f"simfleet {command}", host, port, process.pid)
    try:
        await_ready(target)
        yield target
    finally:
        process.kill()
        process.wait()


@contextmanager
def stack() -> Iterator[Target]:
    """A pod of `simfleet up`, whose process holds all pods."""
    simfleet = python("-c", "import sys; from gateway.cli import main; sys.exit(main())")
    with tempfile.TemporaryDirectory(prefix="attacks") as state:
        environment = {**os.environ, "SIMFLEET_STATE_DIR": state}

        def run(*command: str, text: str = "") -> str:
            return subprocess.run(
                [*simfleet, *command], env=environment, cwd=ROOT, check=True, text=True, input=text,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            ).stdout  # fmt: skip

        run("up", "--name", "attacks", "--detach", "-f", "-", text=MANIFESTS)
        try:
            found = json.loads(run("ps", "--format", "json"))["stacks"][0]
            url = urllib.parse.urlsplit(found["pods"][0]["urls"][0])
            yield Target("a pod of simfleet up", url.hostname or "", url.port or 80, found["pid"])
        finally:
            subprocess.run([*simfleet, "down", "--name", "attacks"], env=environment, cwd=ROOT, check=False)


def end_s(target: Target) -> float:
    """Seconds from SIGTERM to the end of the process, in the midst of the longest of answers."""
    assert target.pid is not None
    longest = completion("", n=16384, max_tokens=100, ignore_eos=True, stream=True)
    threading.Thread(target=send, args=(target, longest), daemon=True).start()
    time.sleep(0.5)
    begun = time.monotonic()
    os.kill(target.pid, signal.SIGTERM)
    while is_alive(target.pid) and time.monotonic() - begun < ANSWER_S:
        time.sleep(0.005)
    return time.monotonic() - begun


def is_alive(pid: int) -> bool:
    """Whether it runs; what has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def await_ready(target: Target) -> None:
    deadline = time.monotonic() + 30
    while send(target, Attack("ready", "/ping", b"")) != 200:
        if time.monotonic() > deadline:
            raise SystemExit(f"{target.name} did not start")
        time.sleep(0.05)


def main() -> int:
    options = parser(__doc__)
    limit = 100.0 if os.environ.get("CI") else 50.0
    options.add_argument("--gap", type=float, default=limit, help="longest gap of /health in ms")
    options.add_argument("--loaded", action="store_true", help="judge by the server's CPU time alone")
    options.add_argument("--target", help="also attack this server, http://HOST:PORT")
    options.add_argument("--cases", type=Path, default=CASES, help="rows of name, path, body or body_base64")
    options.add_argument("--only", default="", help="regular expression over names")
    options.add_argument("--command", choices=("serve", "fleet", "up"), action="append", help="default: all")
    arguments = options.parse_args()
    recorded = list(read_cases(arguments.cases)) if arguments.cases.exists() else []
    attacks = [a for a in (*recorded, *variants()) if re.search(arguments.only, a.name)]
    failures = 0
    for command in arguments.command or ("serve", "fleet", "up"):
        with stack() if command == "up" else running(command) as target:
            failures += attack_all(target, attacks, arguments.gap, arguments.loaded)
            took = end_s(target)
            failures += took > END_S
            print(f"SIGTERM to the end: {took:.2f} s{'  BAD' if took > END_S else ''}")
    if arguments.target:
        url = urllib.parse.urlsplit(arguments.target)
        target = Target(arguments.target, url.hostname or "127.0.0.1", url.port or 80, None)
        failures += attack_all(target, attacks, arguments.gap, arguments.loaded)
    print(f"\n{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
