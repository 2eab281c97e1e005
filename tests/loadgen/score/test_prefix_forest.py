"""What each request could have found, against plain comparison with all that was sent before it."""

from __future__ import annotations

from random import Random

import msgspec
import numpy as np
import pytest

from loadgen.plan.plan import ClassPlan, Plan, PlanHeader, PlannedRequest
from loadgen.records.records import Record
from loadgen.score.prefix_forest import Forest
from loadgen.score.prefix_prompts import Asks
from loadgen.score.prefix_tree import common_prefix


@pytest.mark.parametrize("seed", range(10))
def test_reach_is_the_longest_that_any_pod_and_the_own_one_was_sent(seed: int) -> None:
    rng = Random(seed)
    texts = ["".join(rng.choices("ab", k=rng.randint(1, 8))) * rng.choice((1, 20)) for _ in range(40)]
    pods = [rng.choice(("p", "q", None)) for _ in texts]
    requests = [
        PlannedRequest(slot=n, id=f"r{n}", cls="c", body=[msgspec.json.encode({"prompt": text}).decode()])
        for n, text in enumerate(texts)
    ]
    records = [
        Record(
            id=f"r{n}", cls="c", intended=n, start=n, outcome="ok", prompt_tokens=8, cached_tokens=0, pod=pod
        )
        for n, pod in enumerate(pods)
    ]  # fmt: skip
    forest = Forest(Asks(records, Plan(PlanHeader(classes={"c": ClassPlan()}), requests)), 16)
    codes, names = forest.records.codes("pod")
    best, own = forest.reach(codes, np.array([name is not None for name in names])[codes])
    for n, (text, pod) in enumerate(zip(texts, pods, strict=True)):
        known = [(common_prefix(text.encode(), texts[m].encode()), pods[m]) for m in range(n) if pods[m]]
        if pod is None:
            assert (best[n], own[n]) == (0, 0)
        else:
            assert best[n] == max((common for common, _ in known), default=0)
            assert own[n] == max((common for common, other in known if other == pod), default=0)
