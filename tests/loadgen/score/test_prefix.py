"""The prefix tree against brute force, Belady against exhaustive search, the card on known loads."""

from __future__ import annotations

import random
from itertools import product

import msgspec
import pytest
from msgspec import to_builtins

from loadgen.plan.plan import Answer, ClassPlan, Plan, PlanHeader, PlannedRequest
from loadgen.records.records import Record
from loadgen.score import prefix, prefix_prompts
from loadgen.score.prefix_tree import Paths, PrefixTree, best_hits, common_prefix


def test_common_prefix_of_everything_short() -> None:
    for a, b in product((bytes(p) for n in range(5) for p in product(b"ab", repeat=n)), repeat=2):
        expected = next(
            (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
        )
        assert common_prefix(a, b) == expected


def test_tree_finds_the_longest_earlier_prefix() -> None:
    rng = random.Random(7)
    texts = [bytes(rng.choice(b"ab") for _ in range(rng.randint(1, 12))) for _ in range(300)]
    tree, ends = PrefixTree(), []
    for index, text in enumerate(texts):
        common, end = tree.insert("m", text)
        ends.append(end)
        assert common == max((common_prefix(text, other) for other in texts[:index]), default=0)
    lengths = tree.lengths()
    for text, end in zip(texts, ends, strict=True):
        assert sum(lengths[node] for node in tree.path(end)) == len(text)
    a, b = tree.path(ends[0]), tree.path(ends[1])
    shared = [x for x, y in zip(a, b, strict=False) if x == y]
    assert sum(lengths[node] for node in shared) == common_prefix(texts[0], texts[1])


def test_spaces_share_nothing() -> None:
    tree = PrefixTree()
    tree.insert("base", b"hello")
    assert tree.insert("adapter", b"hello")[0] == 0
    assert tree.insert("base", b"hello")[0] == 5


def _exhaustive(requests: list[int], capacity: int) -> int:
    """The most hits of any policy (with bypass) on unit pages, by trying all."""
    states = {frozenset(): 0}
    for page in requests:
        after: dict[frozenset[int], int] = {}
        for held, hits in states.items():
            gained = hits + (page in held)
            choices = [
                held,
                *([held | {page}] if len(held | {page}) <= capacity else []),
                *((held - {x}) | {page} for x in held),
            ]
            for choice in choices:
                after[choice] = max(after.get(choice, 0), gained)
        states = after
    return max(states.values())


@pytest.mark.parametrize("seed", range(30))
def test_best_hits_is_the_optimum(seed: int) -> None:
    rng = random.Random(seed)
    pages = [rng.randrange(6) for _ in range(14)]
    capacity = rng.randint(1, 4)
    assert sum(best_hits(Paths([page] for page in pages), [1.0] * 6, capacity)) == _exhaustive(
        pages, capacity
    )


def test_best_hits_of_weighted_paths() -> None:
    paths = Paths([[0, 1], [0, 2], [0, 1], [0, 2]])
    assert best_hits(paths, [10, 5, 5], 100) == [0, 10, 15, 15]
    assert best_hits(paths, [10, 5, 5], 12) == [0, 10, 12, 10] or sum(best_hits(paths, [10, 5, 5], 12)) == 32
    assert sum(best_hits(paths, [10, 5, 5], 0)) == 0


def _plan(*requests: PlannedRequest) -> Plan:
    return Plan(PlanHeader(classes={"c": ClassPlan()}), list(requests))


def _request(name: str, prompt: str | list[int], **more: object) -> PlannedRequest:
    body = msgspec.json.encode({"model": "m", "prompt": prompt}).decode()
    return PlannedRequest(slot=0, id=name, cls="c", body=[body], **more)


def _record(name: str, at: float, tokens: int, cached: int | None, pod: str, **more: object) -> Record:
    return Record(
        id=name, cls="c", intended=at, start=at, end=at + 1, outcome="ok", prompt_tokens=tokens,
        cached_tokens=cached, pod=pod, output_tokens=8, **more,
    )  # fmt: skip


def test_score_of_token_prompts_is_exact() -> None:
    shared = list(range(1000, 1064))
    prompts = {f"r{i}": [*shared, *range(i * 100, i * 100 + 32)] for i in range(4)}
    plan = _plan(*(_request(name, prompt) for name, prompt in prompts.items()))
    records = [_record(f"r{i}", float(i), 96, 64 if i > 1 else 0, "ab"[i % 2], group="g") for i in range(4)]
    card = prefix.score(prefix_prompts.Asks(records, plan), {}, 16)
    assert card is not None
    assert card.hit_share == 128 / 384
    assert card.best_infinite == 192 / 384
    assert card.best_capacity is None
    assert card.reached == pytest.approx(2 / 3)
    assert to_builtins(card.pods["a"]) == {
        "prompt_tokens": 192,
        "cached_tokens": 64,
        "requests": 2,
        "hit_share": 64 / 192,
    }
    assert card.groups["g"].requests == 4
    assert card.group_pods == {"g": {"a": 2, "b": 2}}
    # r1 went to b although a knew 64 tokens; r2 and r3 found what their pod had
    assert to_builtins(card.decisions) == {
        "judged": 3,
        "best_share": 2 / 3,
        "lost_tokens": 64,
        "lost_share": 64 / 384,
    }


def test_a_small_cache_bounds_what_can_be_reached() -> None:
    plan = _plan(*(_request(f"r{i}", list(range((i % 4) * 1000, (i % 4) * 1000 + 64))) for i in range(16)))
    records = [_record(f"r{i}", float(i), 64, 0, "a") for i in range(16)]
    ordered = prefix_prompts.Asks(records, plan)
    whole = prefix.score(ordered, {"a": 10_000}, 16)
    half = prefix.score(ordered, {"a": 64, "b": 64}, 16)
    assert whole is not None
    assert half is not None
    assert whole.best_infinite == whole.best_capacity == 12 * 48 / (16 * 64)  # the last token is never cached
    assert 0 < half.best_capacity < whole.best_capacity
    assert half.capacity_tokens == 128


def test_sessions_know_their_own_answers() -> None:
    first = PlannedRequest(
        slot=0, id="s.1", cls="c", session="s", turn=1, body=['{"model":"m","prompt":"', "word " * 32, '"}']
    )
    second = PlannedRequest(
        slot=0, id="s.2", cls="c", session="s", turn=2,
        body=['{"model":"m","prompt":"', "word " * 32, Answer(1), "more " * 32, '"}'],
    )  # fmt: skip
    records = [
        _record("s.1", 0, 32, 0, "a", session="s", turn=1),
        _record("s.2", 2, 72, 32, "a", session="s", turn=2),
    ]
    ordered = prefix_prompts.Asks(records, _plan(first, second))
    assert next(iter(ordered)).after is not None
    card = prefix.score(ordered, {}, 8)
    assert card is not None
    assert card.best_infinite == 40 / 104  # 32 asked + 8 answered
    assert card.reached == 32 / 40


def test_chat_messages_adapters_and_salts_are_spaces_of_their_own() -> None:
    def chat(name: str, model: str, salt: str = "") -> PlannedRequest:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "tell me " * 16}],
            "cache_salt": salt,
        }
        return PlannedRequest(slot=0, id=name, cls="c", body=[msgspec.json.encode(body).decode()])

    plan = _plan(chat("a", "m"), chat("b", "lora"), chat("c", "m", "x"), chat("d", "m"))
    records = [_record(name, float(at), 32, 0, "p") for at, name in enumerate("abcd")]
    card = prefix.score(prefix_prompts.Asks(records, plan), {}, 16)
    assert card is not None
    assert card.best_infinite == 16 / 128  # only d repeats a; its last block holds the last token


def test_warm_up_warms_and_is_not_counted() -> None:
    plan = _plan(*(_request(f"r{i}", list(range(64))) for i in range(3)))
    records = [_record(f"r{i}", float(i), 64, 48 * (i > 0), "a") for i in range(3)]
    card = prefix.score(prefix_prompts.Asks(records, plan), {}, 16, since=1.0)
    assert card is not None
    assert card.prompt_tokens == 128
    assert card.best_infinite == card.hit_share == 0.75


def test_nothing_to_say_without_cached_tokens() -> None:
    plan = _plan(_request("r", "hello there"))
    assert prefix.score(prefix_prompts.Asks([_record("r", 0, 2, None, "a")], plan), {}) is None
    assert prefix.score(prefix_prompts.Asks([], _plan()), {}) is None


def test_pods_counters_stand_in_for_answers_without_cached_tokens() -> None:
    plan = _plan(*(_request(f"r{i}", list(range(64))) for i in range(4)))
    ordered = prefix_prompts.Asks([_record(f"r{i}", float(i), 64, None, "ab"[i % 2]) for i in range(4)], plan)
    card = prefix.score(ordered, {}, 16, pod_hits={"a": 48.0, "b": 24.0})
    assert card is not None
    assert card.source == "pods"
    assert card.hit_share == 72 / 256
    assert card.reached == 72 / 144
    assert card.pods["b"].hit_share == 24 / 128
    assert card.groups == {}
    assert card.decisions.judged == 3


def test_a_body_that_is_no_json_is_a_prompt_of_its_own() -> None:
    raw = PlannedRequest(slot=0, id="r0", cls="c", body=["not JSON at all " * 8])
    ordered = prefix_prompts.Asks([_record("r0", 0.0, 32, 0, "a")], _plan(raw))
    assert next(iter(ordered)).content.startswith(b"not JSON")


def test_a_prompt_that_nobody_answered_may_still_have_filled_a_cache() -> None:
    plan = _plan(*(_request(f"r{i}", list(range(64))) for i in range(2)))
    left = Record(id="r0", cls="c", intended=0.0, start=0.0, end=1.0, outcome="client_cancel", pod="a")
    shed = Record(id="r0", cls="c", intended=0.0, start=0.0, end=1.0, outcome="shed_429")
    answered = _record("r1", 1.0, 64, 48, "a")
    for before, best in ((left, 0.75), (shed, 0.75)):
        card = prefix.score(prefix_prompts.Asks([before, answered], plan), {"a": 1000}, 16)
        assert card is not None
        assert card.prompt_tokens == 64
        assert card.best_infinite == best
        assert card.reached == 1.0
    assert list(prefix_prompts.Asks([shed], plan)) == []


def test_no_rounding_lifts_the_share_reached_above_one() -> None:
    """Texts of many ratios of bytes to tokens through caches that hold everything."""
    rng = random.Random(3)
    shared = "a shared preamble " * 40
    texts = [shared + "".join(rng.choice("abc def") for _ in range(40 * i)) for i in range(1, 12)]
    plan = _plan(*(_request(f"r{i}", text) for i, text in enumerate(texts)))
    tokens = [160 + rng.randint(5, 30) * i for i in range(1, 12)]
    records = [_record(f"r{i}", float(i), n, 160 * (i > 0), "a") for i, n in enumerate(tokens)]
    card = prefix.score(prefix_prompts.Asks(records, plan), {"a": 1_000_000}, 16)
    assert card is not None
    assert card.best_capacity == card.best_infinite
    assert card.hit_share <= card.best_infinite
    assert card.reached <= 1.0


def test_hits_that_this_run_did_not_prepare_are_told() -> None:
    plan = _plan(*(_request(f"r{i}", list(range(i * 100, i * 100 + 64))) for i in range(2)))
    records = [_record(f"r{i}", float(i), 64, 48, "a") for i in range(2)]
    card = prefix.score(prefix_prompts.Asks(records, plan), {}, 16)
    assert card is not None
    assert card.unexplained_tokens == 96
    assert card.reached == 1.0
