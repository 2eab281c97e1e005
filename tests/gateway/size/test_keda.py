"""KEDA's triggers: what is read of a ScaledObject, what Prometheus would answer, and how many pods follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import UsageError
from gateway.size.autoscale import Hpa
from gateway.size.keda import Trigger, read_scaled_object
from simulator.engine.stats import EngineStats

WAITING = "vllm:num_requests_waiting"
RUNNING = "vllm:num_requests_running"


def written(
    folder: Path,
    query: str = f'sum({WAITING}{{namespace="lab"}})',
    *,
    kind: str = "prometheus",
    **fields: Any,
) -> Path:
    trigger = {"type": kind, "metadata": {"serverAddress": "http://p:9090", "query": query, "threshold": "5"}}
    spec = {
        "scaleTargetRef": {"name": "server"},
        "minReplicaCount": 2,
        "maxReplicaCount": 9,
        "triggers": [trigger],
        **fields,
    }
    file = folder / "scaled.yaml"
    document = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x"}}
    file.write_text(yaml.safe_dump({**document, "spec": spec}))
    return file


def stats(*waiting: int) -> list[EngineStats]:
    made = []
    for number in waiting:
        made.append(EngineStats(1024))
        made[-1].num_requests_waiting_capacity = number
    return made


def test_a_trigger_is_an_external_metric_of_the_whole(tmp_path: Path) -> None:
    rules = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    advanced = {"horizontalPodAutoscalerConfig": {"behavior": rules}}
    found = read_scaled_object(written(tmp_path, advanced=advanced))
    (trigger,) = found.triggers
    assert (found.least, found.most, found.behavior) == (2, 9, rules)
    assert trigger == Trigger("sum", WAITING, 5.0)
    assert str(trigger) == f"sum({WAITING}) 5 per pod"


@pytest.mark.parametrize(
    ("how", "value"), [("sum", 6.0), ("avg", 3.0), ("max", 5.0), ("min", 1.0), ("count", 2.0)]
)
def test_queries_are_answered_over_the_pods(how: str, value: float) -> None:
    assert Trigger(how, WAITING, 1.0).value(stats(1, 5)) == value
    assert Trigger(how, WAITING, 1.0).value([]) is None


def test_the_trigger_that_wants_most_decides() -> None:
    scaler = Hpa(2, 9, triggers=(Trigger("sum", WAITING, 5.0), Trigger("sum", RUNNING, 50.0)))
    scaler._asked = (14.0, 100.0)
    assert scaler.decide(2, 2, 0.0) == 3  # 14 waiting, 5 to a pod
    scaler._asked = (0.0, 330.0)
    assert scaler.decide(3, 3, 15.0) == 7  # 330 running, 50 to a pod
    scaler._asked = (None, None)
    assert scaler.decide(7, 0, 30.0) == 7
    whole = Hpa(1, 9, triggers=(Trigger("avg", "vllm:kv_cache_usage_perc", 0.5, per_pod=False),))
    whole._asked = (0.9,)
    assert whole.decide(2, 2, 0.0) == 4  # 0.9 / 0.5 of the 2 that are ready


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"minReplicaCount": 0}, "scaling from zero is not simulated"),
        ({"maxReplicaCount": 1}, "must be minReplicaCount"),
        ({"triggers": []}, "needs a trigger"),
        ({"kind": "cron"}, "only prometheus is simulated, not cron"),
        ({"query": "rate(vllm:request_success_total[1m])"}, "only sum, avg, max, min or count of one of"),
        ({"advanced": {"scalingModifiers": {"formula": "a"}}}, "is not simulated"),
    ],
)
def test_what_is_not_simulated_is_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_scaled_object(written(tmp_path, **fields))
