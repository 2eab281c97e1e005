"""The reason of a pick, against the load generator's own reading of the same log."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from gateway.why.decision import Candidate, Decision, Refusal, decode, decode_all
from gateway.why.explain import explain, picker_ms
from gateway.why.reason import reason_of, sentence
from loadgen.score import decisions as loadgen
from tests.gateway.picker.factories import config
from tests.gateway.picker.lab import Lab
from tests.gateway.why.world import World


def test_reasons_of_a_thousand_hot_prefix_requests_are_those_of_the_report(tmp_path: Path) -> None:
    world = World(
        tmp_path / "d.jsonl",
        dict.fromkeys(("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer"), 1.0),
    )
    world.send(1000)
    lines = world.log.read_bytes().splitlines()
    ours = [reason_of(d).word for d in decode_all(lines)]
    theirs = [loadgen.reason_of(msgspec.json.decode(line, type=loadgen.Decision)) for line in lines]
    assert ours == theirs
    assert len(ours) == 1000
    assert len(Counter(ours)) >= 3, "scorers of every kind decided"


def test_a_decision_is_told_with_its_arithmetic(tmp_path: Path) -> None:
    world = World(
        tmp_path / "d.jsonl",
        dict.fromkeys(("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer"), 1.0),
    )
    world.send(50)
    for decision in decode_all(world.log.read_bytes().splitlines()):
        told = explain(decision)
        assert told["rows"][0]["picked"]
        assert told["picker"] == "max-score-picker"
        for row in told["rows"]:
            assert abs(sum(row["parts"].values()) - row["total"]) < 1e-12
        second = max(r["total"] for r in told["rows"][1:])
        assert told["margin"] == told["rows"][0]["total"] - second


def test_who_was_filtered_out_and_by_what(tmp_path: Path) -> None:
    log = tmp_path / "d.jsonl"
    lab = Lab(config("{type: header-based-testing-filter}", "{type: queue-scorer}"), log=log)
    lab.pool(a={}, b={}, c={})
    lab.send(headers={"test-epp-endpoint-selection": "127.0.0.3"})
    decision = decode(log.read_bytes())
    assert decision is not None
    assert decision.removed == {"header-based-testing-filter": 2}
    assert [c.removed_by for c in decision.candidates] == [
        "header-based-testing-filter",
        None,
        "header-based-testing-filter",
    ]
    said = sentence(decision, reason_of(decision))
    assert said == "b was the only candidate; header-based-testing-filter had taken out 2"


def candidate(name: str, total: float, **scores: float) -> Candidate:
    return Candidate(f"{name}:1", f"ns/{name}-rank-0", scores=dict(scores), total=total)


def test_every_kind_of_reason_has_its_sentence() -> None:
    a, b = candidate("a", 2.0, q=1.0), candidate("b", 1.0, q=0.5)
    tied = candidate("b", 2.0, q=1.0)

    def say(*candidates: Candidate, **fields: object) -> tuple[str, str]:
        made = Decision(0.0, candidates=list(candidates), weights={"q": 2.0}, pick=["a:1"], picker="p")
        for name, value in fields.items():
            setattr(made, name, value)
        reason = reason_of(made)
        return reason.word, sentence(made, reason)

    assert say(a, b) == ("q", "q put a 1 ahead of b")
    assert say(a, tied) == ("tie", "a was drawn from 2 candidates with the same total 2")
    assert say(b, a, pick=["b:1"]) == ("not the highest", "b was picked by p although a had 1 more")
    assert say(a) == ("only candidate", "a was the only candidate")
    assert say(reason="no body: a random endpoint")[1] == (
        "a:1 was picked without scores: no body: a random endpoint"
    )
    assert say(error=Refusal(429, "shed")) == ("refused", "the picker answered 429 itself: shed")


def test_the_gateways_account_of_the_picker() -> None:
    assert picker_ms("rh:24925:0,sh:2201:0,bs:2033,os:0") == 24.925
    assert picker_ms("") is None
    assert picker_ms("bs:0") is None
