"""What requests ask for: prompts, groups, conversations and their identities, request by request."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from loadgen.plan import build
from loadgen.plan.build import POOL_LEAST, build_plan
from loadgen.plan.plan import Answer, Plan, PlannedRequest, SharedText, load_plan, write_plan
from loadgen.plan.prompts import group_weights
from loadgen.plan.words import Recipe
from loadgen.scenario.read import read_scenario
from loadgen.scenario.scenario import Distribution, Prefix


def planned(tmp_path: Path, classes: str, top: str = "") -> Plan:
    """The plan of a scenario whose classes are given as YAML flow."""
    text = f"model: m\n{top}\nclasses: {{{classes}}}\n"
    write_plan(tmp_path / "p.jsonl", build_plan(read_scenario(text, "s.yaml", tmp_path)))
    return load_plan(tmp_path / "p.jsonl")


def prompt(plan: Plan, request: PlannedRequest, answers: dict[int, str] | None = None) -> list[str]:
    words: list[str] = json.loads(plan.body(request, answers))["prompt"].split()
    return words


BURST = "arrival: {process: burst, size: 20}"


@pytest.mark.parametrize(
    ("prefix", "weights"),
    [
        (Prefix(4, Distribution("fixed", 1)), [0.25] * 4),
        (Prefix(3, Distribution("fixed", 1), zipf=1.0), [6 / 11, 3 / 11, 2 / 11]),
        (Prefix(2, Distribution("fixed", 1), zipf=2.0), [0.8, 0.2]),
        (Prefix(5, Distribution("fixed", 1), hot=0.6), [0.6, 0.1, 0.1, 0.1, 0.1]),
        (Prefix(1, Distribution("fixed", 1), hot=0.6), [1.0]),
        (Prefix(3, Distribution("fixed", 1), hot=0.0), [0.0, 0.5, 0.5]),
    ],
)
def test_weights_of_groups(prefix: Prefix, weights: list[float]) -> None:
    assert group_weights(prefix).tolist() == pytest.approx(weights, rel=1e-12)


def test_identities_are_class_and_number() -> None:
    text = f"model: m\nclasses: {{a: {{{BURST}}}}}"
    header, *requests = build_plan(read_scenario(text, "s.yaml"))
    assert [r.id for r in requests if isinstance(r, PlannedRequest)] == [f"a-{n:06d}" for n in range(20)]
    assert [r.slot for r in requests if isinstance(r, PlannedRequest)] == list(range(20))
    for request in requests:
        assert isinstance(request, PlannedRequest)
        assert request.headers == {"x-request-id": request.id}
        assert (request.session, request.turn, request.turns) == (None, None, None)
    assert header.plan == 2  # type: ignore[union-attr]


def test_headers_of_a_class_are_on_every_request_and_may_name_its_id(tmp_path: Path) -> None:
    fields = f"{BURST}, headers: {{x-a: b, X-Request-Id: mine}}, objective: o"
    for request in planned(tmp_path, f"a: {{{fields}}}").requests:
        assert request.headers == {
            "x-request-id": "mine",
            "x-a": "b",
            "x-gateway-inference-objective": "o",
        }


def test_a_prompt_is_said_as_it_is(tmp_path: Path) -> None:
    plan = planned(tmp_path, f"a: {{{BURST}, prompt: 'say \"hi\"', output_tokens: 7}}")
    for request in plan.requests:
        assert json.loads(plan.body(request))["prompt"] == 'say "hi"'
        assert (request.prompt_tokens, request.max_tokens, request.group) == (2, 7, None)


def test_prompts_without_a_prefix_are_all_different(tmp_path: Path) -> None:
    plan = planned(tmp_path, f"a: {{{BURST}, input_tokens: 30}}")
    prompts = [tuple(prompt(plan, request)) for request in plan.requests]
    assert {len(words) for words in prompts} == {30}
    assert len(set(prompts)) == 20
    assert len({words[0] for words in prompts}) > 10


@pytest.mark.parametrize("form", ["text", "tokens"])
def test_a_prefix_is_one_recipe_of_its_group(tmp_path: Path, form: str) -> None:
    fields = f"{BURST}, form: {form}, prefix: {{groups: 2, tokens: 40}}, input_tokens: 5"
    plan = planned(tmp_path, f"a: {{{fields}}}")
    assert not plan.texts
    groups: dict[str | None, set[Recipe]] = {}
    for request in plan.requests:
        recipe = next(piece for piece in request.body if isinstance(piece, Recipe))
        groups.setdefault(request.group, set()).add(recipe)
        assert (request.prompt_tokens, request.shared_tokens) == (45, 40)
        words = json.loads(plan.body(request))["prompt"]
        assert len(words if form == "tokens" else words.split()) == 45
    assert sorted(map(str, groups)) == ["g0", "g1"]
    assert [len(recipes) for recipes in groups.values()] == [1, 1]


def test_lengths_of_prefixes_are_one_draw_a_group(tmp_path: Path) -> None:
    fields = f"{BURST}, prefix: {{groups: 3, tokens: {{min: 5, max: 500}}}}, input_tokens: 1"
    plan = planned(tmp_path, f"a: {{{fields}}}")
    lengths: dict[str | None, set[int]] = {}
    for request in plan.requests:
        lengths.setdefault(request.group, set()).add(request.shared_tokens)
    assert [len(each) for each in lengths.values()] == [1, 1, 1]
    assert len({next(iter(each)) for each in lengths.values()}) == 3


def test_token_ids_are_below_the_vocabulary(tmp_path: Path) -> None:
    plan = planned(tmp_path, f"a: {{{BURST}, form: tokens, vocabulary: 1100, input_tokens: 200}}")
    ids = {each for request in plan.requests for each in json.loads(plan.body(request))["prompt"]}
    assert ids == set(range(1000, 1100))


def test_max_tokens_of_a_class_wins_over_what_is_drawn(tmp_path: Path) -> None:
    output = "output_tokens: {min: 5, max: 50}"
    drawn = planned(tmp_path, f"a: {{{BURST}, {output}}}")
    fixed = planned(tmp_path, f"a: {{{BURST}, {output}, max_tokens: 9}}")
    assert len({request.max_tokens for request in drawn.requests}) > 5
    assert {request.max_tokens for request in fixed.requests} == {9}
    for a, b in zip(drawn.requests, fixed.requests, strict=True):  # prompts do not depend on it
        assert prompt(drawn, a) == prompt(fixed, b)


def test_a_share_of_clients_leaves_early(tmp_path: Path) -> None:
    arrival = "arrival: {process: burst, size: 2000}"
    fields = f"{arrival}, input_tokens: 1, cancel_after: {{tokens: {{min: 2, max: 4}}, share: 30%}}"
    cancels = [request.cancel for request in planned(tmp_path, f"a: {{{fields}}}").requests]
    leaving = [cancel for cancel in cancels if cancel is not None]
    assert len(leaving) == pytest.approx(600, abs=4 * np.sqrt(2000 * 0.3 * 0.7))
    assert set(leaving) == {2, 3, 4}
    none = planned(tmp_path, f"a: {{{arrival}, input_tokens: 1, cancel_after: {{tokens: 2, share: 0}}}}")
    assert {request.cancel for request in none.requests} == {None}


def test_a_conversation_turn_by_turn(tmp_path: Path) -> None:
    fields = (
        "arrival: {process: burst, size: 1}, input_tokens: 3, output_tokens: 2, "
        "prefix: {groups: 1, tokens: 4}, sessions: {turns: 3, think: 500ms, input_tokens: 5}"
    )
    plan = planned(tmp_path, f"a: {{{fields}}}")
    first, second, third = plan.requests
    assert [r.id for r in plan.requests] == ["a-000000.0", "a-000000.1", "a-000000.2"]
    assert [r.prompt_tokens for r in plan.requests] == [4 + 3, 4 + 3 + 2 + 5, 4 + 3 + 2 + 5 + 2 + 5]
    assert [r.shared_tokens for r in plan.requests] == [4, 4, 4]
    assert [(r.at, r.think) for r in plan.requests] == [(0.0, 0.0), (None, 0.5), (None, 0.5)]
    assert {(r.session, r.turns) for r in plan.requests} == {("a-000000", 3)}
    opening = prompt(plan, first)
    assert len(opening) == 7
    answered = prompt(plan, second, {0: "yes indeed"})
    assert answered[:9] == [*opening, "yes", "indeed"]
    assert len(answered) == 14
    assert prompt(plan, third, {0: "yes indeed", 1: "no"})[:15] == [*answered, "no"]
    assert [piece for piece in third.body if isinstance(piece, Answer)] == [Answer(0), Answer(1)]


def test_texts_of_one_session_stand_with_its_slot(tmp_path: Path) -> None:
    text = (
        "model: m\nclasses: {a: {arrival: {process: burst, size: 3}, sessions: {turns: 2}, "
        "prompt: said by somebody}}"
    )
    lines = list(build_plan(read_scenario(text, "s.yaml")))
    own = [line for line in lines if isinstance(line, SharedText)]
    assert [line.slot for line in own] == [0, 0, 1, 1, 2, 2]
    known: set[int] = set()
    for line in lines:  # no request stands before its texts
        if isinstance(line, SharedText):
            known.add(line.text)
        elif isinstance(line, PlannedRequest):
            assert {piece for piece in line.body if isinstance(piece, int)} <= known


def test_made_texts_are_recipes_wherever_they_stand(tmp_path: Path) -> None:
    text = (
        "model: m\nclasses: {a: {arrival: {process: burst, size: 3}, sessions: {turns: 3}, "
        "prefix: {groups: 1, tokens: 4}, input_tokens: 20000}}"
    )
    write_plan(tmp_path / "p.jsonl", build_plan(read_scenario(text, "s.yaml")))
    assert not load_plan(tmp_path / "p.jsonl").texts
    assert (tmp_path / "p.jsonl").stat().st_size < 9 * 1000  # nine prompts of up to 60 000 words


def test_a_session_of_one_turn_is_a_session(tmp_path: Path) -> None:
    plan = planned(tmp_path, "a: {arrival: {process: burst, size: 1}, sessions: {turns: 1}}")
    (only,) = plan.requests
    assert (only.id, only.session, only.turn, only.turns) == ("a-000000.0", "a-000000", 0, 1)


@pytest.mark.parametrize(
    ("arrival", "count", "wrap"),
    [
        ("{users: 3, requests: 12}", 12, False),
        ("{users: 3, duration: 1s}", POOL_LEAST, True),
        ("{users: 300, duration: 1ms}", 300, True),
        ("{users: 20, duration: 1s}", 400, True),
        ("{users: 9, duration: 1h}", 500, True),
        ("{users: 3, requests: 12, duration: 1s}", 12, False),
    ],
)
def test_how_many_different_requests_a_closed_loop_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrival: str, count: int, wrap: bool
) -> None:
    monkeypatch.setattr(build, "POOL_LIMIT", 500)
    plan = planned(tmp_path, f"a: {{arrival: {arrival}, prompt: x}}")
    assert (len(plan.requests), plan.header.units) == (count, count)
    assert plan.header.classes["a"].wrap is wrap
    assert {request.at for request in plan.requests} == {None}


@pytest.mark.parametrize(
    ("classes", "span"),
    [
        ("a: {arrival: {process: constant, rate: 2, duration: 3s}}", 3.0),
        ("a: {arrival: {process: constant, rate: 2, requests: 4}}", 1.5),
        ("a: {arrival: {process: constant, rate: 2, requests: 2, duration: 9s}}", 0.5),
        ("a: {arrival: {process: constant, rate: 2, duration: 3s, offset: 1s}}", 4.0),
        ("a: {arrival: {process: burst, size: 1, every: 1s, duration: 2500ms}}", 2.5),
        ("a: {arrival: {process: burst, size: 4}}", 0.0),
        ("a: {arrival: {users: 1, duration: 7s}}", 7.0),
        ("a: {arrival: {users: 1, requests: 7}}", 0.0),
        (
            "a: {arrival: {users: 1, duration: 2s}}, "
            "b: {arrival: {process: constant, rate: 1, duration: 3s}}",
            3.0,
        ),
        ("a: {arrival: {stages: [{rate: 1, duration: 2}, {rate: 0, duration: 4}]}}", 6.0),
    ],
)
def test_the_span_of_a_plan(tmp_path: Path, classes: str, span: float) -> None:
    assert planned(tmp_path, classes).header.span == span


def test_classes_are_merged_by_time_and_ties_by_their_order(tmp_path: Path) -> None:
    arrival = "arrival: {process: constant, rate: 2, duration: 1s}"
    plan = planned(tmp_path, f"b: {{{arrival}}}, a: {{{arrival}}}, c: {{arrival: {{users: 1, requests: 1}}}}")
    assert [(r.cls, r.at) for r in plan.requests] == [
        ("c", None), ("b", 0.0), ("a", 0.0), ("b", 0.5), ("a", 0.5),
    ]  # fmt: skip
    assert [r.slot for r in plan.requests] == [0, 1, 2, 3, 4]


def test_what_a_plan_says_of_its_classes(tmp_path: Path) -> None:
    fields = (
        "api: chat, stream: false, timeout: 5s, session_token: true, "
        "arrival: {process: gamma, burstiness: 0.5, rate: 5, duration: 1s}, "
        "retry: {attempts: 3, on: [reset], backoff: 1s, factor: 3, max_backoff: 9s, "
        "jitter: 0, retry_after: false}, sessions: {turns: 2, on_error: continue}"
    )
    found = planned(tmp_path, f"a: {{{fields}}}", "seed: 9\nname: n").header
    spec = found.classes["a"]
    assert (spec.api, spec.path, spec.stream, spec.timeout) == ("chat", "/v1/chat/completions", False, 5.0)
    assert (spec.session_token, spec.on_error) == (True, "continue")
    assert (spec.users, spec.process, spec.burstiness) == (None, "gamma", 0.5)
    retry = spec.retry
    assert (retry.attempts, retry.on, retry.backoff, retry.factor) == (3, ("reset",), 1.0, 3.0)
    assert (retry.max_backoff, retry.jitter, retry.retry_after) == (9.0, 0.0, False)
    assert (found.seed, found.scenario, found.numpy) == (9, "n", np.__version__)
    assert read_scenario(found.yaml, found.source).classes[0].name == "a"


def test_thinking_of_users_is_drawn_for_each_request(tmp_path: Path) -> None:
    arrival = "{users: 2, requests: 400, think: {mean: 2s, distribution: exponential}}"
    thinks = [
        request.think for request in planned(tmp_path, f"a: {{arrival: {arrival}, prompt: x}}").requests
    ]
    assert len(set(thinks)) == 400
    assert np.mean(thinks) == pytest.approx(2.0, abs=4 * 2.0 / 20)


def test_one_class_does_not_move_another(tmp_path: Path) -> None:
    arrival = "arrival: {rate: 20, duration: 2s}"
    alone = planned(tmp_path, f"a: {{{arrival}}}")
    both = planned(tmp_path, f"z: {{{arrival}, prefix: {{groups: 2, tokens: 9}}}}, a: {{{arrival}}}")
    mine = [(r.id, r.at, both.body(r)) for r in both.requests if r.cls == "a"]
    assert mine == [(r.id, r.at, alone.body(r)) for r in alone.requests]


def test_adapters_are_their_requests_models(tmp_path: Path) -> None:
    plan = planned(tmp_path, f"a: {{{BURST}, models: {{base: 1}}, adapters: {{l: 1}}, prompt: x}}")
    assert {(r.model, r.adapter) for r in plan.requests} == {("base", None), ("l", "l")}
    for request in plan.requests:
        assert json.loads(plan.body(request))["model"] == request.model


def test_seeds_change_prompts_and_times_and_nothing_else(tmp_path: Path) -> None:
    fields = "a: {arrival: {rate: 20, requests: 30}, input_tokens: 9}"
    plans = [planned(tmp_path, fields, f"seed: {seed}") for seed in (1, 2)]
    for a, b in itertools.pairwise(plans):
        assert [r.id for r in a.requests] == [r.id for r in b.requests]
        assert [r.max_tokens for r in a.requests] == [r.max_tokens for r in b.requests]
        assert all(x.at != y.at for x, y in zip(a.requests, b.requests, strict=True))
        assert all(a.body(x) != b.body(y) for x, y in zip(a.requests, b.requests, strict=True))
