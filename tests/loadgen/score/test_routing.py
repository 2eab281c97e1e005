"""The parts of the scorecard on picks with known answers."""

from __future__ import annotations

import math
import random

import pytest

from loadgen.errors import RecordError
from loadgen.records.frame import Frame
from loadgen.records.podnames import all_names, by_pod
from loadgen.records.records import Record
from loadgen.records.series import PodSeries, evenness, grid
from loadgen.records.table import SERVED_HEADERS, Records
from loadgen.score.decisions import Candidate, Decision, read_decisions, staleness
from loadgen.score.lora import lora
from loadgen.score.recovery import recovery
from loadgen.score.routing import herding, picked_and_served, picks, sessions, spread_card


def pick(at: float, pod: str | None, **more: object) -> Record:
    times = {"intended": at, "start": at, "first_byte": at + 0.1, "end": at + 0.2, "outcome": "ok"}
    return Record(id=f"{at}", cls="c", pod=pod, **{**times, **more})  # type: ignore[arg-type]


def test_spread_counts_pods_that_served_nothing() -> None:
    card = spread_card(Records.of([pick(0, "p-1"), pick(1, "p-1")]), ["p-1", "p-2"], None)
    assert card is not None
    assert card.counts == {"p-1": 2, "p-2": 0}
    assert card.max_over_mean == 2
    assert spread_card(Records.of([]), ["p-1"], None) is None


CANARY = {"s-1": "stable", "s-2": "stable", "c-1": "canary"}


def canary(*pods: tuple[str, int]) -> Records:
    names = [name for name, count in pods for _ in range(count)]
    return Records.of([pick(float(i), name) for i, name in enumerate(names)])


def test_a_split_over_pools_that_was_asked_for_is_not_uneven() -> None:
    ordered = canary(("s-1", 460), ("s-2", 440), ("c-1", 100))
    card = spread_card(ordered, ["s-1", "s-2", "c-1"], None, CANARY)
    assert card is not None
    assert card.pools == {"canary": 0.1, "stable": 0.9}
    assert card.expected == "even within pools"
    assert card.chi_square == pytest.approx(2 * 10**2 / 450)
    assert card.degrees == 1
    assert card.p_value == pytest.approx(0.505, abs=0.001)
    blind = spread_card(ordered, ["s-1", "s-2", "c-1"], None, dict.fromkeys(CANARY, "one"))
    assert blind is not None
    assert (blind.pools, blind.expected, blind.degrees) == ({}, "even", 2)
    assert blind.p_value == 0.0 or blind.p_value < 1e-12


def test_unevenness_within_a_pool_is_still_seen() -> None:
    card = spread_card(canary(("s-1", 800), ("s-2", 100), ("c-1", 100)), [], None, CANARY)
    assert card is not None
    assert card.p_value is not None
    assert card.p_value < 1e-6


def test_pools_and_lifetimes_are_weighed_together() -> None:
    card = spread_card(canary(("s-1", 600), ("s-2", 300), ("c-1", 100)), [], {"s-2": 0.5}, CANARY)
    assert card is not None
    assert card.chi_square == pytest.approx(0, abs=1e-9)
    assert card.expected == "by lifetime within pools"


def test_a_pod_that_the_listing_does_not_know_makes_no_pool_of_one() -> None:
    card = spread_card(canary(("s-1", 50), ("x", 50)), [], None, CANARY)
    assert card is not None
    assert card.pools == {}
    two = spread_card(canary(("s-1", 50), ("c-1", 20), ("x", 30)), [], None, CANARY)
    assert two is not None
    assert two.pools == {"canary": 0.2, "no pool": 0.3, "stable": 0.5}
    assert two.p_value == 1.0, "one pod in each: nothing is left to be uneven"


def test_picks_are_in_order_of_start_and_have_a_pod() -> None:
    late = pick(0, "a", start=5.0)
    assert [r.pod for r in picks(Frame([late, pick(1, "b"), pick(2, None)]))] == ["b", "a"]


def test_herding_of_a_herd() -> None:
    """Every 50 ms all picks go to one pod, another one each time."""
    card = herding(Records.of([pick(i * 0.01 + 0.001, f"p-{i // 5 % 4}") for i in range(400)]))
    assert card is not None
    assert card.longest_run == 5
    assert card.index == pytest.approx(4, rel=0.1)
    assert card.largest_burst_on_one_pod == 5
    assert card.whole_herds == card.crowded_intervals


def test_herding_of_chance_and_of_round_robin() -> None:
    rng = random.Random(1)
    chance = herding(Records.of([pick(i * 0.005, rng.choice("abcd")) for i in range(8000)]))
    turns = herding(Records.of([pick(i * 0.0125, "abcd"[i % 4]) for i in range(400)]))
    assert chance is not None
    assert turns is not None
    assert chance.index == pytest.approx(1, abs=0.05)
    assert chance.mean_run == pytest.approx(chance.expected_run, rel=0.05)
    assert turns.index < 0.2
    assert herding(Records.of([pick(0, "a")])) is None


def test_sessions_by_hand() -> None:
    turns = [("s", 1, "a"), ("s", 2, "a"), ("s", 3, "b"), ("t", 1, "b"), ("t", 2, "b"), ("u", 1, "a")]
    ordered = [pick(float(i), pod, session=name, turn=turn) for i, (name, turn, pod) in enumerate(turns)]
    card = sessions(Records.of(ordered))
    assert card is not None
    assert (card.sessions, card.turns, card.moves) == (2, 3, 1)
    assert card.sticky_share == pytest.approx(2 / 3)
    assert card.whole_sessions_share == 0.5
    assert card.rehomed == 0  # a still answered u afterwards
    gone = sessions(Records.of(ordered[:-1]))
    assert gone is not None
    assert gone.rehomed == 1
    assert sessions(Records.of([pick(0, "a")])) is None


def test_picked_against_served() -> None:
    addresses = {"10.0.0.1:8000": "a", "10.0.0.2:8000": "b"}
    header = "x-gateway-destination-endpoint"
    ordered = [
        pick(0, "a", headers={header: "10.0.0.1:8000"}),
        pick(1, "b", headers={header: "10.0.0.1:8000,10.0.0.2:8000"}),
        pick(2, "b", headers={header: "10.0.0.1:8000"}),
        pick(3, "b"),
    ]
    card = picked_and_served(Records.of(ordered), addresses)
    assert card is not None
    assert (card.judged, card.served_elsewhere, card.on_a_later_choice) == (3, 2, 1)
    assert card.examples[0].picked.startswith("10.0.0.1")
    assert picked_and_served(Records.of([pick(0, "a")]), addresses) is None


def test_adapters_follow_the_slots_of_each_pod() -> None:
    series = {"p": PodSeries("p", max_lora=2)}
    asked = ["x", "y", "x", "z", "y", "x"]  # z evicts y, y evicts x, x evicts z
    card = lora(Records.of([pick(float(i), "p", adapter=name) for i, name in enumerate(asked)]), series)
    assert card is not None
    assert card.routed_loaded == 1
    assert (card.loads, card.evictions, card.slots) == (5, 3, 2)
    assert card.matrix == [[3], [2], [1]]
    assert lora(Records.of([pick(0, "p")]), series) is None


def test_adapter_reach_counts_only_what_some_pod_had() -> None:
    ordered = [pick(0, "p", adapter="x"), pick(1, "q", adapter="x"), pick(2, "q", adapter="x")]
    card = lora(Records.of(ordered), {})
    assert card is not None
    assert card.reached == 0.5
    assert card.loaded_somewhere_share == pytest.approx(2 / 3)
    assert card.slots is None


def test_recovery_after_a_second_of_trouble() -> None:
    records = []
    for i in range(600):
        at = i * 0.05
        slow = 15 <= at < 16.5
        records.append(
            pick(at, "p", end=at + (0.9 if slow else 0.1), outcome="reset" if slow and i % 2 else "ok")
        )
    (row,) = recovery(Frame(records), [(15.0, "kill p")])
    assert row.judged
    assert row.p90_before == pytest.approx(0.1)
    assert row.p90_worst == pytest.approx(0.9)
    assert row.ok_worst == pytest.approx(0.5)
    assert row.seconds == pytest.approx(1.5, abs=0.26)


def test_recovery_that_never_comes_and_one_that_cannot_be_judged() -> None:
    records = [pick(i * 0.1, "p", end=i * 0.1 + (0.1 if i < 100 else 2.0)) for i in range(200)]
    first, never = recovery(Frame(records), [(0.05, "early"), (10.0, "slow for good")])
    assert not first.judged
    assert never.seconds is None


def test_series_counters_restart_and_gaps_are_not_zero() -> None:
    pod = PodSeries("p")
    for t, value in enumerate([0, 5, 9, 2, 4]):
        pod.add(float(t), {"succeeded": value}, frozenset(), 0.001)
    pod.add(5.0, {}, frozenset(), 0.001)
    assert pod.grew("succeeded") == 13
    assert pod.grew("hits") is None
    assert pod.at(2.5) == 2
    assert pod.at(-1) is None


def test_evenness_of_two_queues() -> None:
    pods = [PodSeries("a"), PodSeries("b")]
    for t in range(10):
        pods[0].add(t + 0.5, {"waiting": 4.0}, frozenset(), 0.0)
        pods[1].add(t + 0.5, {"waiting": 0.0}, frozenset(), 0.0)
    found = evenness(pods, "waiting", [float(x) for x in range(11)])
    assert found is not None
    assert (found.mean, found.max_minus_mean, found.max_minus_min, found.peak) == (2, 2, 4, 4)
    assert found.pods == {"a": 4, "b": 0}
    assert evenness(pods, "kv", [0.0, 1.0]) is None


def test_a_bin_without_a_scrape_keeps_the_last_value_for_two_bins() -> None:
    pod = PodSeries("a")
    pod.add(0.5, {"kv": 0.5}, frozenset(), 0.0)
    row = grid([pod], "kv", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])["a"]
    assert row[:3].tolist() == [0.5, 0.5, 0.5]
    assert all(value != value for value in row[3:])


def test_decision_log_against_what_happened(tmp_path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(
        '{"time": 1000.5, "request_id": "0.5", "pick": ["10.0.0.1:80"], "duration_us": 100, "candidates": ['
        '{"endpoint": "10.0.0.1:80", "name": "ns/a", "age_ms": 20, "waiting": 0, "running": 0, "total": 3.0},'
        '{"endpoint": "10.0.0.2:80", "name": "ns/b", "waiting": 0, "running": 0, "total": 2.0}]}\n'
        '{"time": 5000.0, "request_id": "other run", "pick": []}\n'
    )
    decisions = read_decisions(path, 1000.0, 10.0)
    assert len(decisions) == 1
    records = [pick(0.4, "a", end=2.0), pick(0.5, "a")]
    card = staleness(decisions, Records.of(records), 1000.0, {})
    assert card is not None
    assert card.age.p50 == pytest.approx(0.02)
    assert card.took.mean == pytest.approx(1e-4)
    assert card.load_error_abs == 1
    assert card.highest_score_share == 1
    assert card.served_as_picked_share == 1
    assert staleness([], Records.of(records), 0, {}) is None
    with pytest.raises(RecordError, match="decision log"):
        read_decisions(tmp_path / "none.jsonl", 0, 1)


def test_a_pick_below_the_highest_score_is_counted() -> None:
    candidates = [Candidate("a:1", total=1.0), Candidate("b:1", total=2.0)]
    card = staleness([Decision(time=0, pick=["a:1"], candidates=candidates)], Records.of([]), 0, {})
    assert card is not None
    assert card.highest_score_share == 0
    assert card.age is None


def page(name: str, address: str, **more: object) -> PodSeries:
    return PodSeries(name, address=address, **more)  # type: ignore[arg-type]


ADDRESSES = [f"127.0.0.{i}:8000" for i in (2, 3, 4)]


@pytest.mark.parametrize(
    ("pages", "records"),
    [
        pytest.param(
            [page(f"sim-{i}", a) for i, a in enumerate(ADDRESSES)],
            [pick(i, f"sim-{i}") for i in range(3)],
            id="names given",
        ),
        pytest.param(
            [page(a, a, pod=f"sim-{i}") for i, a in enumerate(ADDRESSES)],
            [pick(i, f"sim-{i}") for i in range(3)],
            id="the server's own word",
        ),
        pytest.param(
            [page(a, a, labels=frozenset({f"sim-{i}", "other"})) for i, a in enumerate(ADDRESSES)],
            [pick(i, f"sim-{i}") for i in range(3)],
            id="labels",
        ),
        pytest.param(
            [page(a, a) for a in ADDRESSES],
            [pick(i, f"sim-{i}", headers={SERVED_HEADERS[0]: a}) for i, a in enumerate(ADDRESSES)],
            id="the gateway's word",
        ),
        pytest.param(
            [page(f"h:{p}", f"h:{p}") for p in (1, 2, 3)],
            [pick(i, f"sim-{i}", port=str(i + 1)) for i in range(3)],
            id="ports",
        ),
    ],
)
def test_a_pod_that_names_itself_and_its_page_are_one(pages: list[PodSeries], records: list[Record]) -> None:
    found = by_pod({p.name: p for p in pages}, Records.of(records), "http://gateway:80")
    assert sorted(found) == ["sim-0", "sim-1", "sim-2"]
    assert [found[name].address for name in sorted(found)] == [p.address for p in pages]
    assert all_names(found, {r.pod or "" for r in records}) == {"sim-0", "sim-1", "sim-2"}


def test_two_name_spaces_are_never_united() -> None:
    pages = {a: page(a, a) for a in ADDRESSES}
    records = [pick(i, f"sim-{i}", port="8000") for i in range(3)]
    found = by_pod(pages, Records.of(records), "http://gateway:80")
    assert sorted(found) == ADDRESSES  # which is which, a port that all have does not say
    assert all_names(found, {"sim-0", "sim-1", "sim-2"}) == {"sim-0", "sim-1", "sim-2"}
    half = {**{a: page(a, a) for a in ADDRESSES[1:]}, "sim-0": page("sim-0", ADDRESSES[0])}
    assert all_names(half, {"sim-0", "sim-1"}) == {"sim-0", "sim-1"}
    assert all_names(half, {"sim-0"}) == {"sim-0", *ADDRESSES[1:]}  # pods that answered nothing
    assert all_names(half, set()) == set(half)


def test_the_target_is_the_pod_when_all_answers_are_of_one() -> None:
    records = [pick(i, "sim-0") for i in range(3)]
    assert list(by_pod({"h:1": page("h:1", "h:1")}, Records.of(records), "http://h:1")) == ["sim-0"]
    assert list(by_pod({"h:1": page("h:1", "h:1")}, Records.of(records), "http://gateway:80")) == ["h:1"]


def test_the_pages_of_a_pods_ranks_are_one_series() -> None:
    pages = {}
    for rank in range(2):
        series = pages[f"b#{rank}"] = page(f"b#{rank}", f"h:{rank}", pod="b", num_gpu_blocks=100)
        series.phases = frozenset({"before", "after"} if rank else {"before", "during", "after"})
        for t in range(3):
            values = {"kv": 0.1 * (rank + 1), "succeeded": 10.0 * t, "waiting": float(rank)}
            series.add(t + 0.001 * rank, values if (rank, t) != (1, 1) else {}, frozenset({f"a{rank}"}), 0.1)
    found = by_pod(pages, Records.of([pick(0, "b")]), "")["b"]
    assert found.columns["succeeded"][0::2] == [0.0, 40.0]
    assert math.isnan(found.columns["succeeded"][1])
    assert found.columns["kv"][0] == 0.2
    assert found.columns["waiting"][2] == 1.0
    assert found.adapters[0] == {"a0", "a1"}
    assert (found.grew("succeeded"), found.num_gpu_blocks) == (40.0, 200)
    assert found.phases == {"before", "after"}
