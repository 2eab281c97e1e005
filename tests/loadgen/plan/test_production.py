"""The production presets against the figures of the traces that they stand for."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from loadgen.plan.build import build_plan
from loadgen.plan.plan import Answer, PlannedRequest, load_plan, write_plan
from loadgen.plan.words import Recipe, made
from loadgen.scenario.presets import PRESETS
from loadgen.scenario.read import read_scenario

BLOCK = 16
ANSWER_WORDS = 80


def plan_of(tmp_path: Path, name: str, requests: int = 500) -> tuple[list[PlannedRequest], dict[int, str]]:
    text = (
        f"model: m\nseed: 1\nclasses: {{a: {{preset: {name}, arrival: {{rate: 5, requests: {requests}}}}}}}"
    )
    write_plan(tmp_path / "p.jsonl", build_plan(read_scenario(text, "x.yaml")))
    plan = load_plan(tmp_path / "p.jsonl")
    return plan.requests, plan.texts


def words_of(request: PlannedRequest, texts: dict[int, str]) -> list[str]:
    words: list[str] = []
    for piece in request.body:
        if isinstance(piece, Answer):
            words += [f"{request.session}/{piece.answer}/{number}" for number in range(ANSWER_WORDS)]
        else:
            text = (
                made(piece)
                if isinstance(piece, Recipe)
                else piece
                if isinstance(piece, str)
                else texts[piece]
            )
            words += text.split()
    return words


def infinite_cache_hit(requests: list[PlannedRequest], texts: dict[int, str]) -> float:
    """Share of prompt blocks that one endless cache would have."""
    seen: set[int] = set()
    hits = total = 0
    for request in requests:
        words, chain, hitting = words_of(request, texts), 0, True
        for start in range(0, len(words) - BLOCK, BLOCK):
            chain = hash((chain, *words[start : start + BLOCK]))
            total += 1
            hitting = hitting and chain in seen
            hits += hitting
            seen.add(chain)
    return hits / total


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_each_preset_reuses_as_much_as_its_kind_of_traffic(tmp_path: Path, name: str) -> None:
    requests, texts = plan_of(tmp_path, name)
    assert infinite_cache_hit(requests, texts) == pytest.approx(PRESETS[name].hit, abs=0.07)


@pytest.mark.parametrize(
    ("name", "prompt", "output"),
    [("chat", 1155, 211), ("code", 2048, 27.9)],
)
def test_lengths_are_those_of_the_azure_traces(
    tmp_path: Path, name: str, prompt: float, output: float
) -> None:
    requests, _ = plan_of(tmp_path, name, 1500)
    assert np.mean([r.prompt_tokens for r in requests]) == pytest.approx(prompt, rel=0.25)
    assert np.mean([r.max_tokens or 0 for r in requests]) == pytest.approx(output, rel=0.2)


def test_tenants_are_the_groups_and_share_their_beginning(tmp_path: Path) -> None:
    requests, texts = plan_of(tmp_path, "agent", 100)
    preset = PRESETS["agent"]
    by_group: dict[str, set[str]] = {}
    for request in requests:
        beginning = words_of(request, texts)[: preset.system_tokens + preset.tenant_tokens]
        by_group.setdefault(request.group or "", set()).add(" ".join(beginning))
        assert request.shared_tokens == preset.system_tokens + preset.tenant_tokens
    assert 2 <= len(by_group) <= preset.tenants
    assert all(len(texts_of_group) == 1 for texts_of_group in by_group.values())


def test_later_turns_repeat_the_whole_history(tmp_path: Path) -> None:
    requests, texts = plan_of(tmp_path, "agent", 30)
    turns = [r for r in requests if r.session == next(r.session for r in requests if (r.turns or 0) > 3)]
    for shorter, longer in itertools.pairwise(turns):
        before, after = words_of(shorter, texts), words_of(longer, texts)
        common = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
        assert common >= len(before) - 2


def test_prompts_are_cut_where_the_traces_end(tmp_path: Path) -> None:
    requests, _ = plan_of(tmp_path, "code", 1500)
    preset = PRESETS["code"]
    most = preset.inputs.high + preset.system_tokens + preset.tenant_tokens
    assert max(r.prompt_tokens for r in requests) <= most
    assert min(r.max_tokens or 0 for r in requests) >= 1


@pytest.mark.parametrize(
    "arrival", ["{process: poisson, rate: 5, requests: 200}", "{users: 4, requests: 200}"]
)
def test_arrivals_that_are_not_the_clients_own_have_many_tenants(tmp_path: Path, arrival: str) -> None:
    text = f"model: m\nclasses: {{a: {{preset: chat, arrival: {arrival}}}}}"
    write_plan(tmp_path / "p.jsonl", build_plan(read_scenario(text, "x.yaml")))
    groups = [request.group for request in load_plan(tmp_path / "p.jsonl").requests]
    assert len(set(groups)) >= 4
    assert max(groups.count(group) for group in set(groups)) < 0.9 * len(groups)
