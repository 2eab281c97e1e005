"""The prefix card on loads so small that every figure is worked out beside it."""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from loadgen.numbers.outcomes import OUTCOMES
from loadgen.plan.plan import Answer, ClassPlan, Plan, PlanHeader, PlannedRequest, SharedText
from loadgen.records.records import Record
from loadgen.score import prefix, prefix_prompts
from loadgen.score.prefix_tree import Paths, PrefixTree, best_hits, common_prefix

IDS = st.lists(st.integers(1000, 1003), min_size=1, max_size=24)


def request(name: str, prompt: object, **body: object) -> PlannedRequest:
    made = msgspec.json.encode({"model": "m", "prompt": prompt, **body}).decode()
    return PlannedRequest(slot=0, id=name, cls="c", body=[made])


def record(
    name: str, at: float, prompt: int, cached: int | None, pod: str | None = "a", **more: object
) -> Record:
    fields: dict[str, object] = {
        "id": name, "cls": "c", "intended": at, "start": at, "end": at + 1, "outcome": "ok", "pod": pod,
        "prompt_tokens": prompt, "cached_tokens": cached, "output_tokens": 8,
    }  # fmt: skip
    return Record(**{**fields, **more})  # type: ignore[arg-type]


def plan(*requests: PlannedRequest, texts: dict[int, str] | None = None) -> Plan:
    return Plan(PlanHeader(classes={"c": ClassPlan()}), list(requests), texts or {})


def ids(first: int, count: int) -> list[int]:
    return list(range(first, first + count))


@given(st.lists(st.binary(max_size=12), max_size=12))
def test_a_tree_gives_back_what_was_put_in(contents: list[bytes]) -> None:
    tree, ends = PrefixTree(), []
    for index, content in enumerate(contents):
        known = max((common_prefix(content, other) for other in contents[:index]), default=0)
        common, end = tree.insert("s", content)
        ends.append(end)
        assert common == known
    lengths = tree.lengths()
    for content, end in zip(contents, ends, strict=True):
        assert sum(lengths[node] for node in tree.path(end)) == len(content)
    distinct = {node for end in ends for node in tree.path(end)}
    prefixes = {content[:end] for content in contents for end in range(1, len(content) + 1)}
    assert sum(lengths[node] for node in distinct) == len(prefixes)  # each byte of each prefix stands once


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_common_prefixes(a: bytes, b: bytes) -> None:
    shared = common_prefix(a, b)
    assert a[:shared] == b[:shared]
    assert shared in (len(a), len(b)) or a[shared] != b[shared]
    assert common_prefix(b, a) == shared


@given(st.lists(st.integers(0, 5), max_size=14), st.integers(0, 6), st.integers(0, 6))
def test_a_larger_cache_is_no_worse(pages: list[int], small: int, more: int) -> None:
    paths = Paths([page] for page in pages)
    hits = sum(best_hits(paths, [1.0] * 6, small))
    assert hits <= sum(best_hits(paths, [1.0] * 6, small + more))
    assert sum(best_hits(paths, [1.0] * 6, 6)) == len(pages) - len(set(pages))  # all but the first of each


@pytest.mark.parametrize(
    ("pages", "capacity", "hits"),
    [
        ([0, 0, 0], 1, [0, 1, 1]),
        ([0, 1, 0, 1], 1, [0, 0, 1, 0]),  # 1 is let pass: 0 comes sooner
        ([0, 1, 2, 0, 1, 2], 2, [0, 0, 0, 1, 1, 0]),
        ([0, 1, 2], 3, [0, 0, 0]),
        ([0, 0], 0, [0, 0]),
        ([], 5, []),
    ],
)
def test_beladys_choice_by_hand(pages: list[int], capacity: int, hits: list[int]) -> None:
    assert best_hits(Paths([page] for page in pages), [1.0] * 3, capacity) == hits


def test_a_hit_is_worth_what_it_is_said_to_be() -> None:
    paths = Paths([[0, 1], [0, 1]])
    assert best_hits(paths, [2.0, 2.0], 4, [10.0, 30.0]) == [0, 40.0]
    assert best_hits(paths, [2.0, 2.0], 3, [10.0, 30.0]) == [0, 25.0]  # half of the end is let go


@pytest.mark.parametrize(
    ("body", "space", "content"),
    [
        ({"prompt": "hi"}, "m\0", b"hi"),
        ({"prompt": "hi", "cache_salt": "x"}, "m\0x", b"hi"),
        ({"prompt": [1, 258]}, "m\0\0ids", b"\0\0\0\1\0\0\1\2"),
        ({"prompt": []}, "m\0", b""),
        ({"prompt": ["hi", "ho"]}, "m\0", b"hiho"),
        ({"input": "hi"}, "m\0", b"hi"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "m\0", b"\1user\2hi"),
        ({"input": [{"role": "user", "content": "hi"}]}, "m\0", b"\1user\2hi"),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "m\0", b'\1user\2[{"text":"hi"}]'),
    ],
)
def test_what_a_cache_sees_of_a_body(body: dict[str, object], space: str, content: bytes) -> None:
    made = PlannedRequest(
        slot=0, id="r", cls="c", body=[msgspec.json.encode({"model": "m", **body}).decode()]
    )
    assert prefix_prompts.prompt_of(made, plan(made), {}) == (space, content)


def test_shared_texts_and_answers_stand_in_a_prompt() -> None:
    made = PlannedRequest(
        slot=0, id="s.1", cls="c", session="s", turn=1, body=['{"model":"m","prompt":"', 7, Answer(0), '"}']
    )
    _, content = prefix_prompts.prompt_of(made, plan(made, texts={7: "shared "}), {0: 8})
    assert content == b"shared " + b"s:0".ljust(5 * 8, b"~")  # eight answered tokens, five bytes each
    _, unknown = prefix_prompts.prompt_of(made, plan(made, texts={7: "shared "}), {})
    assert unknown == b"shared "


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_who_may_have_filled_a_cache(outcome: str) -> None:
    made = request("r", ids(0, 32))
    found = prefix_prompts.Asks([record("r", 0.0, 32, 0, outcome=outcome)], plan(made))
    assert bool(list(found)) == (outcome in prefix_prompts.REACHED_A_POD)


def test_which_requests_are_known_and_in_what_order() -> None:
    known = plan(request("r0", "a"), request("r1", "b"))
    records = [
        record("r1", 0.0, 1, 0, start=2.0),
        record("r0", 1.0, 1, 0, start=1.0),
        record("r0#2", 3.0, 1, 0),  # a later round of a closed loop
        record("other", 4.0, 1, 0),
        record("r0", 5.0, 0, 0),  # an answer that counted nothing
        record("r0", 6.0, 1, 0, start=None),
    ]
    found = prefix_prompts.Asks(records, known)
    assert [found.records.ids[ask.row] for ask in found] == ["r0", "r1", "r0#2"]


def test_a_card_by_hand() -> None:
    """Two groups of 64 ids: a a b a on pods x x y y; blocks of 16, the last token never cached."""
    requests = [
        request("r0", ids(0, 64)),
        request("r1", ids(0, 64)),
        request("r2", ids(500, 64)),
        request("r3", ids(0, 64)),
    ]
    records = [
        record("r0", 0.0, 64, 0, "x", group="g0"),
        record("r1", 1.0, 64, 48, "x", group="g0"),
        record("r2", 2.0, 64, 0, "y", group="g1"),
        record("r3", 3.0, 64, 0, "y", group="g0"),
    ]
    card = prefix.score(prefix_prompts.Asks(records, plan(*requests)), {}, 16)
    assert card is not None
    assert (card.prompt_tokens, card.cached_tokens, card.hit_share) == (256, 48, 48 / 256)
    assert card.best_infinite == 96 / 256  # r1 and r3, 48 each
    assert (card.reached, card.reached_infinite) == (0.5, 0.5)
    assert (card.best_capacity, card.capacity_tokens) == (None, None)
    assert card.hit_requests_share == 0.25
    assert card.group_pods == {"g0": {"x": 2, "y": 1}, "g1": {"y": 1}}
    assert asdict(card.pods["x"]) == {
        "prompt_tokens": 128,
        "cached_tokens": 48,
        "requests": 2,
        "hit_share": 0.375,
    }
    assert card.groups["g1"].hit_share == 0.0
    # r1 and r3 had a pod that knew them; r3 went to the other, 48 tokens away
    assert asdict(card.decisions) == {
        "judged": 2,
        "best_share": 0.5,
        "lost_tokens": 48,
        "lost_share": 48 / 256,
    }
    assert (card.source, card.block_size, card.unexplained_tokens) == ("usage", 16, 0)


@pytest.mark.parametrize(("block", "best"), [(1, 31), (8, 24), (16, 16), (32, 0)])
def test_whole_blocks_only(block: int, best: int) -> None:
    """32 ids asked twice: at most 31 of them can be found, in whole blocks."""
    asked = plan(request("r0", ids(0, 32)), request("r1", ids(0, 32)))
    card = prefix.score(
        prefix_prompts.Asks([record(f"r{n}", float(n), 32, 0) for n in range(2)], asked), {}, block
    )
    assert card is not None
    assert card.best_infinite == best / 64


@given(st.lists(IDS, min_size=1, max_size=8), st.integers(1, 4), st.integers(1, 64))
def test_bounds_keep_their_order(prompts: list[list[int]], block: int, cache: int) -> None:
    """Infinite caches serve what a brute-force search finds; small ones no more, never above the prompts."""
    requests = [request(f"r{n}", prompt) for n, prompt in enumerate(prompts)]
    records = [record(f"r{n}", float(n), len(prompt), 0) for n, prompt in enumerate(prompts)]
    ordered = prefix_prompts.Asks(records, plan(*requests))
    card = prefix.score(ordered, {"a": cache}, block)
    assert card is not None
    best = 0
    for index, prompt in enumerate(prompts):
        shared = max((_common(prompt, other) for other in prompts[:index]), default=0)
        best += min(shared, len(prompt) - 1) // block * block
    assert card.best_infinite * card.prompt_tokens == pytest.approx(best)
    assert 0 <= card.best_capacity <= card.best_infinite + 1e-12 <= 1 + 1e-12
    assert card.reached_infinite in (None, 0.0)


def _common(a: list[int], b: list[int]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@pytest.mark.parametrize("shared", range(14, 19))
def test_ids_that_look_alike_share_no_part_of_a_token(shared: int) -> None:
    """1500 and 1501 have three of their four bytes in common."""
    asked = plan(request("r0", [*ids(1000, shared), 1500]), request("r1", [*ids(1000, shared), 1501]))
    ordered = prefix_prompts.Asks([record(f"r{n}", float(n), shared + 1, 0) for n in range(2)], asked)
    card = prefix.score(ordered, {}, 16)
    assert card is not None
    assert card.best_infinite * card.prompt_tokens == (16 if shared >= 16 else 0)


def test_requests_that_nobody_counts_still_warm() -> None:
    asked = plan(*(request(f"r{n}", ids(0, 32)) for n in range(2)))
    cold = [record("r0", 0.0, 0, None, outcome="client_cancel"), record("r1", 1.0, 32, 16)]
    card = prefix.score(prefix_prompts.Asks(cold, asked), {}, 16)
    assert card is not None
    assert (card.prompt_tokens, card.reached, card.unexplained_tokens) == (32, 1.0, 0)


def test_pods_that_do_not_say_who_they_are_are_not_judged() -> None:
    asked = plan(*(request(f"r{n}", ids(0, 32)) for n in range(3)))
    card = prefix.score(
        prefix_prompts.Asks([record(f"r{n}", float(n), 32, 0, None) for n in range(3)], asked), {}, 16
    )
    assert card is not None
    assert asdict(card.decisions) == {
        "judged": 0,
        "best_share": None,
        "lost_tokens": 0,
        "lost_share": None,
    }
    assert (card.pods, card.group_pods) == ({}, {})


def test_a_conversation_stays_where_its_history_is_or_loses_it() -> None:
    turns = []
    for turn in range(3):
        body: list[object] = ['{"model":"m","prompt":"', "a" * 160]
        for earlier in range(turn):
            body += [Answer(earlier), "b" * 160]
        turns.append(
            PlannedRequest(slot=0, id=f"s.{turn}", cls="c", session="s", turn=turn, body=[*body, '"}'])
        )  # type: ignore[list-item]
    tokens = [32, 72, 112]  # 5 bytes each: 160, then an answer of 8 tokens and 160 more
    for pods, lost in (("xxx", 0), ("xyx", 40)):
        records = [
            record(f"s.{turn}", 2.0 * turn, tokens[turn], 0, pods[turn], session="s", turn=turn)
            for turn in range(3)
        ] + [record("other", 9.0, 1, 0, "y")]
        other = request("other", "z")
        card = prefix.score(prefix_prompts.Asks(records, plan(*turns, other)), {}, 8)
        assert card is not None
        assert card.best_infinite == (40 + 80) / (sum(tokens) + 1)
        # the second turn leaves 40 tokens behind, and the third finds 40 where 80 could have been
        assert card.decisions.lost_tokens == (0 if not lost else 40 + 40)


def test_reading_in_another_order_gives_the_same_card() -> None:
    rng = random.Random(1)
    requests = [request(f"r{n}", ids(n % 3 * 1000, 64)) for n in range(12)]
    records = [record(f"r{n}", float(n), 64, 48 * (n > 2), "ab"[n % 2]) for n in range(12)]
    cards = []
    for _ in range(3):
        rng.shuffle(records)
        cards.append(prefix.score(prefix_prompts.Asks(records, plan(*requests)), {"a": 256, "b": 256}, 16))
    assert all(a == b for a, b in pairwise(cards))


def test_plans_hold_texts_apart_from_requests() -> None:
    assert SharedText(text=1, value="x").slot is None
    assert list(prefix_prompts.Asks([], plan())) == []
    assert prefix.score(prefix_prompts.Asks([], plan()), {"a": 1}, 16, 0.0, {"a": 5.0}) is None
