"""The decision log: what each pick was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.picker import decisions
from gateway.picker.decisions import BRIEF_CANDIDATES, DecisionLog
from gateway.picker.director import Incoming
from gateway.picker.errors import RequestError
from gateway.picker.pool.datastore import PoolObjects
from tests.gateway.picker.factories import config
from tests.gateway.picker.lab import CHART, Lab

OBJECTIVES = PoolObjects({"batch": -1, "urgent": 10})


def test_decision_log_has_what_the_pick_was_made_of(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    lab = Lab(CHART, log=log)
    lab.store.objects = OBJECTIVES
    lab.pool(a={"waiting": 6, "kv_usage": 0.5}, b={"waiting": 8, "updated_at": float("-inf")})
    lab.send("y" * 64, headers={"x-request-id": "r-1"})
    lab.refused(headers={"x-request-id": "r-2", "x-gateway-inference-objective": "batch"})
    with pytest.raises(RequestError):
        lab.director.handle(Incoming({"x-request-id": "r-3"}, b"{", {}, 0.0))
    assert log.stat().st_mode & 0o777 == 0o600, "it says who asked for what"
    picked, shed, unread = (json.loads(line) for line in log.read_text().splitlines())
    assert (unread["request_id"], unread["error"]["status"]) == ("r-3", 400)
    assert picked["request_id"] == "r-1"
    assert picked["pick"] == ["127.0.0.2:8000"]
    first, second = picked["candidates"]
    assert first["scores"] == {
        "queue-scorer": 1.0,
        "kv-cache-utilization-scorer": 0.5,
        "prefix-cache-scorer": 0.0,
    }
    assert (first["total"], first["waiting"], first["prefix_total"]) == (3.0, 6, 1)
    assert 0 <= first["age_ms"] < 1000
    assert second["age_ms"] is None
    assert shed["error"] == {"status": 429, "message": "system saturated, sheddable request dropped"}


def test_decision_log_of_candidates_that_a_filter_took(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    lab = Lab(config("{type: header-based-testing-filter}", "{type: queue-scorer}"), log=log)
    lab.pool(a={}, b={})
    lab.send(headers={"test-epp-endpoint-selection": "127.0.0.3"})
    first, second = json.loads(log.read_text())["candidates"]
    assert "scores" not in first
    assert second["scores"] == {"queue-scorer": 1.0}


def test_a_line_names_the_request_as_client_and_gateway_do(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    lab = Lab(CHART, log=log)
    lab.pool(a={}, b={})
    names = {"x-request-id": "made by Envoy", "x-client-request-id": "run/r-1"}
    lab.send(headers=names)
    lab.director.random_endpoint(names)
    with pytest.raises(RequestError):
        lab.director.handle(Incoming(names, b"{", {}, 0.0))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(x["request_id"], x["client_id"]) for x in lines] == [("made by Envoy", "run/r-1")] * 3
    assert lines[0]["weights"] == {
        "queue-scorer": 2.0,
        "kv-cache-utilization-scorer": 2.0,
        "prefix-cache-scorer": 3.0,
    }


def test_a_brief_log_has_the_pick_and_the_best_others(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    lab = Lab(config("{type: queue-scorer}"), log=log, brief=True)
    lab.pool(**{f"p{i}": {"waiting": i} for i in range(20)})
    lab.send("x")
    line = json.loads(log.read_text())
    names = [candidate["name"].rpartition("/")[2] for candidate in line["candidates"]]
    assert line["of_candidates"] == 20
    assert len(names) == BRIEF_CANDIDATES + 1
    assert set(names) == {f"p{i}" for i in range(BRIEF_CANDIDATES + 1)}
    assert line["pick"] == [line["candidates"][0]["endpoint"]]


def test_a_brief_log_begins_anew_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "BRIEF_BYTES", 20)
    path = tmp_path / "d.jsonl"
    log = DecisionLog(str(path), brief=True)
    for number in range(5):
        log.write({"number": number})
    log.close()
    assert path.read_text() == '{"number":4}\n'
    assert (tmp_path / "d.jsonl.1").read_text() == '{"number":2}\n{"number":3}\n'


def test_a_line_names_the_beginning_of_the_prompt_and_what_was_left_out(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    lab = Lab(CHART, log=log, brief=True)
    lab.pool(**{f"p{i}": {"waiting": i, "kv_usage": i / 20} for i in range(20)})
    for prompt in ("a" * 64 + " one", "a" * 64 + " two", "b" * 64):
        lab.send(prompt)
    one, two, other = (json.loads(line) for line in log.read_text().splitlines())
    assert one["prefix"] == two["prefix"] != other["prefix"]
    assert one["picker"] == "max-score-picker"
    assert one["removed"] == {}
    shown = {candidate["endpoint"] for candidate in one["candidates"]}
    left = [i for i in range(20) if f"127.0.0.{i + 2}:8000" not in shown]
    assert one["left_out"]["kv-cache-utilization-scorer"] == max(1 - i / 20 for i in left)
    assert one["left_out"]["queue-scorer"] == max((19 - i) / 19 for i in left)
