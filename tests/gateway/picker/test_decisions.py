"""The decision log: what each pick was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
