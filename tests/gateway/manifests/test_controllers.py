"""Custom objects whose controllers make pods: what is made, what is named, and what stands there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.manifests.expand.presets import child_name, picker_config
from gateway.manifests.load import Manifests
from gateway.picker.compat import by_name
from gateway.picker.config import parse_config
from gateway.stack.plan import make_plan
from gateway.stack.serving import server_config
from simulator.config.serve import ServeConfig
from tests.e2e import worlds
from tests.gateway.manifests.test_expand import SERVER, read

ROLE = {"template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [SERVER]}}}


def custom(api: str, kind: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": worlds.meta("it", **meta), "spec": spec}


def llm(**spec: Any) -> dict[str, Any]:
    model = {"uri": "hf://a/b", "name": "a/b"}
    return custom("serving.kserve.io/v1alpha2", "LLMInferenceService", {"model": model, **spec})


def storm(*roles: dict[str, Any], **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "s"}}, "spec": {"roles": list(roles)}}
    whole = {"selector": {"matchLabels": {"app": "s"}}, "template": template, **spec}
    return custom("orchestration.aibrix.ai/v1alpha1", "StormService", whole)


def told(manifests: Manifests) -> list[str]:
    return [str(u).split(": ", 2)[2] for u in make_plan(manifests).unread]


def configs(manifests: Manifests, directory: Path) -> list[ServeConfig]:
    servers = make_plan(manifests).servers
    return [server_config(manifests, s, "pod-0", "127.0.0.9", directory)[0] for s in servers]


def test_roles_of_a_storm_service() -> None:
    manifests = read(storm(
        {**ROLE, "name": "prefill", "replicas": 2, "stateful": True}, {**ROLE, "name": "decode"}, replicas=2
    ))  # fmt: skip
    first, second, decode, *_ = manifests.workloads
    assert len(manifests.workloads) == 6
    for i, prefill in enumerate((first, second)):
        assert (prefill.first_ordinal, prefill.replicas) == (i, 1)
        assert prefill.pod_labels["stormservice.orchestration.aibrix.ai/role-replica-index"] == str(i)
        env = {e.name: e.value for e in prefill.containers[0].env}
        assert (env["ROLE_NAME"], env["ROLE_REPLICA_INDEX"], env["ROLESET_INDEX"]) == ("prefill", str(i), "0")
    assert (decode.resource.kind, decode.name, decode.replicas) == ("ReplicaSet", "it-roleset-0-decode", 1)
    assert (
        decode.pod_labels.items() >= {"app": "x", "role-name": "decode", "storm-service-name": "it"}.items()
    )


def test_a_storm_service_that_selects_other_labels_makes_nothing() -> None:
    manifests = read(storm({**ROLE, "name": "r"}, selector={"matchLabels": {"app": "other"}}))
    assert manifests.workloads == []
    assert told(manifests) == ["the labels of its template are not those of its selector: no RoleSet is made"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"scalingStrategy": "KPA"}, "nothing scales by the strategy KPA; by HPA it would"),
        (
            {"scalingStrategy": "HPA", "metricsSources": [{"targetMetric": "m", "targetValue": "0.5"}]},
            "its HPA has whole numbers only: 0.5 becomes 0, which an API server refuses",
        ),
        ({"scalingStrategy": "HPA"}, "without metricsSources no HPA is made of it"),
    ],
)
def test_a_pod_autoscaler_that_scales_nothing_says_why(spec: dict[str, Any], text: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    whole = {"scaleTargetRef": target, "maxReplicas": 3, **spec}
    assert told(read(custom("autoscaling.aibrix.ai/v1alpha1", "PodAutoscaler", whole))) == [text]


def test_an_llm_service_is_served_under_both_names(tmp_path: Path) -> None:
    env = [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--max-model-len 4096"}]
    main = {"name": "main", "env": env, "args": ["--max-num-seqs=7"]}
    manifests = read(llm(replicas=2, template={"containers": [main]}, router={"scheduler": {}, "route": {}}))
    (config,) = configs(manifests, tmp_path)
    assert config.served_model_names == ("a/b", "publishers/apps/models/a/b")
    assert (config.port, config.engine.max_model_len, config.engine.max_num_seqs) == (8000, 4096, 7)
    (pool,) = manifests.pools.values()
    assert pool.name == "it-inference-pool"
    (route,) = manifests.routes
    assert [(p.namespace, p.name) for p in route.parents] == [("kserve", "kserve-ingress-gateway")]
    assert len(route.rules) == 4 + 1 + 4 + 3


def test_an_llm_service_without_a_scheduler_goes_to_its_service() -> None:
    manifests = read(llm(router={"route": {}}))
    assert not manifests.pools
    (route,) = manifests.routes
    assert {b.name for rule in route.rules for b in rule.backends} == {"it-kserve-workload-svc"}


def test_prefill_pods_adapters_and_the_cache_in_memory(tmp_path: Path) -> None:
    given = llm(
        prefill={"replicas": 2}, kvCacheOffloading={"cpu": "1Gi"}, router={"scheduler": {}},
        model={"uri": "hf://a/b", "name": "a/b", "lora": {"maxRank": 8, "adapters": [{"name": "sql", "uri": "hf://x/y"}]}},
    )  # fmt: skip
    decode, prefill = configs(read(given), tmp_path)
    assert (decode.port, prefill.port) == (8001, 8000)
    assert [[m.name for m in c.lora_modules] for c in (decode, prefill)] == [["sql"], ["sql"]]
    assert (decode.engine.kv_offload_bytes, prefill.engine.kv_offload_bytes) == (2**30, 0)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"workload": {}}, "an API server has no such field: it drops it"),
        (
            {"baseRefs": [{"name": "no"}]},
            "there is no LLMInferenceServiceConfig no: its controller makes nothing",
        ),
        (
            {"worker": {"containers": [SERVER]}, "parallelism": {"pipeline": 2}},
            "KServe has no preset of pipeline parallelism: its controller makes nothing of it",
        ),
        (
            {"router": {"scheduler": {"config": {"ref": {"name": "no"}}}}},
            "there is no ConfigMap no with a key epp: no picker is made",
        ),
        ({"scaling": {"keda": {}}}, "nothing scales by keda; a HorizontalPodAutoscaler does"),
        (
            {"template": {"containers": [{"name": "main", "imagee": "x"}]}},
            "spec.containers[0].imagee of its pods: an API server has no such field and drops it",
        ),
    ],
)  # fmt: skip
def test_what_an_llm_service_does_not_come_to_is_named(spec: dict[str, Any], text: str) -> None:
    assert text in told(read(llm(**spec)))


@pytest.mark.parametrize("apart", [False, True])
def test_the_picker_s_configuration_is_one_that_its_release_takes(apart: bool) -> None:
    config = parse_config(picker_config(apart=apart, adapters=True), by_name("llm-d-v0.10"))
    assert [p.name for p in config.scheduling_profiles] == (["prefill", "decode"] if apart else ["default"])


def test_long_names_are_cut() -> None:
    name = child_name("a" * 70, "-inference-pool")
    assert len(name) == 63
    assert name.endswith("-inference-pool")


def test_what_kubectl_lists_beside_its_owner_is_not_run_twice() -> None:
    """`kubectl get all -o yaml`: the Deployment, its ReplicaSet and its pods; an LWS and its StatefulSet."""
    labels = {"app": "x", "pod-template-hash": "abc"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [SERVER]}}

    def owned(kind: str, api: str, name: str, owner: tuple[str, str, str], spec: Any) -> dict[str, Any]:
        reference = dict(zip(("apiVersion", "kind", "name"), owner, strict=True)) | {"controller": True}
        meta = worlds.meta(name, labels=labels) | {"ownerReferences": [reference]}
        return {"apiVersion": api, "kind": kind, "metadata": meta, "spec": spec}

    deployment = custom("apps/v1", "Deployment", {"replicas": 1, "template": template})
    replica_set = owned(
        "ReplicaSet", "apps/v1", "it-abc", ("apps/v1", "Deployment", "it"), {"template": template}
    )
    pod = owned("Pod", "v1", "it-abc-1", ("apps/v1", "ReplicaSet", "it-abc"), template["spec"])
    for listed in ([deployment, replica_set, pod], [pod, deployment], [pod, replica_set, deployment]):
        assert [str(w) for w in read(*listed).workloads] == ["Deployment apps/it"]
    assert [str(w) for w in read(pod).workloads] == ["Pod apps/it-abc-1"]
    both = {"size": 1, "workerTemplate": template}
    group = custom("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", {"leaderWorkerTemplate": both})
    made = owned(
        "StatefulSet", "apps/v1", "it", ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "it"),
        {"template": template},
    )  # fmt: skip
    assert [str(w) for w in read(made, group).workloads] == ["StatefulSet apps/it"]


def test_an_object_that_stands_there_is_not_made_again() -> None:
    own = worlds.service("it-kserve-workload-svc", "x", 8000, 8000)
    manifests = read(own, llm(router={"route": {}}))
    assert [s.resource.made_by for s in manifests.services.values()] == [None]
