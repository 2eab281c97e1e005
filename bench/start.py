"""Cold start of `simfleet serve` with default flags: seconds to the first 200, resident memory then.

python bench/start.py. Targets: under 1.5 s, under 90 MB.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from bench.client import Server, connect, request
from bench.entry import parser

PORT, RUNS = 18083, 3


async def first_answer() -> float:
    """Ask until it answers; the monotonic time at which it did."""
    answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def on_data(data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(data[:200].decode(errors="replace"))
        answered.set_result(time.monotonic())

    wire = await connect("127.0.0.1", PORT, on_data)
    wire.transport.write(request("/v1/completions", "127.0.0.1", b'{"prompt": "p", "max_tokens": 4}'))
    try:
        return await answered
    finally:
        wire.transport.close()


def main() -> None:
    parser(__doc__).parse_args()
    for _ in range(RUNS):
        began = time.monotonic()
        with Server(["serve", "--port", str(PORT)], "127.0.0.1", PORT) as server:
            seconds = asyncio.run(first_answer()) - began
            memory = server.resident_mb()
        print(f"first 200 after {seconds:6.2f} s   target 1.5   resident {memory:6.1f} MB   target 90")
    for command in ("--help", "serve --help", "fleet --help"):
        began = time.monotonic()
        subprocess.run(
            [Path(sys.executable).parent / "simfleet", *command.split()],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        print(f"simfleet {command:<14} {time.monotonic() - began:6.2f} s   target 0.4")


if __name__ == "__main__":
    main()
