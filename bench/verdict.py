"""Whether loadgen's verdicts and intervals keep what they say: coverage, false verdicts, power.

    python bench/verdict.py coverage     intervals of one run on an M/M/1 queue in its steady state
    python bench/verdict.py false        identical arms, by the ratio of scatter between repeats to inside
    python bench/verdict.py power        median TPOT 5 % slower, by the scatter of a repeat's difference

Tables in Markdown, as docs/scorecard.md has them. The baseline of each figure is its nominal value: 95 % of
intervals hold the truth, at most 5 % of identical arms are told apart.
"""

from __future__ import annotations

import math

import numpy as np

from bench.entry import parser
from loadgen.judge.paired import METRICS, compare
from loadgen.numbers import stats

JUDGED = [metric.path for metric in METRICS if metric.judged]
TIMES = [path for path in JUDGED if path.partition(".")[0] in ("ttft", "tpot", "e2e")]
REQUESTS = 1000
SCATTER = 0.02
"""Of a figure inside a run, on a log scale; figures of one run share half of its variance."""


def sojourns(rng: np.random.Generator, load: float, n: int) -> stats.Floats:
    """Times in an M/M/1 queue of service rate 1, from its steady state on; exponential of mean 1/(1-load)."""
    service, gaps = rng.exponential(size=n), rng.exponential(1 / load, n)
    first = rng.exponential(1 / (1 - load)) if rng.random() < load else 0.0
    walk = np.cumsum(np.concatenate([[first], service[:-1] - gaps[1:]]))
    return np.asarray(walk - np.minimum(np.minimum.accumulate(walk), 0.0) + service)


def coverage(trials: int) -> None:
    """A row for each load and length: share of runs with an interval, share of these that hold the truth."""
    for load in (0.3, 0.7, 0.9):
        for n in (1000, 5000):
            rng = np.random.default_rng(1)
            mean = 1 / (1 - load)
            truth = {"mean": mean} | {f"p{q}": -mean * math.log(1 - q / 100) for q in (50, 90, 99)}
            there, held = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
            for _ in range(trials):
                found = stats.batch_intervals(sojourns(rng, load, n))
                for name in truth.keys() & found.keys():
                    there[name] += 1
                    held[name] += truth[name] in found[name]
            cells = [_cell(there[name] / trials, held[name], there[name]) for name in truth]
            print(f"| {load} | {n:,} | {' | '.join(cells)} |".replace(",", " "), flush=True)


def _cell(share: float, held: int, there: int) -> str:
    if share < 0.05:
        return f"too short ({100 * share:.1f} % given)"
    return f"{100 * held / there:.1f} % of {100 * share:.0f} %"


def runs(
    rng: np.random.Generator, repeats: int, between: float, slower: float = 1.0
) -> list[dict[str, float]]:
    """Figures of an arm's runs; `between`: scatter of one repeat by that inside it, shared by its figures."""
    out = []
    for _ in range(repeats):
        inside = SCATTER * (rng.normal(size=len(TIMES)) + rng.normal()) / math.sqrt(2)
        values = np.exp(inside + between * SCATTER * rng.normal())
        run = dict(zip(TIMES, values.tolist(), strict=True))
        run["tpot.p50"] *= slower
        run["outcomes.ok"] = float(rng.binomial(REQUESTS, 0.995)) / REQUESTS
        run["goodput.share"] = float(rng.binomial(REQUESTS, 0.95)) / REQUESTS
        out.append(run | {metric.counted: REQUESTS for metric in METRICS if metric.judged})
    return out


def false_verdicts(trials: int) -> None:
    """Identical arms: how often any verdict but `is not told apart from` came out."""
    for ratio in (0, 0.3, 1, 3, 10):
        cells = []
        for repeats in (3, 5, 10):
            rng = np.random.default_rng(2)
            wrong = sum(_told(rng, repeats, ratio, 1.0) for _ in range(trials))
            cells.append(f"{100 * wrong / trials:.1f} %")
        print(f"| {ratio} | {' | '.join(cells)} |", flush=True)


def _told(rng: np.random.Generator, repeats: int, ratio: float, slower: float) -> bool:
    figures = {"a": runs(rng, repeats, ratio, slower), "b": runs(rng, repeats, ratio)}
    return compare("b", figures)[0].verdict != "is not told apart from"


def power(trials: int) -> None:
    """TPOT p50 5 % slower and nothing else: how often it was found, by the scatter of its difference."""
    for percent in (0.5, 1.0, 1.5, 2.0, 3.0):
        between = math.sqrt(max(0.0, (percent / 100 / SCATTER) ** 2 / 2 - 1 / 4))
        cells = []
        for repeats in (3, 5, 10):
            rng = np.random.default_rng(3)
            found = 0
            for _ in range(trials):
                deltas = percent / 100 * rng.normal(size=repeats)
                a, b = runs(rng, repeats, between), runs(rng, repeats, between)
                for mine, theirs, delta in zip(a, b, deltas.tolist(), strict=True):
                    mine["tpot.p50"] = theirs["tpot.p50"] * 1.05 * math.exp(delta)
                worse = compare("b", {"a": a, "b": b})[0].worse
                found += any(each.metric.path == "tpot.p50" for each in worse)
            cells.append(f"{100 * found / trials:.0f} %")
        print(f"| {percent} % | {' | '.join(cells)} |", flush=True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("what", choices=["coverage", "false", "power"])
    options.add_argument("--trials", type=int, default=2000)
    args = options.parse_args()
    {"coverage": coverage, "false": false_verdicts, "power": power}[args.what](args.trials)


if __name__ == "__main__":
    main()
