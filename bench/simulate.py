"""Speed of `simfleet simulate`: CPU seconds and memory of a trace over a fleet, with the lab's own picker.

    python -m bench.simulate [--trace FILE] [--replicas N] [--limit N] [--profile NAME] [--max-model-len N]

Without a trace: the shape of Mooncake's conversation hour (12 031 requests, bench/traces.py) over 8 replicas.
`--thousand` is 100 000 requests of the shape of Azure's code trace in 600 seconds over 1000 replicas. What
counts is process time: other programs on the machine slow it less than they slow the clock on the wall. The
baseline is the same trace's requests through the engine alone (`simfleet replay`, one replica, no picker).
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path
from time import process_time

from bench.entry import parser
from bench.replay import once
from bench.traces import code, conversations
from gateway.simulate.batch import Order, run_one
from gateway.simulate.inputs import Source, preset_text
from gateway.size.trial import Load, with_profile
from gateway.size.wanted import Kind
from simulator.engine.pace.profiles import PROFILES
from simulator.replay.trace import read_trace


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trace", type=Path)
    options.add_argument("--thousand", action="store_true", help="1000 replicas, 100 000 requests")
    options.add_argument("--replicas", type=int)
    options.add_argument("--limit", type=int)
    options.add_argument("--profile", default="llama-3.1-8b/h100", choices=PROFILES)
    options.add_argument("--max-model-len", type=int, default=131_072)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trace = args.trace or folder / ("code.csv" if args.thousand else "conversations.jsonl")
        if args.trace is None and args.thousand:
            code(trace, 100_000, 600.0)
        elif args.trace is None:
            conversations(trace)
        source = Source(trace=trace, limit=args.limit)
        flags = (f"--max-model-len={args.max_model_len}",)
        load = Load(source, (), preset_text(), server_args=flags)
        manifests = with_profile(load, Kind(args.profile), folder)
        replicas = args.replicas or (1000 if args.thousand else 8)
        begun = process_time()
        figures = run_one(Order((str(manifests),), source, replicas=replicas))
        seconds = process_time() - begun
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{figures['requests']} requests over {replicas} replicas: {seconds:.1f} CPU s, {memory:.0f} MB"
        )
        print(f"{figures['steps'] / seconds:.0f} steps, {figures['requests'] / seconds:.0f} requests a CPU s")
        rows = [row for row in read_trace(trace, lambda text: [], args.limit) if row.prompt.length < 30_000]
        begun = process_time()
        run = once(rows[:1000], PROFILES[args.profile])
        alone = process_time() - begun
        print(f"the engine alone, {len(rows[:1000])} of them: {run.steps / alone:.0f} steps a CPU s")


if __name__ == "__main__":
    main()
