"""Outputs that repeat themselves: what counts as that, and when it ends a sequence."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.engine.request import FinishReason, SamplingParams
from simulator.engine.sampling_params import RepetitionDetectionParams
from tests.simulator.engine.build import Says, engine, outputs, request, run


@pytest.mark.parametrize(
    ("tokens", "sizes", "found"),
    [
        ([5, 5, 5], (1, 0, 3), True),
        ([5, 5], (1, 0, 3), False),
        ([9, 5, 5, 5], (1, 0, 3), True),
        ([5, 5, 5, 9], (1, 0, 3), False),
        ([1, 2, 1, 2], (2, 0, 2), True),
        ([1, 2, 1, 2], (1, 0, 2), False),
        ([1, 2, 1, 2], (4, 3, 2), False),
        ([1, 2, 3, 1, 2, 3], (4, 2, 2), True),
        ([7, 7, 7, 7], (2, 2, 2), True),
        ([7, 7, 7, 7], (0, 0, 0), False),
    ],
)
def test_what_repeats(tokens: list[int], sizes: tuple[int, int, int], found: bool) -> None:
    params = RepetitionDetectionParams(*sizes)
    assert params.ends([*tokens, 3, 3, 3], len(tokens)) is found


@pytest.mark.parametrize("sizes", [(-1, 0, 2), (2, 3, 2), (2, -1, 2), (2, 0, 1), (1, 1, 0)])
def test_contradictions_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"max_pattern_size|min_count"):
        RepetitionDetectionParams(*sizes)


def ended(says: list[int], **fields: Any) -> tuple[int, FinishReason | None, Any]:
    """(output tokens, finish_reason, stop_reason), the same step by step and in one go."""
    config = fields.pop("config", {})
    sampling = SamplingParams(
        max_tokens=20, repetition_detection=RepetitionDetectionParams(2, 0, 3), ignore_eos=True, **fields
    )
    found = []
    for fast in (False, True):
        made = engine(text=Says(says, stops=False), **config)
        made.add_request(request("a", 10, sampling=sampling), 0.0)
        steps = made.fast_forward(1000.0) if fast else run(made)
        made.check_invariants()
        assert made.num_unfinished == 0
        (*_, last) = outputs(steps)["a"]
        count = last.request.num_output_tokens
        found.append((count, last.finish_reason, last.request.stop_reason))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("ahead", [False, True])
def test_the_third_time_ends_it(ahead: bool) -> None:
    config = {"async_scheduling": ahead}
    repeated = (FinishReason.REPETITION, "repetition_detected")
    assert ended([1, 2, 3, 4, 3, 4, 3, 4, 5], config=config) == (8, *repeated)
    assert ended([1, 2, 3], config=config) == (6, *repeated)  # then 7 for ever
    assert ended(list(range(100, 130)), config=config) == (20, FinishReason.LENGTH, None)


def test_min_tokens_come_first_and_max_tokens_before_that() -> None:
    assert ended([1, 1, 1, 1, 1, 1], min_tokens=5) == (5, FinishReason.REPETITION, "repetition_detected")
    assert ended([*range(100, 117), 9, 9, 9]) == (20, FinishReason.LENGTH, None)


def test_vllm_0_11_knows_no_repetition() -> None:
    assert ended([1, 1, 1], config={"detects_repetition": False})[:2] == (20, FinishReason.LENGTH)
