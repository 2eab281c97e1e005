"""Profiles beside published measurements: TTFT and TPOT of closed loops on real GPUs.

    python -m bench.points TABLE.csv [--profile NAME] [--api-us N] [--per-step-us N] [--per-sequence-us N]

TABLE has a row for each measurement, with the columns model_path, system, precision, tp_size,
attention_dp_size, isl, osl, batch_size (concurrency), silicon_ttft_ms and silicon_tpot_ms. Each row of a
profile's model, GPU, precision and parallelism is repeated as a closed loop of so many users on one engine in
virtual time, ten requests a user, lengths from 80 to 100 % of those named. What is shown is (simulated -
measured) / measured.
"""

from __future__ import annotations

import csv
import random
import statistics
from dataclasses import dataclass
from pathlib import Path

from bench.entry import parser
from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.pace.latency import HostOverhead, StepModel
from simulator.engine.pace.profiles import PROFILES, Profile
from simulator.engine.request import Request, SamplingParams
from simulator.engine.text.text_source import ConstantText

ROUNDS = 10
# model, system, precision, tensor and attention data parallelism
OF_ROWS = {
    ("Qwen/Qwen3-32B", "h100_sxm", "", "2", ""): "qwen3-32b/h100-tp2",
    ("MiniMaxAI/MiniMax-M2.5", "h100_sxm", "fp8", "4", "1"): "minimax-m2.5/h100-tp4-ep4",
}


@dataclass(frozen=True)
class Point:
    prompt: int
    output: int
    users: int
    ttft: float  # seconds
    tpot: float


def points(table: Path) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    with table.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            key = (
                row["model_path"],
                row["system"],
                row["precision"],
                row["tp_size"],
                row["attention_dp_size"],
            )
            if (name := OF_ROWS.get(key)) is not None:
                times = (float(row["silicon_ttft_ms"]) / 1e3, float(row["silicon_tpot_ms"]) / 1e3)
                sizes = (int(row["isl"]), int(row["osl"]), int(row["batch_size"]))
                found.setdefault(name, []).append(Point(*sizes, *times))
    return found


def closed_loop(point: Point, profile: Profile, host: HostOverhead, api: float) -> tuple[float, float]:
    """Means of TTFT and TPOT in seconds."""
    rng = random.Random(point.users)
    config = EngineConfig(
        max_num_seqs=profile.gpu.max_num_seqs,
        max_num_batched_tokens=profile.gpu.max_num_batched_tokens,
        max_model_len=32768,
        num_gpu_blocks=profile.num_gpu_blocks,
        async_scheduling=True,
    )
    engine = Engine(config, StepModel(profile.coefficients, host), ConstantText(1000), None)
    left, number, sent = point.users * ROUNDS, 0, {}
    ttft, tpot = [], []

    def send(at: float) -> None:
        nonlocal number, left
        left -= 1
        number += 1
        prompt, output = (
            max(2, round(size * rng.uniform(0.8, 1.0))) for size in (point.prompt, point.output)
        )
        ids = list(range(number * 40_000, number * 40_000 + prompt))
        sampling = SamplingParams(max_tokens=output, ignore_eos=True)
        sent[str(number)] = at
        engine.add_request(Request(str(number), ids, sampling, stream=False), at + api)

    for _ in range(point.users):
        send(0.0)
    while (due := engine.peek()) is not None:
        for step in engine.fast_forward(due + 1e3, 1):
            for ended in step.outputs:
                request = ended.request
                first, last = request.first_token_time, request.last_token_time
                if ended.finish_reason is None or first is None or last is None:
                    continue
                ttft.append(first - sent.pop(request.request_id))
                tpot.append((last - first) / (request.num_output_tokens - 1))
                if left > 0:
                    send(step.end)
    return statistics.mean(ttft), statistics.mean(tpot)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("table", type=Path)
    options.add_argument("--profile", choices=sorted(set(OF_ROWS.values())))
    options.add_argument("--api-us", type=float, help="instead of the profile's")
    options.add_argument("--per-step-us", type=float)
    options.add_argument("--per-sequence-us", type=float)
    args = options.parse_args()
    for name, rows in points(args.table).items():
        if args.profile not in (None, name):
            continue
        profile = PROFILES[name]
        step, each = profile.host.per_step_us, profile.host.per_sequence_us
        host = HostOverhead(
            step if args.per_step_us is None else args.per_step_us,
            each if args.per_sequence_us is None else args.per_sequence_us,
        )
        api = (profile.api_us if args.api_us is None else args.api_us) * 1e-6
        errors: list[tuple[float, float, float]] = []
        print(f"{name}: {len(rows)} points, host {host}, API {api * 1e3:g} ms")
        print(
            f"{'prompt':>7}{'answer':>7}{'users':>6}{'TTFT ms':>18}{'TPOT ms':>16}"
            f"{'TTFT':>8}{'TPOT':>8}{'E2E':>8}"
        )
        for row in sorted(rows, key=lambda r: (r.prompt, r.output, r.users)):
            ttft, tpot = closed_loop(row, profile, host, api)
            e2e, was = ttft + tpot * (row.output - 1), row.ttft + row.tpot * (row.output - 1)
            errors.append((ttft / row.ttft - 1, tpot / row.tpot - 1, e2e / was - 1))
            cells = "".join(f"{100 * error:>+7.1f}%" for error in errors[-1])
            print(
                f"{row.prompt:>7}{row.output:>7}{row.users:>6}{row.ttft * 1e3:>9.1f}/{ttft * 1e3:<8.1f}"
                f"{row.tpot * 1e3:>8.2f}/{tpot * 1e3:<7.2f}{cells}",
                flush=True,
            )
        for title, column in zip(("TTFT", "TPOT", "E2E"), zip(*errors, strict=True), strict=True):
            print(
                f"{title}: median {100 * statistics.median(column):+.1f} %, "
                f"median of absolute {100 * statistics.median(map(abs, column)):.1f} %"
            )


if __name__ == "__main__":
    main()
