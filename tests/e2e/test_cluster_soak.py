"""Ten minutes of random kubectl commands beside load: at the end objects, processes and Envoy agree."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e import worlds
from tests.e2e.kubekit import Cluster
from tests.e2e.loader import Load
from tests.soaking import Held, sized
from tests.waiting import until

pytestmark = pytest.mark.slow
NS = worlds.NAMESPACE
RATE = 5.0
APPS = ("x", "second", "third")  # x is behind the route; the others come and go
BY_QUEUE = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer, weight: 1}]}]
"""


def furnish(cluster: Cluster) -> str:
    """Model servers, pool, picker, gateway and route; the URL of the gateway."""
    picker = worlds.picker("epp", "pool", BY_QUEUE)
    picker[0]["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/epp:v1"
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in (NS, "infra")]
    route = worlds.route("r", "gw", worlds.rule(worlds.to_pool("pool")))
    servers = worlds.servers("x", 3)
    cluster.apply(
        yaml.safe_dump_all(
            [*spaces, servers, worlds.pool("pool", "x", "epp"), *picker, worlds.gateway("gw"), route]
        )
    )
    done = cluster.kubectl("wait", "-n", "infra", "--for=condition=programmed", "gtw/gw", "--timeout=60s")
    assert done.returncode == 0, done.stderr
    done = cluster.kubectl("rollout", "status", "-n", NS, "deploy/x", "--timeout=60s")
    assert done.returncode == 0, done.stderr
    address = cluster.get("gtw", "gw", "-n", "infra")["status"]["addresses"][0]["value"]
    return f"http://{address}/v1/completions"


class Person:
    """Types one command after the other; which of them a cluster refuses depends on what went before."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._rng = random.Random(seed)
        self.typed: Counter[str] = Counter()

    def command(self) -> None:
        rng = self._rng
        app = rng.choice(APPS)
        words, stdin = rng.choice(
            (self._scale, self._create, self._patch, self._restart, self._delete, self._pod, self._route)
        )(app)
        done = self._cluster.kubectl("-n", NS, *words, stdin=stdin)
        self.typed[f"{words[0]} {done.returncode}"] += 1
        known = (
            "not found",
            "already exists",
            "NotFound",
            "AlreadyExists",
            "restarted within the same second",
        )
        assert done.returncode == 0 or any(word in done.stderr for word in known), (words, done.stderr)

    def _scale(self, app: str) -> tuple[list[str], str]:
        return ["scale", "deploy", app, f"--replicas={self._rng.randint(1, 4)}"], ""

    def _create(self, app: str) -> tuple[list[str], str]:
        return ["create", "-f", "-"], yaml.safe_dump(worlds.servers(app, self._rng.randint(1, 3)))

    def _patch(self, app: str) -> tuple[list[str], str]:
        container = {"name": "vllm", "env": [{"name": "N", "value": str(self._rng.randint(0, 99))}]}
        patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
        return ["patch", "deploy", app, "-p", json.dumps(patch)], ""

    def _restart(self, app: str) -> tuple[list[str], str]:
        return ["rollout", "restart", f"deploy/{app}"], ""

    def _delete(self, app: str) -> tuple[list[str], str]:
        gone = app if app != "x" else "second"
        return ["delete", "deploy", gone, f"--cascade={self._rng.choice(['background', 'foreground'])}"], ""

    def _pod(self, app: str) -> tuple[list[str], str]:
        return ["delete", "pod", "-l", f"app={app}", "--wait=false", "--grace-period=1"], ""

    def _route(self, app: str) -> tuple[list[str], str]:
        note = {"metadata": {"labels": {"n": str(self._rng.randint(0, 99))}}}
        return ["patch", "httproute", "r", "--type=merge", "-p", json.dumps(note)], ""


def wrong(cluster: Cluster) -> list[str]:
    """What does not agree between objects, processes and Envoy."""
    found = []
    pods = cluster.get("pods", "-n", NS)["items"]
    done = cluster.sh("simfleet-ps")
    (stack,) = json.loads(done.stdout)["stacks"]
    running = {p["name"]: p for p in stack["pods"]}
    servers = [p for p in pods if p["metadata"]["labels"]["app"] in APPS]
    if {p["metadata"]["name"] for p in servers} != running.keys():
        found.append(f"objects {[p['metadata']['name'] for p in servers]}, processes {[*running]}")
    sets = {s["metadata"]["uid"]: s for s in cluster.get("rs", "-n", NS)["items"]}
    for deployment in cluster.get("deploy", "-n", NS)["items"]:
        name, wanted = deployment["metadata"]["name"], deployment["spec"]["replicas"]
        mine = [p for p in pods if p["metadata"]["labels"]["app"] == name]
        ready = [p for p in mine if p["status"]["containerStatuses"][0]["ready"]]
        if not len(mine) == len(ready) == wanted == deployment["status"].get("readyReplicas", 0):
            found.append(f"{name}: {wanted} wanted, {len(mine)} pods, {len(ready)} ready")
        uid = deployment["metadata"]["uid"]
        owned = [s for s in sets.values() if s["metadata"]["ownerReferences"][0]["uid"] == uid]
        if [s for s in owned if s["spec"]["replicas"] != 0 and s["spec"]["replicas"] != wanted]:
            found.append(f"{name}: an old ReplicaSet keeps pods")
    found += [f"pod {p['metadata']['name']} has no owner" for p in pods
              if p["metadata"]["ownerReferences"][0]["uid"] not in sets]  # fmt: skip
    behind = {p["status"]["podIP"] for p in pods if p["metadata"]["labels"]["app"] == "x"}
    known = _envoy(stack)
    if known != behind:
        found.append(f"Envoy sends to {known}, the pods of x are at {behind}")
    return found


def _envoy(stack: dict[str, Any]) -> set[str]:
    """The addresses of the pool's cluster in the gateway's Envoy."""
    (gateway,), (pool,) = stack["gateways"], stack["pools"]
    answer = httpx.get(f"{gateway['admin_url']}/clusters?format=json", trust_env=False, timeout=30).json()
    return {
        host["address"]["socket_address"]["address"]
        for cluster in answer["cluster_statuses"]
        if pool["host"] in cluster["name"]
        for host in cluster.get("host_statuses", ())
    }


def test_random_commands_beside_load(cluster: Cluster) -> None:
    url = furnish(cluster)
    person = Person(cluster, 1)
    held = Held(cluster.process.pid)
    with Load(url, {"model": "base", "prompt": "x", "max_tokens": 4}, RATE) as load:
        end = time.monotonic() + sized(600, 20)
        while time.monotonic() < end:
            person.command()
            held.look()
        done = cluster.kubectl("-n", NS, "scale", "deploy", "x", "--replicas=3")
        assert done.returncode == 0, done.stderr
        until(lambda: not wrong(cluster), 120, "agreement")
        goal = len(load.outcomes) + 20
        until(lambda: len(load.outcomes) >= goal, 60, "answers after the commands")
        calm = load.outcomes[-10:]
    assert wrong(cluster) == []
    assert [o for o in calm if o.status != 200] == []
    done = cluster.kubectl("delete", "ns", NS, "infra", "--timeout=120s")
    assert done.returncode == 0, done.stderr
    (stack,) = json.loads(cluster.sh("simfleet-ps").stdout)["stacks"]
    assert (stack["pods"], stack["pickers"], stack["gateways"]) == ([], [], [])
    kinds = Counter((outcome.status, outcome.detail[:80]) for outcome in load.failed)
    print(f"\n{person.typed}, {len(load.outcomes)} requests, {len(load.failed)} failed {kinds}: {held}")
