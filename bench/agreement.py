"""Packaged scenarios both ways, live and in virtual time: how far apart latencies, pod shares and hits are.

    python bench/agreement.py --replicas 3,8 --seeds 3 [--scenarios steady,hot-prefix] [--json FILE]

Each scenario runs with the same plans (one for each seed) on a fresh live stack (Envoy, reference picker,
simulated pods) and as `simfleet simulate`. What is compared is pooled over the seeds. Of a live plan the
quicker of --rounds runs counts, by its mean TTFT: a machine that is busy makes answers late and never early.
Pod shares are those of the busiest pod, the second busiest and so on, for which pod is the busiest is chance.
Allowed are 3 % or 2 ms, 2 points of a pod's share, 1 point of cache hits.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.entry import parser
from loadgen.records.rundata import RunData, load_run

BIN = Path(sys.executable).parent
STACK, PORT = "bench-agreement", 18093
SCENARIOS = ("steady", "hot-prefix", "sessions", "burst-herd", "lora-mix", "overload-shed", "churn")
PERCENTILES = (50, 90, 95)
METRICS = ("ttft", "tpot", "e2e")
SHARE, SECONDS, POINTS, HIT_POINTS = 0.03, 0.002, 0.02, 0.01


@dataclass
class Side:
    """What runs of one way gave, pooled."""

    values: dict[str, list[float]] = field(default_factory=lambda: {metric: [] for metric in METRICS})
    shares: list[list[float]] = field(default_factory=list)
    prompt: float = 0.0
    cached: float = 0.0
    engine: dict[str, float] = field(default_factory=dict)  # sums and counts of the pods' own histograms

    def add(self, run: RunData) -> None:
        frame = run.frame
        for metric in METRICS:
            self.values[metric] += [float(x) for x in frame.latency(metric)[0]]
        ok = frame.records.take(frame.ok)
        _, counts = np.unique(ok.labels("pod").astype(str), return_counts=True)
        self.shares.append(sorted((counts / max(1, counts.sum())).tolist(), reverse=True))
        for name, value in grown(run).items():
            self.engine[name] = self.engine.get(name, 0.0) + value
        self.prompt += float(np.nansum(ok.numbers("prompt_tokens")))
        self.cached += float(np.nansum(ok.numbers("cached_tokens")))

    def percentile(self, metric: str, p: int) -> float | None:
        found = self.values[metric]
        return float(np.percentile(found, p)) if found else None

    def share(self) -> np.ndarray[Any, Any]:
        width = max(map(len, self.shares))
        return np.mean([row + [0.0] * (width - len(row)) for row in self.shares], axis=0)

    def engine_mean(self, family: str) -> float:
        """Seconds, as the engines saw it: no lag of this machine's is in it."""
        return self.engine.get(f"{family}_sum", 0.0) / max(1.0, self.engine.get(f"{family}_count", 0.0))

    @property
    def hits(self) -> float:
        return self.cached / self.prompt if self.prompt else 0.0


ENGINE = ("vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds")


def grown(run: RunData) -> dict[str, float]:
    """How sums and counts of the engines' histograms grew over the run, all pods together."""
    found: dict[str, float] = {}
    for line in run.scrapes:
        sign = {"before": -1.0, "after": 1.0}.get(line.phase)
        if sign is None:
            continue
        for series, value in line.samples.items():
            name = series.partition("{")[0]
            if name.rpartition("_")[0] in ENGINE:
                found[name] = found.get(name, 0.0) + sign * value
    return found


def command(*words: str, stdin: str | None = None) -> str:
    argv = [str(BIN / words[0]), *words[1:]]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 2):
        raise SystemExit(f"{' '.join(words)}: {done.stderr[-800:]}")
    return done.stdout


def fleet(scenario: str, replicas: int, folder: Path) -> Path:
    lab = command("simfleet", "up", "--print-manifests")
    fitted = command("loadgen", "scenarios", scenario, "--manifests", "-", stdin=lab)
    file = folder / f"{scenario}-{replicas}.yaml"
    file.write_text(fitted)
    return file


def live(scenario: str, manifests: Path, replicas: int, plan: Path, out: Path, config: list[str]) -> RunData:
    command(
        *("simfleet", "up", "--detach", "--name", STACK, "-f", str(manifests), "--replicas", str(replicas)),
        *("--port", str(PORT), "--epp", "reference", *config),
    )
    try:
        command(
            *("loadgen", "run", scenario, "--plan", str(plan), "--out", str(out), "--quiet", "--no-selftest"),
            *("--fleet", f"{BIN}/simfleet ps --name {STACK} --format json"),
        )
    finally:
        command("simfleet", "down", "--name", STACK)
    return load_run(out)


def simulated(manifests: Path, replicas: int, plan: Path, seed: int, out: Path, config: list[str]) -> RunData:
    command(
        *("simfleet", "simulate", "-f", str(manifests), "--replicas", str(replicas), "--plan", str(plan)),
        *("--seed", str(seed), "--out", str(out), "--quiet", *config),
    )
    return load_run(out)


def compare(scenario: str, replicas: int, args: Any, folder: Path) -> dict[str, Any]:
    config = ["--epp-config", str(args.config)] if args.config else []
    manifests = fleet(scenario, replicas, folder)
    here, there = Side(), Side()
    for seed in range(args.seeds):
        plan = folder / f"{scenario}-{seed}.jsonl"
        if not plan.is_file():
            command("loadgen", "plan", scenario, "--seed", str(seed), "--out", str(plan))
        name = f"{scenario}-{replicas}-{seed}"
        runs = [
            live(scenario, manifests, replicas, plan, folder / f"live-{name}-{number}", config)
            for number in range(args.rounds)
        ]
        here.add(min(runs, key=lambda run: float(np.mean(run.frame.latency("e2e")[0]))))
        there.add(simulated(manifests, replicas, plan, seed, folder / f"sim-{name}", config))
    row: dict[str, Any] = {"scenario": scenario, "replicas": replicas, "latency": {}, "ok": True}
    for metric in METRICS:
        for p in PERCENTILES:
            a, b = here.percentile(metric, p), there.percentile(metric, p)
            if a is None or b is None:
                continue
            good = abs(a - b) <= max(SHARE * a, SECONDS)
            row["latency"][f"{metric}.p{p}"] = {"live": a, "simulated": b, "ok": good}
            row["ok"] &= good
    row["engine"] = {name: [here.engine_mean(name), there.engine_mean(name)] for name in ENGINE}
    gap = np.abs(here.share() - there.share()).max() if here.share().shape == there.share().shape else 1.0
    row["share_gap"], row["hits"] = float(gap), [here.hits, there.hits]
    row["ok"] = bool(row["ok"] and gap <= POINTS and abs(here.hits - there.hits) <= HIT_POINTS)
    return row


def shown(row: dict[str, Any]) -> str:
    cells = []
    for metric in METRICS:
        pairs = [row["latency"][f"{metric}.p{p}"] for p in PERCENTILES if f"{metric}.p{p}" in row["latency"]]
        shown = [
            f"{1e3 * x['live']:.1f} / {1e3 * x['simulated']:.1f}" + ("" if x["ok"] else " !") for x in pairs
        ]
        cells.append("; ".join(shown))
    cells += [f"{1e3 * a:.2f} / {1e3 * b:.2f}" for a, b in row["engine"].values()]
    cells += [f"{100 * row['share_gap']:.1f}", f"{100 * row['hits'][0]:.1f} / {100 * row['hits'][1]:.1f}"]
    return f"| {row['scenario']}, {row['replicas']} | " + " | ".join(cells) + " |"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--scenarios", default=",".join(SCENARIOS))
    options.add_argument("--replicas", default="3")
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--config", type=Path, help="an EndpointPickerConfig instead of the manifests'")
    options.add_argument("--json", type=Path)
    options.add_argument("--keep", type=Path, help="a directory for the runs")
    args = options.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="agreement-"))
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    latency = "TTFT p50; p90; p95 ms, live / simulated"
    means = "engine's own TTFT mean ms | E2E mean"
    print(f"| scenario, pods | {latency} | TPOT | E2E | {means} | share, points | hits % |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for scenario in args.scenarios.split(","):
        for replicas in map(int, args.replicas.split(",")):
            rows.append(compare(scenario, replicas, args, folder))
            print(shown(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))
    if not args.keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
