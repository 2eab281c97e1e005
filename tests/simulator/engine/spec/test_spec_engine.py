"""Speculative decoding in an engine: tokens, counters, cadence and times, exactly."""

from __future__ import annotations

from random import Random

import pytest

from simulator.config.speculation import drafter
from simulator.engine.pace.latency import BatchShape, StepCoefficients, StepModel
from simulator.engine.spec.settings import SpecConfig, by_length, by_rate, mean_length
from simulator.errors import ConfigError
from tests.simulator.engine.build import Says, engine, outputs, request, run, scheduled_tokens

ALL = (1.0, 1.0, 1.0)
NONE = (0.0, 0.0, 0.0)


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_all_drafts_accepted_give_four_tokens_a_step(async_scheduling: bool) -> None:
    made = engine(spec=drafter("eagle3", 3, ALL), async_scheduling=async_scheduling)
    made.add_request(request("a", prompt=10, max_tokens=9), 0.0)
    steps = run(made)
    assert [len(output.new_token_ids) for output in outputs(steps)["a"]] == [1, 4, 4]
    spec = made.stats.spec
    assert spec is not None
    assert (spec.drafts, spec.draft_tokens, spec.accepted) == (2, 6, 6)
    assert made.stats.generation_tokens == 9
    assert made.stats.inter_token_latency_seconds.count == 2  # one a step, however many tokens


def test_rejected_drafts_cost_their_place_in_the_batch_only() -> None:
    made = engine(spec=drafter("ngram", 3, NONE))
    made.add_request(request("a", prompt=10, max_tokens=4), 0.0)
    steps = run(made)
    assert [scheduled_tokens(step) for step in steps if step.num_steps][1:4] == [{"a": 4}] * 3
    assert [len(output.new_token_ids) for output in outputs(steps)["a"]] == [1, 1, 1, 1]
    spec = made.stats.spec
    assert spec is not None
    assert spec.accepted_per_position == [0, 0, 0]


def test_a_stop_inside_the_accepted_tokens_ends_there() -> None:
    made = engine(text=Says([11, 12]), spec=drafter("eagle", 3, ALL))
    made.add_request(request("a", max_tokens=50), 0.0)
    got = outputs(run(made))["a"]
    assert [token for output in got for token in output.new_token_ids] == [11, 12, 2]
    assert got[-1].finish_reason == "stop"
    assert made.stats.generation_tokens == 3


@pytest.mark.parametrize("rates", [(0.9, 0.5, 0.2), by_rate(0.7, 3), by_length(2.5, 3)])
def test_acceptance_is_as_asked(rates: tuple[float, ...]) -> None:
    made = engine(
        spec=drafter("mtp", 3, rates), num_gpu_blocks=400, max_model_len=5000, check_invariants=False
    )
    made.add_request(request("a", prompt=4, max_tokens=4000), 0.0)
    made.fast_forward(1e9)
    spec = made.stats.spec
    assert spec is not None
    for wanted, count in zip(rates, spec.accepted_per_position, strict=True):
        assert count / spec.drafts == pytest.approx(wanted, abs=0.05)
    assert 1 + spec.accepted / spec.drafts == pytest.approx(mean_length(rates), abs=0.1)


def test_the_same_seed_gives_the_same_run() -> None:
    def seen(seed: int) -> list[int]:
        made = engine(spec=drafter("eagle3", 4, by_rate(0.6, 4)), seed=seed)
        made.add_request(request("a", max_tokens=60), 0.0)
        return [len(output.new_token_ids) for output in outputs(run(made))["a"]]

    assert seen(1) == seen(1) != seen(2)


def test_what_a_method_reserves() -> None:
    """vLLM 0.33's numbers."""
    eagle = drafter("eagle3", 3, ALL)
    assert (eagle.lookahead, eagle.prefill_lookahead, eagle.hash_lookahead, eagle.draft_slots) == (3, 1, 1, 0)
    dropping = drafter("eagle3", 3, ALL, lookahead_hashes=False)
    assert (dropping.hash_lookahead, dropping.drops_block) == (0, True)
    model = drafter("draft_model", 3, ALL)
    assert (model.lookahead, model.prefill_lookahead, model.draft_slots) == (3, 0, 1)
    assert drafter("ngram", 3, ALL).lookahead == 0
    assert drafter("mtp", 3, ALL, mtp_layers=3).prefill_lookahead == 3
    assert drafter("dflash", 3, ALL).lookahead == 4
    assert drafter("draft_model", 3, ALL, parallel=True).draft_slots == 3


def test_drafts_and_drafter_take_their_time() -> None:
    coefficients = StepCoefficients(c0=1000, c1=10, c2=20, k=10_000, c3=0, c4=0, c5=0)
    plain, drafting = StepModel(coefficients), StepModel(coefficients, drafting=0.0005)
    assert plain.step_seconds(BatchShape(num_decodes=2)) == pytest.approx(0.00102)
    assert plain.step_seconds(BatchShape(num_decodes=2, draft_tokens=6)) == pytest.approx(0.00108)
    assert drafting.step_seconds(BatchShape(num_decodes=2, draft_tokens=6)) == pytest.approx(0.00158)


def test_rates_that_cannot_be() -> None:
    for rates in ((0.5, 0.6), (1.2, 0.1), (0.5,)):
        with pytest.raises(ConfigError, match="rates"):
            SpecConfig(2, rates)


def test_prefills_wait_for_their_step() -> None:
    """--prefill-schedule-interval 4: while one decodes, the next prompt waits for the fourth step."""
    made = engine(prefill_schedule_interval=4)
    made.add_request(request("a", max_tokens=12), 0.0)
    made.add_request(request("b", prompt=9, max_tokens=2), 1.5)
    steps = [step for step in run(made) if step.num_steps]
    assert [scheduled_tokens(step) for step in steps][:6] == [
        {"a": 10}, {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1, "b": 9}, {"a": 1, "b": 1},
    ]  # fmt: skip


def test_fewer_run_than_there_is_room_for() -> None:
    made = engine(max_num_active_seqs=2, max_num_scheduled_tokens=15)
    for name in "abc":
        made.add_request(request(name, max_tokens=4), 0.0)
    steps = [step for step in run(made) if step.num_steps]
    assert scheduled_tokens(steps[0]) == {"a": 10, "b": 5}
    assert max(len(step.scheduled) for step in steps) == 2


def test_random_runs_hold_together() -> None:
    """Preemptions, prefix hits and aborts under speculation; the engine's own checks look at every step."""
    for seed in range(12):
        rng = Random(seed)
        method = rng.choice(["ngram", "eagle3", "mtp", "draft_model"])
        count = rng.randint(1, 4)
        spec = drafter(method, count, by_rate(rng.random(), count))
        made = engine(
            spec=spec,
            num_gpu_blocks=rng.randint(12, 30),
            max_num_seqs=rng.randint(1, 6),
            max_num_batched_tokens=rng.choice([16, 64]),
            async_scheduling=rng.random() < 0.5,
            max_model_len=150,
        )
        for i in range(12):
            prompt = [rng.randint(1, 3)] * rng.randint(1, 80)
            made.add_request(request(f"r{i}", prompt, rng.randint(1, 40)), float(rng.randint(0, 20)))
        made.abort(["r3"], 25.0)
        got = outputs(run(made))
        for i in range(12):
            if i != 3:
                tokens = sum(len(output.new_token_ids) for output in got[f"r{i}"])
                assert got[f"r{i}"][-1].finish_reason == "length"
                assert tokens >= 1
