"""1000 replicas in one process: memory for each beyond the base process, and time until all listen.

python bench/fleet.py [--replicas 1000]. Target: under 60 kB each, ready in under 3 s.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import socket
import time
from pathlib import Path

import uvloop

from bench.entry import parser
from simulator.config.resolve import parse_args
from simulator.fleet.fleet import Fleet, ReplicaSpec

TARGET_KB = 60.0
TARGET_SECONDS = 3.0


def resident_kb() -> int:
    """Resident memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS in /proc/self/status")


def refused(host: str, port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((host, port)) != 0


async def measure(replicas: int, port: int, flags: list[str]) -> None:
    config = parse_args(["--model", "bench", *flags], {})
    async with Fleet() as fleet:
        await fleet.add(ReplicaSpec("base", "127.0.0.2", (port,), config))
        gc.collect()
        before = resident_kb()
        specs = [
            ReplicaSpec(
                f"pod-{i}",
                f"127.0.{1 + i // 250}.{1 + i % 250}",
                (port,),
                dataclasses.replace(config, pod_name=f"pod-{i}"),
            )
            for i in range(replicas)
        ]
        began = time.perf_counter()
        await fleet.add_all(specs)
        seconds = time.perf_counter() - began
        each = (resident_kb() - before) / replicas
        assert not any(refused(spec.host, port) for spec in specs[:: max(1, replicas // 10)])
        began_cpu = time.process_time()
        await asyncio.sleep(1.0)
        idle = time.process_time() - began_cpu
    print(f"base process            {before / 1024:8.1f} MB")
    print(f"each of {replicas} replicas   {each:8.1f} kB    target {TARGET_KB:.0f}")
    print(f"ready after             {seconds:8.2f} s     target {TARGET_SECONDS:.0f}")
    print(f"idle CPU                {idle * 100:8.2f} % of a core")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--replicas", type=int, default=1000)
    options.add_argument("--port", type=int, default=18080)
    arguments, flags = options.parse_known_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(arguments.replicas, arguments.port, flags))


if __name__ == "__main__":
    main()
