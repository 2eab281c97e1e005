"""Speed of the engine in virtual time: steps per second of `simfleet replay`, without the command around it.

    .venv/bin/python bench/replay.py [TRACE] [--profile NAME] [--rounds N] [--json]

Without a trace: 300 requests at 10/s with prompts and answers of a few hundred tokens, under the same
profile (RTX 4090, 2588 blocks: short of KV cache, with preemptions). The best of some rounds is shown.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from bench.entry import parser
from simulator.engine.config import EngineConfig
from simulator.engine.pace.latency import StepModel
from simulator.engine.pace.profiles import PROFILES, Profile
from simulator.replay.lab import Lab, Run
from simulator.replay.prompts import Prompt
from simulator.replay.trace import TraceRequest, read_trace


def synthetic(count: int = 300, rate: float = 10.0) -> list[TraceRequest]:
    rng = random.Random(1)
    arrival, requests = 0.0, []
    for i in range(count):
        arrival += rng.expovariate(rate)
        prompt = int(min(max(rng.lognormvariate(6.5, 0.8), 20), 3500))
        first = i * 100_000
        requests.append(
            TraceRequest(
                str(i), arrival, Prompt.of_ids(list(range(first, first + prompt))), rng.randint(500, 780)
            )
        )
    return requests


def once(requests: list[TraceRequest], profile: Profile) -> Run:
    config = EngineConfig(
        max_num_seqs=profile.gpu.max_num_seqs,
        max_num_batched_tokens=profile.gpu.max_num_batched_tokens,
        max_model_len=32768,
        num_gpu_blocks=profile.num_gpu_blocks,
    )
    return Lab(config, lambda _: StepModel(profile.coefficients, profile.host)).replay(requests)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("trace", nargs="?", type=Path)
    options.add_argument("--profile", default="llama-3.1-8b/rtx-4090", choices=PROFILES)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true")
    args = options.parse_args()
    requests = synthetic() if args.trace is None else read_trace(args.trace, lambda text: list(text.encode()))
    runs = [once(requests, PROFILES[args.profile]) for _ in range(args.rounds)]
    fastest = min(runs, key=lambda run: run.wall_seconds)
    figures = {
        "requests": len(requests),
        "steps": fastest.steps,
        "preemptions": fastest.preemptions,
        "virtual_s": round(fastest.end, 3),
        "wall_s": round(fastest.wall_seconds, 4),
        "steps_per_s": round(fastest.steps / fastest.wall_seconds),
        "times_real_time": round(fastest.end / fastest.wall_seconds),
    }
    if args.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        print(f"{name:<18}{value:>14}")


if __name__ == "__main__":
    main()
