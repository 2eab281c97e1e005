"""A rank that sleeps until it may say something gives what one gives that wakes at each step."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from gateway.simulate.replicas.ranks import Rank
from gateway.simulate.simulation import Result
from loadgen.plan.plan import Answer, PlanLine
from tests.gateway.simulate.world import PAGE, feed, request, simulated, stack

# Short of KV cache and of sequences, so that requests wait, are preempted and find prefixes.
CROWDED = (
    *("--profile", "llama-3.1-8b/h100", "--max-model-len", "2000", "--num-gpu-blocks-override", "130"),
    *("--max-num-seqs", "20", "--enable-prefix-caching", "--seed", "3"),
)


def load(kind: str) -> list[PlanLine]:
    rng = random.Random(kind)
    lines: list[PlanLine] = []
    for number in range(40):
        words = f"{rng.randrange(4)} system words " * rng.randrange(30, 120)
        more: dict[str, Any] = {"tokens": rng.randrange(1, 120), "prompt": words}
        if kind == "turns":
            first = request(2 * number, number * 0.004, turns=2, turn=0, slot=number, **more)
            body = ['{"model":"m","prompt":"', words, Answer(0), '","max_tokens":20,"stream":true}']
            second = request(2 * number + 1, None, think=0.03, turns=2, turn=1, slot=number, body=body)
            lines += [first, second]
        elif kind == "cancels":
            lines.append(request(number, number * 0.004, cancel=rng.randrange(1, 30), **more))
        elif kind == "stops":
            body = f'{{"model":"m","prompt":"{words}","max_tokens":90,"stop":[" the"],"stream":true}}'
            lines.append(request(number, number * 0.004, body=[body]))
        else:
            lines.append(request(number, None if kind == "users" else number * 0.004, **more))
    return lines


def told(result: Result) -> list[tuple[Any, ...]]:
    return [
        (
            job.id,
            call.outcome,
            call.rank.pod if call.rank else "",
            call.first,
            call.last,
            call.end,
            call.cached_tokens,
            call.preemptions,
        )
        for job, call in sorted(result.ended, key=lambda each: each[0].id)
    ]


@pytest.mark.parametrize("kind", ["open", "turns", "users", "cancels", "stops"])
def test_sleeping_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    plan = stack(tmp_path, replicas=3, args=CROWDED, config=PAGE)
    what = feed(tmp_path, load(kind), **({"users": 7} if kind == "users" else {}))
    asleep = simulated(plan, what, delay=0.001)
    monkeypatch.setattr(Rank, "wake", lambda self: self.engine.peek())
    monkeypatch.setattr(Rank, "_steps_to_word", lambda self: 1)
    assert told(simulated(plan, what, delay=0.001)) == told(asleep)
    assert any(call.cached_tokens for _, call in asleep.ended)
