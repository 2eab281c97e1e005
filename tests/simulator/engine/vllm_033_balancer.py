"""Which engine vLLM 0.33's client picks: one scenario a line on stdin, `LINES [index, ...]` for each.

Runs in the oracle's Python. A scenario is a list of requests, each with the ranks' loads at its moment:
[waiting, running, KV usage, in flight].
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

from vllm.v1.engine.core_client import DPLBAsyncMPClient


def picks(requests: list[list[list[float]]]) -> list[int]:
    """The picks of a client that has just started, without the sockets of one."""
    client: Any = DPLBAsyncMPClient.__new__(DPLBAsyncMPClient)
    size = len(requests[0])
    client.__dict__.update(
        client_count=1, client_index=0, eng_start_index=0, reqs_in_flight={}, streaming_reqs=set()
    )
    client.core_engines = [rank.to_bytes(2, "little") for rank in range(size)]
    found = []
    for i, loads in enumerate(requests):
        client.lb_engines = [[int(waiting), int(running), usage] for waiting, running, usage, _ in loads]
        client.engine_inflight = Counter(
            {engine: int(load[3]) for engine, load in zip(client.core_engines, loads, strict=True)}
        )
        request = SimpleNamespace(
            request_id=str(i), resumable=False, data_parallel_rank=None, pooling_params=None
        )
        found.append(client.core_engines.index(client.get_core_engine_for_request(request)))
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        print("LINES " + json.dumps(picks(json.loads(line))), flush=True)
