"""The server's figures, each beside its baseline in the same run: `python -m bench.server [--seconds 3]`.

Server and client have one core each. Rounds of baseline and simulator alternate, medians are printed: by the
clock, and by the server's own CPU time, which holds on a machine where others work too.
1. non-streaming, zero latency: the page's prompt, max_tokens 16, 64 keep-alive connections;
2. streams of 100 tokens, zero latency, 64 connections: events per second.
Paced streams are `bench.paced`'s.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.entry import parser
from kit.children import python

PROMPT = "What do reviewers think about The Comedy of Errors?"
UNARY = {"model": "reviews-1", "prompt": PROMPT, "max_tokens": 16, "temperature": 0, "ignore_eos": True}
STREAM = {**UNARY, "max_tokens": 100, "stream": True}
PAGE_ARGS = (
    *("--model", "meta-llama/Llama-3.1-8B-Instruct", "--max-loras", "2"),
    *("--lora-modules", '{"name": "reviews-1"}', "--disable-log-stats"),
)
CONNECTIONS = 64
Rates = tuple[float, float]
_ports = iter(range(21000 + os.getpid() % 3000, 32768))


def free_port() -> int:
    for port in _ports:
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit("no free port")


def pinned(core: int) -> list[str]:
    """taskset, where there are two cores to have one each."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []


@contextmanager
def listening(
    command: Callable[[int], Sequence[str]], output: int | None = None
) -> Iterator[tuple[int, int]]:
    """(port, pid) of a server on the first core, once it listens; `command` makes its command line."""
    port = free_port()
    process = subprocess.Popen([*pinned(0), *command(port)], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def running(*command: str) -> Any:
    return listening(lambda port: python("-m", *(part.format(port=port) for part in command)))


def baseline() -> Any:
    return running("bench.baseline", "{port}")


def simulator(*flags: str) -> Any:
    escaped = [flag.replace("{", "{{").replace("}", "}}") for flag in (*PAGE_ARGS, *flags)]
    return running("simulator", "serve", "--host", "127.0.0.1", "--port", "{port}", *escaped)


def load(job: dict[str, Any]) -> Any:
    done = subprocess.run(
        [*pinned(1), *python("-m", "bench.http_load")],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def closed(server: tuple[int, int], body: dict[str, Any], end: str, index: int, seconds: float) -> Rates:
    """One round: (per second, per second of the server's CPU time)."""
    port, pid = server
    job = {"port": port, "path": "/v1/completions", "body": body, "end": end}
    before = cpu_seconds(pid)
    rates, counts = load({**job, "connections": CONNECTIONS, "seconds": seconds})
    return rates[index], counts[index] / (cpu_seconds(pid) - before)


def compare(name: str, body: dict[str, Any], end: str, index: int, args: Any) -> None:
    """Alternating rounds; prints medians and the ratios."""
    theirs, ours = [], []
    with baseline() as other, simulator("--latency", "zero", "--max-num-seqs", "256") as server:
        for _ in range(args.rounds):
            theirs.append(closed(other, {**body, "model": "m"}, end, index, args.seconds))
            ours.append(closed(server, body, end, index, args.seconds))
    for which, unit in enumerate(("a second", "a CPU second")):
        base, mine = (statistics.median(round_[which] for round_ in rounds) for rounds in (theirs, ours))
        print(
            f"{name} {unit}: FastAPI + pydantic {base:,.0f}, simulator {mine:,.0f}: {mine / base:.2f}x",
            flush=True,
        )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=3.0, help="length of a round")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=("unary", "stream"))
    args = options.parse_args()
    if args.only in (None, "unary"):
        compare("answers", UNARY, '"metrics":null}', 0, args)
    if args.only in (None, "stream"):
        compare("events of 100-token streams", STREAM, "[DONE]", 1, args)


if __name__ == "__main__":
    main()
