"""Kinds that make pods: what their controllers would make, and under which names the pods run."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from gateway.errors import ManifestError
from gateway.manifests.load import Manifests, load
from gateway.stack.plan import make_plan, pod_name
from tests.e2e import worlds

SERVER = {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model", "m"]}
RAY = {"name": "ray", "image": "vllm/vllm-openai:v0.11.0", "command": ["ray", "start", "--block"]}


def read(*objects: Any) -> Manifests:
    return load(["-"], "apps", io.StringIO(worlds.dump(*objects)))


def of(kind: str, api: str = "apps/v1", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [SERVER]}}
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": worlds.meta("it"),
        "spec": {"template": template, **spec},
    }


@pytest.mark.parametrize(
    ("made", "replicas", "name"),
    [
        (of("Deployment", replicas=2), 2, r"it-[a-z0-9]{10}-[a-z0-9]{5}"),
        (of("StatefulSet", replicas=2, ordinals={"start": 3}), 2, "it-3"),
        (of("ReplicaSet", replicas=3), 3, r"it-[a-z0-9]{5}"),
        (of("ReplicationController", "v1", replicas=3), 3, r"it-[a-z0-9]{5}"),
        (of("DaemonSet"), 1, r"it-[a-z0-9]{5}"),
        (of("Job", "batch/v1", parallelism=4, completions=3), 3, r"it-[a-z0-9]{5}"),
        (of("Job", "batch/v1", suspend=True), 0, r"it-[a-z0-9]{5}"),
    ],
)
def test_kinds_with_a_template(made: dict[str, Any], replicas: int, name: str) -> None:
    (workload,) = read(made).workloads
    assert workload.replicas == replicas
    assert re.fullmatch(name, pod_name(workload, workload.first_ordinal))


def test_a_bare_pod_is_itself_however_many_replicas_are_asked_for() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": worlds.meta("p", labels={"app": "x"}),
        "spec": {"containers": [SERVER]},
    }
    manifests = read(pod, worlds.pool("pool", "x", None))
    (server,) = make_plan(manifests, replicas=5).servers
    assert (server.replicas, pod_name(server.workload, 0), server.workload.pod_labels) == (
        1,
        "p",
        {"app": "x"},
    )


def lws(size: int, replicas: int = 2, **both: Any) -> dict[str, Any]:
    worker = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [SERVER]}}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": worlds.meta("it"),
        "spec": {
            "replicas": replicas,
            "leaderWorkerTemplate": {"size": size, "workerTemplate": worker, **both},
        },
    }


def test_a_leaderworkerset_is_leaders_and_their_workers() -> None:
    manifests = read(lws(3), worlds.pool("pool", "x", None))
    pods = {pod_name(w, w.first_ordinal + i): w for w in manifests.workloads for i in range(w.replicas)}
    assert list(pods) == ["it-0", "it-1", "it-0-1", "it-0-2", "it-1-1", "it-1-2"]
    labels = pods["it-1-2"].pod_labels
    assert labels == {
        "app": "x",
        "leaderworkerset.sigs.k8s.io/name": "it",
        "leaderworkerset.sigs.k8s.io/group-index": "1",
        "leaderworkerset.sigs.k8s.io/worker-index": "2",
    }
    env = {e.name: e.value for e in pods["it-1-2"].containers[0].env}
    assert (env["LWS_LEADER_ADDRESS"], env["LWS_GROUP_SIZE"], env["LWS_WORKER_INDEX"]) == (
        "it-1.it.apps",
        "3",
        "2",
    )
    assert sum(s.replicas for s in make_plan(manifests).servers) == 6
    assert all(r.made_by for r in manifests.resources if r.kind == "StatefulSet")


def test_workers_that_serve_nothing_are_told() -> None:
    leader = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [SERVER]}}
    worker = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [RAY]}}
    plan = make_plan(
        read(lws(3, 2, leaderTemplate=leader, workerTemplate=worker), worlds.pool("pool", "x", None))
    )
    assert [(s.workload.name, s.replicas) for s in plan.servers] == [("it", 2)]
    assert [str(u) for u in plan.unread] == [
        "not run: LeaderWorkerSet apps/it: works for its leader; "
        "InferencePool apps/pool counts it as an endpoint that refuses connections"
    ]


@pytest.mark.parametrize(
    ("made", "words"), [(lws(0), "must be 1 or more, is 0"), (lws(1, 2000), "must be 0 to 1000, is 2000")]
)
def test_a_leaderworkerset_that_cannot_be(made: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read(made)
    assert words in str(refused.value)
