"""Coefficients that nobody told are found again, and predict loads that the fit has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random

import pytest

from simulator.calibrate.fit import calibrate, quantile_distance, scores
from simulator.calibrate.readers import read_runs
from simulator.calibrate.trial import MeasuredRun, trial
from simulator.config.compat import compat
from simulator.engine.config import EngineConfig
from simulator.engine.pace.profiles import PROFILES
from simulator.errors import ConfigError
from simulator.replay.prompts import Prompt
from simulator.replay.trace import Measured, TraceRequest

RECORDING = Path(__file__).parents[4] / "shared" / "data" / "vllm-replay-rtx4090"
ENGINE = EngineConfig(
    max_num_seqs=64,
    max_num_batched_tokens=2048,
    max_model_len=8192,
    num_gpu_blocks=6000,
    async_scheduling=True,
)
IDS = count(1_000_000)


def truth(name: str, api_us: float) -> tuple[list[float], int]:
    """A profile's step as one set of coefficients: the host's part is in them."""
    profile = PROFILES[name]
    c, host = profile.coefficients, profile.host
    beta = [c.c0 + host.per_step_us, c.c1, c.c2, c.c3 + host.per_sequence_us, c.c4, c.c5, api_us]
    return beta, c.k


def requests(
    rng: Random, number: int, prompt: tuple[int, int], output: tuple[int, int], rate: float
) -> list[TraceRequest]:
    at, made = 0.0, []
    for index in range(number):
        at += rng.expovariate(rate)
        ids = [next(IDS) for _ in range(rng.randint(*prompt))]
        made.append(TraceRequest(str(index), at, Prompt.of_ids(ids), rng.randint(*output)))
    return made


def measured(
    name: str, load: Sequence[TraceRequest], beta: Sequence[float], knee: int, noise: float = 0.0
) -> MeasuredRun:
    """The load on a server with these coefficients, its times a little off."""
    rng = Random(7)
    run = MeasuredRun(name, load, client_side=True)
    told = [
        replace(
            p.request,
            measured=Measured(
                p.first_token + rng.gauss(0, noise), max(p.first_token, p.last_token + rng.gauss(0, noise))
            ),
        )
        for p in trial(run, ENGINE, beta, knee)
    ]
    return replace(run, requests=told)


def loads(seed: int, rate: float) -> dict[str, list[TraceRequest]]:
    rng = Random(seed)
    return {
        "singles": requests(rng, 24, (16, 2000), (8, 24), rate / 12),
        "long prompts": requests(rng, 24, (1000, 4000), (4, 12), rate / 2),
        "many short": requests(rng, 70, (16, 40), (40, 90), 30 * rate),
        "saturated": requests(rng, 50, (200, 1500), (20, 80), 12 * rate),
    }


@pytest.mark.parametrize(
    ("name", "api_us", "rate", "grain"),
    [("llama-3.1-8b/h100", 9000.0, 10.0, 1500.0), ("llama-3.1-8b/rtx-4090", 3000.0, 3.0, 3000.0)],
)
def test_unseen_loads_are_predicted_within_two_percent(
    name: str, api_us: float, rate: float, grain: float
) -> None:
    """`grain`: how far the API's constant may be off, which is small beside a step."""
    beta, knee = truth(name, api_us)
    runs = [measured(kind, load, beta, knee, noise=5e-4) for kind, load in loads(1, rate).items()]
    found = calibrate(runs, ENGINE)
    assert found.held_out.requests == sum(len(run.requests) // 2 for run in runs)
    assert all(abs(error) < 1.5 for error in found.held_out.mean.values()), found
    assert found.beta[-1] == pytest.approx(api_us, abs=grain)
    for kind, load in loads(2, rate).items():
        true = measured(kind, load, beta, knee)
        said = scores(trial(true, ENGINE, found.beta, found.knee))
        assert all(abs(error) < 2.0 for error in said.mean.values()), (kind, said)


def test_what_the_runs_do_not_show_is_named() -> None:
    beta, knee = truth("llama-3.1-8b/h100", 0.0)
    run = measured("singles", requests(Random(3), 24, (16, 64), (8, 24), 0.5), beta, knee)
    found = calibrate([run], ENGINE)
    assert found.notes == [
        "no step had more than 1 of 64 sequences",
        f"no step had more than {found.reach.step_tokens} of 2048 tokens",
        f"no prompt was longer than {found.reach.prompt_tokens} tokens",
        "no request had to wait: a queue is a guess",
    ]
    assert found.reach.step_tokens == found.reach.prompt_tokens <= 64


def test_few_requests_are_too_few() -> None:
    beta, knee = truth("llama-3.1-8b/h100", 0.0)
    run = measured("few", requests(Random(3), 19, (16, 64), (8, 24), 0.5), beta, knee)
    with pytest.raises(ConfigError, match="19 requests were measured; a fit needs 20"):
        calibrate([run], ENGINE)


def test_quantiles() -> None:
    assert quantile_distance([]) is None
    assert quantile_distance([(1.0, 2.0), (4.0, 1.0), (2.0, 4.0)]) == 0.0  # as distributions they are equal
    assert quantile_distance([(1.1, 1.0), (2.2, 2.0)]) == pytest.approx(10.0)


@pytest.mark.skipif(not RECORDING.exists(), reason="needs ../shared/data/vllm-replay-rtx4090")
@pytest.mark.slow
def test_the_recorded_gpu() -> None:
    """Every other request of the recorded run fitted, the others scored."""
    runs, notes = read_runs(RECORDING, lambda text: [])
    behaviour = compat("vllm-0.33")
    config = replace(
        ENGINE,
        max_num_seqs=256,
        max_model_len=32768,
        num_gpu_blocks=2588,
        async_scheduling=behaviour.async_scheduling,
    )
    found = calibrate(runs, config).held_out
    assert notes == []
    assert all(abs(error) < 1.0 for error in found.mean.values()), found
    assert found.mape["ttft"] < 5
    assert found.mape["tpot"] < 3
    assert found.mape["e2e"] < 1.5
