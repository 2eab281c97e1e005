"""This simulator beside llm-d-inference-sim in the same run: `PEER_BIN=/path/to/it python -m bench.peer`.

Both get the same requests from the same client; a server has one core, the client the other. Rounds
alternate; medians of what is done in a second by the clock, and in a second of the server's own CPU time,
which holds on a machine where others work too. The binary is not part of this project: without PEER_BIN
nothing is measured.
1. `/metrics` of fresh servers, one connection (after a load, the head of 2026-11 answers it with 500);
2. whole answers of 16 tokens and streams of 100, both without latency, 64 connections;
3. 512 streams of a token every 20 ms (`--inter-token-latency 20ms`): the server's share of a core.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.entry import parser
from bench.server import STREAM, UNARY, Rates, closed, cpu_seconds, listening, load
from kit.children import python

MODEL = ("--model", "meta-llama/Llama-3.1-8B-Instruct", "--max-loras", "2")
ADAPTER = ("--lora-modules", '{"name": "reviews-1"}')
PACED = ("--time-to-first-token", "20ms", "--inter-token-latency", "20ms", "--max-num-seqs", "512")
Server = tuple[int, int]


def started(*command: str) -> AbstractContextManager[Server]:
    """(port, pid) of a server that listens on the first core; what it says is dropped."""
    return listening(lambda port: [*command, "--port", str(port)], subprocess.DEVNULL)


def paced_share(server: Server, seconds: float) -> float:
    """The share of a core that 512 streams take, once they run."""
    port, pid = server
    body = {**STREAM, "max_tokens": int((seconds + 3) / 0.02)}
    job = {"port": port, "path": "/v1/completions", "body": body, "end": "[DONE]", "connections": 512}
    before, began = cpu_seconds(pid), time.monotonic()
    load({**job, "seconds": seconds})
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def metrics_rate(server: Server, seconds: float) -> Rates:
    """Scrapes one after the other."""
    port, pid = server
    before, began, done = cpu_seconds(pid), time.monotonic(), 0
    while time.monotonic() < began + seconds:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            page.read()
        done += 1
    return done / (time.monotonic() - began), done / (cpu_seconds(pid) - before)


def beside(name: str, rounds: int, theirs: Callable[[], Rates], ours: Callable[[], Rates]) -> None:
    """Alternating rounds; prints medians and the ratios."""
    pairs = [(theirs(), ours()) for _ in range(rounds)]
    for which, unit in enumerate(("a second", "a CPU second")):
        peer, mine = (statistics.median(pair[side][which] for pair in pairs) for side in (0, 1))
        print(
            f"{name} {unit}: llm-d-inference-sim {peer:,.0f}, here {mine:,.0f}: {mine / peer:.2f}x",
            flush=True,
        )


def measure(binary: str, args: argparse.Namespace) -> None:
    here = python("-m", "simulator", "serve", "--host", "127.0.0.1", "--disable-log-stats")
    seconds = args.seconds
    with (
        started(binary, *MODEL, *ADAPTER, "--max-num-seqs", "256") as peer,
        started(*here, *MODEL, *ADAPTER, "--max-num-seqs", "256", "--latency", "zero") as ours,
    ):
        beside(
            "/metrics", args.rounds, lambda: metrics_rate(peer, seconds), lambda: metrics_rate(ours, seconds)
        )
        beside(
            "whole answers",
            args.rounds,
            lambda: closed(peer, UNARY, "}]}", 0, seconds),
            lambda: closed(ours, UNARY, '"metrics":null}', 0, seconds),
        )
        beside(
            "100-token streams",
            args.rounds,
            lambda: closed(peer, STREAM, "[DONE]", 0, seconds),
            lambda: closed(ours, STREAM, "[DONE]", 0, seconds),
        )
    shares: tuple[list[float], list[float]] = ([], [])
    for _ in range(args.rounds):
        for kept, command in zip(shares, ((binary,), tuple(here)), strict=True):
            with started(*command, *MODEL, *ADAPTER, *PACED) as server:
                kept.append(paced_share(server, seconds))
    peer_share, our_share = map(statistics.median, shares)
    print(
        f"512 streams of 20 ms: llm-d-inference-sim {peer_share:.2f} of a core, here {our_share:.2f}: "
        f"{our_share / peer_share:.2f}x"
    )


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=3.0, help="length of a round")
    options.add_argument("--rounds", type=int, default=5)
    args = options.parse_args()
    named = os.environ.get("PEER_BIN", "")
    binary = shutil.which(named) if named else None
    if binary is None:
        print(
            f"nothing measured: PEER_BIN{f' {named!r} is no program' if named else ' is not set'}",
            file=sys.stderr,
        )
        return 0
    measure(binary, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
