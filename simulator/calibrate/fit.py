"""Coefficients of a step model from measured runs: alternately a trial of all runs and a least-squares fit.

Begins with general shapes of a step, scaled to the measured pace of decoding; goes on from the one that fits
best. A second slope over a step's tokens is taken only where it earns its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from simulator.calibrate.solve import Normal
from simulator.calibrate.trial import NAMES, MeasuredRun, Predicted, Reach, trial
from simulator.engine.config import EngineConfig
from simulator.errors import ConfigError
from simulator.replay.trace import TraceRequest

# Shapes to begin with, in microseconds: a balanced step, one of much computing, one of much overhead.
_SHAPES = (
    (5000.0, 20.0, 20.0, 10.0, 0.02, 0.005, 0.0),
    (2000.0, 60.0, 60.0, 10.0, 0.01, 0.01, 0.0),
    (8000.0, 5.0, 5.0, 30.0, 0.01, 0.001, 0.0),
)
_FIRST_ROUNDS = 3
_ROUNDS = 10
_RIDGE = 0.3
_DAMPING = 0.5
# An error of so many tokens' time counts half: a step more or less is chance, not the model.
_GRAIN_FIRST = 8.0
_GRAIN_PACE = 2.0
_KNEES = (32, 64, 128, 256, 512, 1024, 2048)
_EARNED = 0.93  # of the loss without a second slope
_LEAST_REQUESTS = 20
_ENOUGH_SCALE = 0.02
_LEAST_TOKENS = 8  # answers shorter than this say little about the pace

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scores:
    """Percent: error of the mean, and mean absolute error of each request, by metric; None: no values."""

    mean: dict[str, float]
    mape: dict[str, float]
    ttft_distance: float | None
    """Mean distance of the quantiles of unqueued TTFTs, in percent of the measured median."""
    requests: int


@dataclass(slots=True)
class Fitted:
    """What a calibration found; `beta` in microseconds in the order of NAMES."""

    beta: list[float]
    knee: int
    loss: float
    fitted: Scores
    held_out: Scores
    reach: Reach
    rounds: int = 0
    notes: list[str] = field(default_factory=list)


def calibrate(runs: Sequence[MeasuredRun], config: EngineConfig, say: Progress = lambda _: None) -> Fitted:
    """Fit to every other measured request of each run, score the rest.

    Raises ConfigError where too few requests were measured.
    """
    measured = sum(request.measured is not None for run in runs for request in run.requests)
    if measured < _LEAST_REQUESTS:
        raise ConfigError(f"{measured} requests were measured; a fit needs {_LEAST_REQUESTS} at least")
    work = _Work(runs, config, say)
    beginnings = [work.rounds(work.scaled(shape), _FIRST_ROUNDS) for shape in _SHAPES]
    best = work.rounds(min(beginnings)[1], _ROUNDS)
    best = min(best, work.with_knee(best))
    loss, beta, knee = best
    if knee >= config.max_num_batched_tokens:  # one slope
        beta[2] = beta[1]
    reach = Reach()
    predicted = [trial(run, config, beta, knee, reach) for run in runs]
    return Fitted(
        beta=beta,
        knee=knee,
        loss=loss,
        fitted=scores(_picked(predicted, fitted=True)),
        held_out=scores(_picked(predicted, fitted=False)),
        reach=reach,
        rounds=work.count,
        notes=uncovered(reach, config),
    )


Found = tuple[float, list[float], int]


class _Work:
    """The state of a fit: the runs, and how many trials there were."""

    def __init__(self, runs: Sequence[MeasuredRun], config: EngineConfig, say: Progress) -> None:
        self.runs = runs
        self.config = config
        self.count = 0
        self._say = say
        pace = [
            (m.last_token - m.first_token) / (request.output_tokens - 1)
            for request in _fitted(runs)
            if (m := request.measured) is not None and request.output_tokens > 1
        ]
        if not pace:
            raise ConfigError("no measured answer has two tokens: there is no pace to fit")
        self._grain = median(pace)

    def tries(self, beta: Sequence[float], knee: int) -> list[Predicted]:
        """The requests to fit, as these coefficients predict them."""
        self.count += 1
        return _picked([trial(run, self.config, beta, knee) for run in self.runs], fitted=True)

    def scaled(self, shape: Sequence[float]) -> list[float]:
        """A shape at the measured pace of decoding."""
        beta, knee = list(shape), self.config.max_num_batched_tokens
        for _ in range(4):
            ratios = [
                (m.last_token - m.first_token) / (p.last_token - p.first_token)
                for p in self.tries(beta, knee)
                if (m := p.request.measured) is not None
                and p.request.output_tokens >= _LEAST_TOKENS
                and p.last_token > p.first_token
            ]
            if not ratios:
                return beta
            factor = median(ratios)
            beta = [value * factor for value in beta]
            if abs(factor - 1) < _ENOUGH_SCALE:
                break
        return beta

    def rounds(self, beta: list[float], count: int, knee: int | None = None) -> Found:
        """Trial and fit in turn; the best of all that were tried."""
        at = self.config.max_num_batched_tokens if knee is None else knee
        best: Found | None = None
        for _ in range(count):
            system, loss = self._system(self.tries(beta, at))
            if best is None or loss < best[0]:
                best = (loss, beta, at)
            self._say(f"round {self.count}: loss {loss:.5f}")
            target = system.solve(beta, _RIDGE)
            beta = [(1 - _DAMPING) * a + _DAMPING * b for a, b in zip(beta, target, strict=True)]
        assert best is not None
        return best

    def with_knee(self, best: Found) -> Found:
        """The fit with a second slope over a step's tokens, from the knee that promises most."""
        loss, beta, _ = best
        promises = []
        for knee in _KNEES:
            if knee < self.config.max_num_batched_tokens:
                bent = [*beta[:2], beta[1], *beta[3:]]
                system, _ = self._system(self.tries(bent, knee))
                promises.append((system.loss(system.solve(bent, _RIDGE)), knee))
        if not promises or min(promises)[0] > _EARNED * loss:
            return best
        knee = min(promises)[1]
        found = self.rounds([*beta[:2], beta[1], *beta[3:]], _ROUNDS, knee)
        return found if found[0] < _EARNED * loss else best

    def _system(self, predicted: Iterable[Predicted]) -> tuple[Normal, float]:
        """The rows of all fitted intervals, and the mean squared error of the trial itself."""
        system, total, rows = Normal(len(NAMES)), 0.0, 0
        for p in predicted:
            assert p.request.measured is not None
            first, last = p.request.measured.first_token, p.request.measured.last_token
            parts = [(p.before, first - p.request.arrival, p.first_token - p.request.arrival, _GRAIN_FIRST)]
            if p.request.output_tokens > 1:
                parts.append((p.between, last - first, p.last_token - p.first_token, _GRAIN_PACE))
            for terms, seconds, said, grain in parts:
                weight = 1.0 / (max(0.0, seconds) + grain * self._grain) ** 2
                system.add([term * 1e-6 for term in terms], seconds, weight)
                total += weight * (said - seconds) ** 2
                rows += 1
        return system, total / max(1, rows)


def _fitted(runs: Iterable[MeasuredRun]) -> list[TraceRequest]:
    return [request for run in runs for request in run.requests if request.measured is not None][::2]


def _picked(predicted: Iterable[list[Predicted]], *, fitted: bool) -> list[Predicted]:
    """Every other measured request of each run: those to fit, or those that were held out."""
    found: list[Predicted] = []
    for run in predicted:
        found += [p for p in run if p.request.measured is not None][0 if fitted else 1 :: 2]
    return found


def scores(predicted: Sequence[Predicted]) -> Scores:
    """How far predictions are from what was measured."""
    pairs: dict[str, list[tuple[float, float]]] = {"ttft": [], "tpot": [], "e2e": []}
    calm: list[tuple[float, float]] = []
    for p in predicted:
        assert p.request.measured is not None
        arrival, steps = p.request.arrival, p.request.output_tokens - 1
        first, last = p.request.measured.first_token, p.request.measured.last_token
        pairs["ttft"].append((p.first_token - arrival, first - arrival))
        pairs["e2e"].append((p.last_token - arrival, last - arrival))
        if steps:
            pairs["tpot"].append(((p.last_token - p.first_token) / steps, (last - first) / steps))
        if not p.queued:
            calm.append(pairs["ttft"][-1])
    filled = {name: values for name, values in pairs.items() if values}
    return Scores(
        mean={
            name: 100 * (sum(a for a, _ in values) / sum(b for _, b in values) - 1)
            for name, values in filled.items()
        },
        mape={
            name: 100 * sum(abs(a - b) / b for a, b in values if b > 0) / len(values)
            for name, values in filled.items()
        },
        ttft_distance=quantile_distance(calm),
        requests=len(predicted),
    )


def quantile_distance(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Mean distance of equal quantiles of two samples in percent of the second's median."""
    if not pairs:
        return None
    said, true = sorted(a for a, _ in pairs), sorted(b for _, b in pairs)
    middle = median(true)
    if middle <= 0:
        return None
    return 100 * sum(abs(a - b) for a, b in zip(said, true, strict=True)) / len(pairs) / middle


def uncovered(reach: Reach, config: EngineConfig) -> list[str]:
    """What the runs did not show, by name: there the model is a guess."""
    notes = []
    if reach.sequences < config.max_num_seqs / 4:
        notes.append(f"no step had more than {reach.sequences} of {config.max_num_seqs} sequences")
    if reach.step_tokens < config.max_num_batched_tokens / 2:
        notes.append(f"no step had more than {reach.step_tokens} of {config.max_num_batched_tokens} tokens")
    if reach.prompt_tokens < min(2048, config.max_model_len // 4):
        notes.append(f"no prompt was longer than {reach.prompt_tokens} tokens")
    if not reach.queued:
        notes.append("no request had to wait: a queue is a guess")
    return notes
