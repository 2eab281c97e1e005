"""What-if is the picker's arithmetic: held to a second run of the real scheduler on the same inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import UsageError
from gateway.picker import compat
from gateway.picker.config import parse_config
from gateway.why.decision import Candidate, Decision, decode_all
from gateway.why.whatif import PICKERS, best, parse_weights, resolve, to_config, totals, what_if
from tests.gateway.picker.factories import load
from tests.gateway.why.world import World

OTHER = {"queue-scorer": 1.0, "kv-cache-utilization-scorer": 0.3, "prefix-cache-scorer": 0.7}


def logged(path: Path) -> list[Decision]:
    return list(decode_all(path.read_bytes().splitlines()))


def test_other_weights_pick_what_the_scheduler_picks_with_them(tmp_path: Path) -> None:
    world = World(tmp_path / "d.jsonl", OTHER)
    world.send(1000)
    decisions = logged(world.log)
    assert len(decisions) == len(world.again) == 1000
    told = []
    for decision in decisions:
        values = totals(decision.scored, OTHER)
        told.append([decision.scored[place].endpoint for place in best(values)])
    assert told == world.again
    result = what_if(decisions, OTHER)
    moved = [d for d, ends in zip(decisions, world.again, strict=True) if d.pick[0] not in ends]
    assert [c.request_id for c in result.changes] == [d.request_id for d in moved]
    assert 100 < result.changed == len(moved) < 1000
    assert (result.unknown, result.unscored) == (0, 0)
    assert sum(result.after.values()) == pytest.approx(1000)


def test_logged_weights_change_nothing(tmp_path: Path) -> None:
    world = World(tmp_path / "d.jsonl", OTHER)
    world.send(200)
    result = what_if(logged(world.log), {})
    assert (result.changed, result.changes) == (0, [])
    assert result.weights == result.logged_weights
    for decision in logged(world.log):
        assert totals(decision.scored, decision.weights) == [c.total for c in decision.scored]


def test_a_brief_log_says_what_it_cannot_know(tmp_path: Path) -> None:
    """Of 30 pods a line has 9; what the highest scores of the others tell never contradicts a rerun."""
    world = World(tmp_path / "d.jsonl", OTHER, pods=30, brief=True)
    world.send(400)
    decisions = logged(world.log)
    assert all(len(d.candidates) == 9 for d in decisions)
    known = 0
    for decision, ends in zip(decisions, world.again, strict=True):
        result = what_if([decision], OTHER)
        if result.unknown:
            continue
        known += 1
        values = totals(decision.scored, OTHER)
        assert [decision.scored[p].endpoint for p in best(values)] == ends
    assert 40 < known < 400, "both kinds occur"


def decision(*candidates: dict[str, Any], **fields: Any) -> Decision:
    made = [Candidate(f"e{i}", f"ns/p{i}-rank-0", **values) for i, values in enumerate(candidates)]
    return Decision(1.0, "r", candidates=made, weights={"queue-scorer": 1.0}, pick=["e0"], **fields)


def test_pickers_that_draw_are_told_by_shares() -> None:
    one = decision(
        {"scores": {"queue-scorer": 0.75}, "total": 0.75, "inflight_requests": 3},
        {"scores": {"queue-scorer": 0.25}, "total": 0.25, "inflight_requests": 1},
    )
    assert what_if([one], {}, "random-picker").after == {"p0": 0.5, "p1": 0.5}
    weighted = what_if([one], {}, "weighted-random-picker")
    assert weighted.after == {"p0": 0.75, "p1": 0.25}
    assert (weighted.changed, weighted.drawn, weighted.drawn_elsewhere) == (0, 1, 0.25)
    least = what_if([one], {}, "least-request-picker")
    assert (least.after, least.changed) == ({"p0": 0.0, "p1": 1.0}, 1)
    assert set(PICKERS) > {"max-score-picker"}


def test_scores_out_of_bounds_count_as_the_scheduler_clamps_them() -> None:
    one = decision(
        {"scores": {"queue-scorer": 7.0}, "total": 1.0},
        {"scores": {"queue-scorer": None}, "total": 0.0},
        {"scores": {"queue-scorer": -2.0}, "total": 0.0},
    )
    assert totals(one.scored, {"queue-scorer": 2.0}) == [2.0, 0.0, 0.0]


def test_what_cannot_be_decided_is_counted_not_guessed() -> None:
    refused = Decision(1.0, "r")
    result = what_if([refused, decision({"scores": {"queue-scorer": 1.0}, "total": 1.0})], {})
    assert (result.decisions, result.unscored, result.decided) == (2, 1, 1)


def test_weights_are_read_strictly() -> None:
    assert parse_weights("queue=1,prefix=5.5") == {"queue": 1.0, "prefix": 5.5}
    for bad in ("queue", "queue=", "=1", "queue=x", "queue=inf", "queue=nan"):
        with pytest.raises(UsageError, match="SCORER=NUMBER"):
            parse_weights(bad)
    names = ["queue-scorer", "prefix-cache-scorer", "prefix-other"]
    assert resolve({"q": 2.0}, names) == {"queue-scorer": 2.0}
    with pytest.raises(UsageError, match="ambiguous"):
        resolve({"prefix": 2.0}, names)
    with pytest.raises(UsageError, match="not scored in this log"):
        resolve({"lora": 2.0}, names)
    with pytest.raises(UsageError, match="cannot be told from scores"):
        what_if([], {}, "round-robin-picker")


BASE = {
    "apiVersion": "inference.networking.x-k8s.io/v1alpha1",
    "kind": "EndpointPickerConfig",
    "plugins": [{"type": "queue-scorer"}, {"type": "single-profile-handler"}],
}


@pytest.mark.parametrize("picker", sorted(PICKERS))
@pytest.mark.parametrize("profiles", [None, [{"name": "p", "plugins": [{"pluginRef": "queue-scorer"}]}]])
def test_the_exported_configuration_is_one_that_the_picker_loads(picker: str, profiles: Any) -> None:
    config = {**BASE, **({"schedulingProfiles": profiles} if profiles else {})}
    one = decision({"scores": {"queue-scorer": 1.0}, "total": 1.0})
    made = to_config(what_if([one], {"queue": 4.0}, picker), config)
    loaded = load(json.dumps(made), compat.GIE_V12)
    assert [(s.name, w) for s, w in loaded.profile.scorers] == [("queue-scorer", 4.0)]
    assert loaded.profile.picker.type_name == picker
    assert parse_config(json.dumps(config), compat.GIE_V12), "what it was made from is unchanged"
