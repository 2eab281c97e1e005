"""Other clients than kubectl apply against `simfleet cluster`: the Python client, kustomize in a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException

from tests.e2e import worlds
from tests.e2e.kubekit import Cluster
from tests.waiting import until

OVERLAY = Path(__file__).parents[2] / "deploy" / "page" / "overlays" / "local"
GROUP, VERSION, POOLS = "inference.networking.k8s.io", "v1", "inferencepools"


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    before = os.environ.pop("HTTPS_PROXY", None), os.environ.pop("https_proxy", None)
    made = config.new_client_from_config(str(cluster.kubeconfig))
    yield made
    made.close()
    for name, value in zip(("HTTPS_PROXY", "https_proxy"), before, strict=True):
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def namespace(api: client.ApiClient) -> str:
    meta = client.V1ObjectMeta(name=worlds.NAMESPACE)
    client.CoreV1Api(api).create_namespace(client.V1Namespace(metadata=meta))
    return worlds.NAMESPACE


def test_workloads(api: client.ApiClient, namespace: str) -> None:
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    body: dict[str, Any] = worlds.servers("typed", 1)
    name = body["metadata"]["name"]
    made = apps.create_namespaced_deployment(namespace, body)
    assert made.metadata.generation == 1
    with pytest.raises(ApiException) as refused:
        apps.create_namespaced_deployment(namespace, body)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")

    apps.patch_namespaced_deployment_scale(name, namespace, {"spec": {"replicas": 2}})
    seen = 0
    stream = watch.Watch()
    for event in stream.stream(apps.list_namespaced_deployment, namespace, timeout_seconds=30):
        seen += 1
        if event["object"].metadata.name == name and event["object"].status.ready_replicas == 2:
            stream.stop()
    assert seen
    assert apps.read_namespaced_deployment_scale(name, namespace).status.replicas == 2

    pods = core.list_namespaced_pod(namespace, label_selector="app=typed").items
    assert [p.status.phase for p in pods] == ["Running", "Running"]
    assert pods[0].metadata.owner_references[0].kind == "ReplicaSet"
    core.read_namespaced_pod_log(pods[0].metadata.name, namespace)
    core.delete_namespaced_pod(pods[0].metadata.name, namespace, grace_period_seconds=0)
    gone = pods[0].metadata.uid
    until(lambda: _ready_without(core, namespace, gone), 20, "another pod")

    stale = apps.read_namespaced_deployment(name, namespace)
    apps.patch_namespaced_deployment(name, namespace, {"metadata": {"labels": {"by": "patch"}}})
    with pytest.raises(ApiException) as behind:
        apps.replace_namespaced_deployment(name, namespace, stale)
    assert behind.value.status == 409
    apps.delete_namespaced_deployment(name, namespace, propagation_policy="Foreground")
    until(lambda: not apps.list_deployment_for_all_namespaces().items, 20, "the end of its dependents")
    until(lambda: not core.list_namespaced_pod(namespace, label_selector="app=typed").items, 20, "the end")


def _ready_without(core: client.CoreV1Api, namespace: str, uid: str) -> bool:
    pods = core.list_namespaced_pod(namespace, label_selector="app=typed").items
    ready = [p for p in pods if p.status.container_statuses and p.status.container_statuses[0].ready]
    return len(ready) == 2 and uid not in [p.metadata.uid for p in ready]


def test_custom_objects(api: client.ApiClient, namespace: str) -> None:
    custom = client.CustomObjectsApi(api)
    pool = worlds.pool("typed-pool", "typed", "typed-epp")
    made = custom.create_namespaced_custom_object(GROUP, VERSION, namespace, POOLS, pool)
    assert made["spec"]["endpointPickerRef"]["failureMode"] == "FailClose"
    patch = {"spec": {"targetPorts": [{"number": 8001}]}}
    changed = custom.patch_namespaced_custom_object(GROUP, VERSION, namespace, POOLS, "typed-pool", patch)
    assert changed["metadata"]["generation"] == 2
    found = custom.list_cluster_custom_object(GROUP, VERSION, POOLS)
    assert [i["metadata"]["name"] for i in found["items"]] == ["typed-pool"]
    custom.delete_namespaced_custom_object(GROUP, VERSION, namespace, POOLS, "typed-pool")
    with pytest.raises(ApiException) as missing:
        custom.get_namespaced_custom_object(GROUP, VERSION, namespace, POOLS, "typed-pool")
    assert missing.value.status == 404


def test_the_dynamic_client_applies(api: client.ApiClient, namespace: str) -> None:
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"a": "1"}}
    maps.server_side_apply(body, namespace=namespace, field_manager="one")
    other = {**body, "data": {"a": "2"}}
    with pytest.raises(dynamic.exceptions.ConflictError, match="one"):
        maps.server_side_apply(other, namespace=namespace, field_manager="two")
    assert maps.get(name="mine", namespace=namespace).data.a == "1"


def test_kustomize_through_a_pipe(cluster: Cluster) -> None:
    for name in ("inference-model-server", "istio-ingress"):
        assert cluster.kubectl("create", "namespace", name).returncode == 0
    done = cluster.sh(f"set -e -o pipefail; kubectl kustomize {OVERLAY} | kubectl apply -f -")
    assert done.returncode == 0, done.stderr
    again = cluster.sh(f"kubectl kustomize {OVERLAY} | kubectl apply -f -")
    assert again.returncode == 0, again.stderr
    changed = [line for line in again.stdout.splitlines() if not line.endswith(" unchanged")]
    # kubectl always sends a budget's selector: its patch replaces it whole.
    assert [line.partition("/")[0] for line in changed] == ["poddisruptionbudget.policy"]
    assert cluster.sh(f"kubectl diff -k {OVERLAY}").returncode == 0
    done = cluster.sh(f"kubectl kustomize {OVERLAY} | kubectl delete --wait=false -f -")
    assert done.returncode == 0, done.stderr
