"""kubectl against `simfleet cluster`: what a real kube-apiserver answers, and what only controllers can."""

from __future__ import annotations

import json
import time

import httpx
import pytest
import yaml

from gateway.commands.up import preset
from tests.e2e import worlds
from tests.e2e.kubectl_commands import COMMANDS, RECORDED, run
from tests.e2e.kubekit import Cluster, need_kubectl
from tests.waiting import until


@pytest.mark.slow
def test_every_command_of_the_recording(cluster: Cluster) -> None:
    kubectl = [need_kubectl(), "--kubeconfig", str(cluster.kubeconfig)]
    recorded = json.loads(RECORDED.read_text())
    assert [r["line"] for r in recorded] == [c.line for c in COMMANDS]
    wrong = []
    for command, real in zip(COMMANDS, recorded, strict=True):
        ours = run(command.line, command.stdin, kubectl, env=cluster.env)
        compared = ["code", *(["out"] if command.out else []), *(["err"] if command.err else [])]
        wrong += [(command.line, key, ours[key], real[key]) for key in compared if ours[key] != real[key]]
    assert wrong == []


# with controllers

NS = worlds.NAMESPACE
BY_QUEUE = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer, weight: 1}]}]
"""


@pytest.fixture(scope="module")
def lab(cluster: Cluster) -> Cluster:
    """Two pods behind a pool with a picker, a gateway and a route."""
    picker = worlds.picker("epp", "pool", BY_QUEUE)
    picker[0]["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/epp:v1"
    namespaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in (NS, "infra")]
    objects = [
        *namespaces,
        worlds.servers("x", 2),
        worlds.pool("pool", "x", "epp"),
        *picker,
        worlds.gateway("gw"),
        worlds.route("r", "gw", worlds.rule(worlds.to_pool("pool"))),
    ]
    cluster.apply(yaml.safe_dump_all(objects))
    done = cluster.kubectl(
        "wait", "-n", "infra", "--for=condition=programmed", "gateway", "gw", "--timeout=30s"
    )
    assert done.returncode == 0, done.stderr
    return cluster


def ask(lab: Cluster, path: str = "/v1/completions") -> httpx.Response:
    address = lab.get("gateway", "gw", "-n", "infra")["status"]["addresses"][0]["value"]
    body = {"model": "base", "prompt": "x", "max_tokens": 1}
    return httpx.post(f"http://{address}{path}", json=body, trust_env=False, timeout=10)


def pods(lab: Cluster) -> list[str]:
    found = lab.get("pods", "-n", NS, "-l", "app=x")["items"]
    return [p["metadata"]["name"] for p in found if not p["metadata"].get("deletionTimestamp")]


def test_a_request_goes_through(lab: Cluster) -> None:
    assert ask(lab).status_code == 200
    route = lab.get("httproute", "r", "-n", NS)
    conditions = route["status"]["parents"][0]["conditions"]
    assert {c["type"]: c["status"] for c in conditions} == {"Accepted": "True", "ResolvedRefs": "True"}
    pool = lab.get("inferencepool", "pool", "-n", NS)
    assert pool["status"]["parents"][0]["conditions"][0]["status"] == "True"


def test_scale_and_rollout(lab: Cluster) -> None:
    for words in (
        ("scale", "-n", NS, "deploy/x", "--replicas=3"),
        ("rollout", "status", "-n", NS, "deploy/x", "--timeout=30s"),
    ):
        assert lab.kubectl(*words).returncode == 0
    before = pods(lab)
    assert len(before) == 3
    assert lab.kubectl("rollout", "restart", "-n", NS, "deploy/x").returncode == 0
    assert lab.kubectl("rollout", "status", "-n", NS, "deploy/x", "--timeout=60s").returncode == 0
    assert len(pods(lab)) == 3
    assert not set(before) & set(pods(lab))
    sets = lab.get("rs", "-n", NS, "-l", "app=x")["items"]
    assert sorted(s["spec"]["replicas"] for s in sets) == [0, 3]
    history = lab.kubectl("rollout", "history", "-n", NS, "deploy/x").stdout
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    assert lab.kubectl("rollout", "undo", "-n", NS, "deploy/x").returncode == 0
    assert lab.kubectl("rollout", "status", "-n", NS, "deploy/x", "--timeout=60s").returncode == 0
    assert {n.rpartition("-")[0] for n in pods(lab)} == {n.rpartition("-")[0] for n in before}


def test_a_deleted_pod_is_replaced(lab: Cluster) -> None:
    victim = pods(lab)[0]
    count = len(pods(lab))
    assert lab.kubectl("delete", "pod", victim, "-n", NS, "--timeout=30s").returncode == 0
    until(lambda: len(pods(lab)) == count and victim not in pods(lab), what="another pod")
    assert ask(lab).status_code == 200


def test_a_route_changes_at_once(lab: Cluster) -> None:
    nowhere = '[{"path": {"type": "Exact", "value": "/no"}}]'
    patch = f'[{{"op": "add", "path": "/spec/rules/0/matches", "value": {nowhere}}}]'
    assert lab.kubectl("patch", "httproute", "r", "-n", NS, "--type=json", "-p", patch).returncode == 0
    assert ask(lab).status_code == 404
    undo = '[{"op": "remove", "path": "/spec/rules/0/matches"}]'
    assert lab.kubectl("patch", "httproute", "r", "-n", NS, "--type=json", "-p", undo).returncode == 0
    assert ask(lab).status_code == 200


def test_describe_logs_events_and_endpoints(lab: Cluster) -> None:
    name = pods(lab)[0]
    told = lab.kubectl("describe", "pod", name, "-n", NS).stdout
    assert "Ready                       True" in told or "Ready             True" in told
    assert f"Successfully assigned {NS}/{name} to localhost" in told
    assert name in lab.kubectl("logs", name, "-n", NS).stdout
    picker = lab.kubectl("logs", "deploy/epp", "-n", NS, "--tail=50")
    assert "ready ext_proc=" in picker.stdout
    assert "SuccessfulCreate" in lab.kubectl("get", "events", "-n", NS).stdout
    assert "ScalingReplicaSet" in lab.kubectl("describe", "deploy", "x", "-n", NS).stdout
    slices = lab.get("endpointslices", "-n", NS)["items"]
    assert [s["endpoints"][0]["targetRef"]["kind"] for s in slices] == ["Pod"]


def test_a_broken_object_says_so_and_hurts_nobody(lab: Cluster) -> None:
    broken = worlds.servers("broken", 1)
    broken["spec"]["template"]["spec"]["containers"][0]["args"] = ["--no-such-flag"]
    lab.apply(yaml.safe_dump(broken))

    def state() -> str:
        return lab.kubectl("get", "pods", "-n", NS, "-l", "app=broken").stdout

    until(lambda: "CreateContainerConfigError" in state(), what="the reason")
    assert "no-such-flag" in lab.kubectl("describe", "pods", "-n", NS, "-l", "app=broken").stdout
    assert ask(lab).status_code == 200
    assert lab.kubectl("delete", "deploy", "broken", "-n", NS).returncode == 0


def test_an_image_that_nothing_here_runs_is_pending_with_the_reason(lab: Cluster) -> None:
    assert lab.kubectl("create", "deployment", "web", "--image=nginx:1").returncode == 0
    until(lambda: "ImageNotRunHere" in lab.kubectl("get", "pods").stdout, what="the reason")
    done = lab.kubectl("rollout", "status", "deploy/web", "--timeout=1s")
    assert done.returncode == 1
    assert lab.kubectl("delete", "deploy", "web").returncode == 0
    until(lambda: lab.get("pods,rs", "-n", "default")["items"] == [], what="the garbage collector")


def test_orphans_and_foreground(lab: Cluster) -> None:
    assert lab.kubectl("create", "deployment", "one", "--image=nginx:1").returncode == 0
    until(lambda: len(lab.get("rs", "-n", "default")["items"]) == 1, what="its ReplicaSet")
    assert lab.kubectl("delete", "deploy", "one", "--cascade=orphan").returncode == 0
    (left,) = lab.get("rs", "-n", "default")["items"]
    assert "ownerReferences" not in left["metadata"]
    done = lab.kubectl("delete", "rs", left["metadata"]["name"], "--cascade=foreground", "--timeout=30s")
    assert done.returncode == 0
    assert lab.get("rs", "-n", "default")["items"] == []


def test_a_watcher_sees_what_happens(lab: Cluster) -> None:
    begun = time.monotonic()
    script = (
        "kubectl get cm -n default -w --output-watch-events --no-headers > seen & w=$!; "
        "for i in $(seq 300); do grep -q kube-root seen && break; sleep 0.05; done; "
        "kubectl create cm seen; kubectl delete cm seen; "
        "for i in $(seq 300); do grep -q DELETED seen && break; sleep 0.05; done; kill $w"
    )
    done = lab.sh(script)
    seen = (lab.state / "seen").read_text().split("\n")
    events = [line.split()[:2] for line in seen if " seen " in line]
    assert events == [["ADDED", "seen"], ["DELETED", "seen"]], (done.stderr, time.monotonic() - begun)


def test_the_lab_preset_is_taken_as_it_is(cluster: Cluster) -> None:
    files = [flag for path in preset() for flag in ("-f", path)]
    assert cluster.kubectl("create", "namespace", "lab").returncode == 0  # as `helm install -n lab` has it
    done = cluster.kubectl("apply", *files)
    assert done.returncode == 0, done.stderr
    done = cluster.kubectl("apply", *files, "--dry-run=server")
    assert done.returncode == 0, done.stderr
    changed = {line.split("/")[0] for line in done.stdout.splitlines() if " unchanged" not in line}
    # kubectl's patch of a PodDisruptionBudget replaces its selector each time, in a cluster as well.
    assert changed <= {"poddisruptionbudget.policy"}
    assert cluster.kubectl("delete", *files, "--timeout=60s").returncode == 0
