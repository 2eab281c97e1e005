"""Whether loadgen's verdicts and intervals keep what they say: coverage, false verdicts, power.

    python bench/verdict.py coverage     intervals of one run on three queues in their steady state
    python bench/verdict.py false        identical arms, by the ratio of scatter between repeats to inside
    python bench/verdict.py power        median TPOT 5 % slower, by the scatter of a repeat's difference
    python bench/verdict.py sequential   both again with `--until told-apart`, and the repeats that it took

Tables in Markdown, as docs/scorecard.md has them. The baseline of each figure is its nominal value: 95 % of
intervals hold the truth, at most 5 % of identical arms are told apart. stats.py's constants were chosen on
M/M/1 and seed 1; --seed draws anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.entry import parser
from loadgen.judge.looks import alpha_of, told_apart
from loadgen.judge.paired import ENOUGH_REPEATS, METRICS, compare
from loadgen.numbers import stats

JUDGED = [metric.path for metric in METRICS if metric.judged]
TIMES = [path for path in JUDGED if path.partition(".")[0] in ("ttft", "tpot", "e2e")]
SLOWER = "tpot.p50"
REQUESTS = 1000
SCATTER = 0.02
"""Of a figure inside a run, on a log scale; figures of one run share half of its variance."""


@dataclass(frozen=True)
class Queue:
    """One server with Poisson arrivals and service times of mean 1."""

    name: str
    service: Callable[[np.random.Generator, int], stats.Floats]
    square: float
    """Mean of the squared service time."""

    def sojourns(self, rng: np.random.Generator, load: float, n: int) -> stats.Floats:
        """Times from arrival to end of n requests in its steady state, reached by a long beginning."""
        before = math.ceil(20 * self.square / (1 - load) ** 2)
        service, gaps = self.service(rng, before + n), rng.exponential(1 / load, before + n)
        walk = np.cumsum(np.concatenate([[0.0], service[:-1] - gaps[1:]]))
        times = walk - np.minimum(np.minimum.accumulate(walk), 0.0) + service
        return np.asarray(times[before:])

    def truth(self, load: float) -> dict[str, float]:
        """Mean by Pollaczek and Khinchine; percentiles of M/M/1 exactly, of others from ten million."""
        mean = 1 + load * self.square / (2 * (1 - load))
        if self.name == "M/M/1":
            return {"mean": mean} | {f"p{q}": -mean * math.log(1 - q / 100) for q in ASKED}
        rng = np.random.default_rng(0)
        long = np.concatenate([self.sojourns(rng, load, 10**6) for _ in range(10)])
        points = np.percentile(long, ASKED).tolist()
        return {"mean": mean} | {f"p{q}": point for q, point in zip(ASKED, points, strict=True)}


def _two_speeds(rng: np.random.Generator, n: int) -> stats.Floats:
    """Hyperexponential service of squared variation 4: most requests short, few long, equal work in both."""
    few = 0.5 * (1 - math.sqrt(3 / 5))
    return rng.exponential(size=n) * np.where(rng.random(n) < few, 0.5 / few, 0.5 / (1 - few))


ASKED = (50, 90, 99)
QUEUES = (
    Queue("M/M/1", lambda rng, n: rng.exponential(size=n), 2.0),
    Queue("M/D/1", lambda _, n: np.ones(n), 1.0),
    Queue("M/H2/1", _two_speeds, 5.0),
)


def coverage(trials: int, seed: int) -> None:
    """A row for each queue, load and length: share of runs with an interval, share of these that hold."""
    for queue in QUEUES:
        for load in (0.3, 0.7, 0.9):
            truth = queue.truth(load)
            for n in (1000, 5000):
                rng = np.random.default_rng(seed)
                there, held = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
                for _ in range(trials):
                    found = stats.batch_intervals(queue.sojourns(rng, load, n))
                    for name in truth.keys() & found.keys():
                        there[name] += 1
                        held[name] += truth[name] in found[name]
                cells = [_cell(there[name] / trials, held[name], there[name]) for name in truth]
                print(
                    f"| {queue.name} | {load} | {n:,} | {' | '.join(cells)} |".replace(",", " "), flush=True
                )


def _cell(share: float, held: int, there: int) -> str:
    if share < 0.05:
        missed = share * (1 - held / there) if there else 0.0
        return f"too short ({100 * share:.1f} % given, {100 * missed:.1f} % miss)"
    return f"{100 * held / there:.1f} % of {100 * share:.0f} %"


def runs(rng: np.random.Generator, repeats: int, between: float) -> list[dict[str, float]]:
    """Figures of an arm's runs; `between`: scatter of one repeat by that inside it, shared by its figures."""
    out = []
    for _ in range(repeats):
        inside = SCATTER * (rng.normal(size=len(TIMES)) + rng.normal()) / math.sqrt(2)
        values = np.exp(inside + between * SCATTER * rng.normal())
        run = dict(zip(TIMES, values.tolist(), strict=True))
        run["outcomes.ok"] = float(rng.binomial(REQUESTS, 0.995)) / REQUESTS
        run["goodput.share"] = float(rng.binomial(REQUESTS, 0.95)) / REQUESTS
        out.append(run | {metric.counted: REQUESTS for metric in METRICS if metric.judged})
    return out


def false_verdicts(trials: int, seed: int) -> None:
    """Identical arms: how often any verdict but `is not told apart from` came out."""
    for ratio in (0, 0.3, 1, 3, 10):
        cells = []
        for repeats in (3, 5, 10):
            rng = np.random.default_rng(seed)
            wrong = sum(_told(rng, repeats, ratio) for _ in range(trials))
            cells.append(f"{100 * wrong / trials:.1f} %")
        print(f"| {ratio} | {' | '.join(cells)} |", flush=True)


def _told(rng: np.random.Generator, repeats: int, ratio: float) -> bool:
    figures = {"a": runs(rng, repeats, ratio), "b": runs(rng, repeats, ratio)}
    return compare("b", figures)[0].verdict != "is not told apart from"


def power(trials: int, seed: int) -> None:
    """TPOT p50 5 % slower and nothing else: how often it was found, by the scatter of its difference."""
    for percent in (0.5, 1.0, 1.5, 2.0, 3.0):
        cells = []
        for repeats in (3, 5, 10):
            rng = np.random.default_rng(seed)
            found = 0
            for _ in range(trials):
                figures = slower(rng, repeats, percent / 100)
                found += SLOWER in [each.metric.path for each in compare("b", figures)[0].worse]
            cells.append(f"{100 * found / trials:.0f} %")
        print(f"| {percent} % | {' | '.join(cells)} |", flush=True)


def slower(rng: np.random.Generator, repeats: int, scatter: float) -> dict[str, list[dict[str, float]]]:
    """Runs of arms a and b, of which a has SLOWER 5 % higher with that scatter of a repeat's log ratio."""
    between = math.sqrt(max(0.0, (scatter / SCATTER) ** 2 / 2 - 1 / 4))
    a, b = runs(rng, repeats, between), runs(rng, repeats, between)
    for mine, theirs, delta in zip(a, b, (scatter * rng.normal(size=repeats)).tolist(), strict=True):
        mine[SLOWER] = theirs[SLOWER] * 1.05 * math.exp(delta)
    return {"a": a, "b": b}


def sequential(trials: int, seed: int) -> None:
    """`--until told-apart`: false verdicts by ratio, then verdicts by scatter with the mean of repeats."""
    for ratio in (0, 0.3, 1, 3, 10):
        cells = []
        for most in (5, 8, 10):
            rng = np.random.default_rng(seed)
            stops = [stop({a: runs(rng, most, ratio) for a in "ab"}, most) for _ in range(trials)]
            cells.append(f"{100 * sum(told for told, _ in stops) / trials:.1f} %")
        print(f"| {ratio} | {' | '.join(cells)} |", flush=True)
    for percent in (0.5, 1.0, 1.5, 2.0, 3.0):
        cells = []
        for most in (5, 8, 10):
            rng = np.random.default_rng(seed)
            stops = [stop(slower(rng, most, percent / 100), most) for _ in range(trials)]
            mean = sum(repeats for _, repeats in stops) / trials
            cells.append(f"{100 * sum(told for told, _ in stops) / trials:.0f} %, {mean:.1f}")
        print(f"| {percent} % | {' | '.join(cells)} |", flush=True)


def stop(figures: dict[str, list[dict[str, float]]], most: int) -> tuple[bool, int]:
    """Whether arm a is told from b at any look, and after how many repeats it was over."""
    for repeats in range(ENOUGH_REPEATS, most + 1):
        seen = {arm: column[:repeats] for arm, column in figures.items()}
        if told_apart(compare("b", seen, alpha_of(repeats, most))):
            return True, repeats
    return False, most


def main() -> None:
    options = parser(__doc__)
    tables = {"coverage": coverage, "false": false_verdicts, "power": power, "sequential": sequential}
    options.add_argument("what", choices=list(tables))
    options.add_argument("--trials", type=int, default=2000)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    tables[args.what](args.trials, args.seed)


if __name__ == "__main__":
    main()
