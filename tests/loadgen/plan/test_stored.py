"""A plan read from its file on demand is the plan read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.errors import ScenarioError
from loadgen.plan import stored
from loadgen.plan.plan import (
    Answer,
    ClassPlan,
    PlanHeader,
    PlannedRequest,
    SharedText,
    load_plan,
    write_plan,
)
from loadgen.plan.stored import StoredPlan
from loadgen.plan.words import Recipe


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    requests = [
        PlannedRequest(
            slot=n, id=f"c-{n}", cls="c", at=float(n),
            body=['{"prompt":"', n % 2, Recipe(30 * n, n), Answer(1), "ü" * 700 * n, '"}'],
        )
        for n in range(5)
    ]  # fmt: skip
    texts = [SharedText(text=n, value=f"shared {n} " * 300) for n in range(2)]
    write_plan(tmp_path / "p.jsonl", [PlanHeader(classes={"c": ClassPlan()}), *texts, *requests])
    return tmp_path / "p.jsonl"


def test_what_is_found_is_what_was_written(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_plan(plan)
    monkeypatch.setattr(stored, "hash", lambda name: int(name[-1]) // 2, raising=False)  # two share each
    with StoredPlan(plan) as on_disk:
        for request in whole.requests:
            found = on_disk.find(request.id)
            assert found == request == whole.find(request.id)
            assert on_disk.body(found, {1: "so"}) == whole.body(request, {1: "so"})
        assert on_disk.find("c-9") is None
        assert whole.find("c-9") is None


def test_a_broken_line_is_named(plan: Path) -> None:
    lines = plan.read_bytes().splitlines(keepends=True)
    plan.write_bytes(b"".join([*lines[:4], b'{"slot":7,"id":\n']))
    with pytest.raises(ScenarioError, match=r"p\.jsonl:5: not a line of a plan"):
        StoredPlan(plan)
    plan.write_bytes(b"".join([*lines[:4], b'{"slot":7,"id":"c-7"}\n']))  # a request that lacks its parts
    with StoredPlan(plan) as on_disk, pytest.raises(ScenarioError, match="not a line of a plan"):
        on_disk.find("c-7")


def test_a_text_that_is_not_there(plan: Path) -> None:
    with StoredPlan(plan) as on_disk:
        stray = PlannedRequest(slot=0, id="x", cls="c", body=[7])
        with pytest.raises(ScenarioError, match="holds text 7"):
            on_disk.body(stray)
