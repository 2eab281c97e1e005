"""Writing objects: who may, what it becomes, and what Kubernetes says to what may not be."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway.cluster.objects.crds import served_by
from gateway.cluster.objects.errors import ApiError
from gateway.cluster.objects.kinds import CONFIG_MAP, POD, Registry
from gateway.cluster.objects.patch import json_patch, merge_patch, strategic_merge
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import Deletion, Write
from tests.e2e import worlds

Object = dict[str, Any]


@pytest.fixture
def state() -> State:
    made = State(Registry.builtin())
    made.create(made.served("v1", "Namespace"), "", {"metadata": {"name": "ns"}})
    return made


def config_map(state: State, name: str = "m", write: Write | None = None, **data: str) -> Object:
    body = {"metadata": {"name": name}, "data": data}
    made, _ = state.create(state.served("v1", "ConfigMap"), "ns", body, write or Write())
    return made


def apply(state: State, manager: str, *, force: bool = False, **data: str) -> Object:
    body = {"metadata": {"name": "m", "namespace": "ns"}, "data": data}
    served = state.served("v1", "ConfigMap")
    made, _, _ = state.apply(served, "ns", "m", body, Write(manager, "Strict", force=force))
    return made


# create, update


def test_a_dry_run_writes_nothing_and_answers_the_object(state: State) -> None:
    made = config_map(state, write=Write(dry_run=True), a="1")
    assert made["metadata"]["uid"]
    assert state.list(CONFIG_MAP) == []


def test_a_name_can_be_generated(state: State) -> None:
    served = state.served("v1", "ConfigMap")
    names = [state.create(served, "ns", {"metadata": {"generateName": "a-"}})[0] for _ in range(2)]
    first, second = (o["metadata"]["name"] for o in names)
    assert first != second
    assert len(first) == len("a-") + 5


def test_an_old_version_is_a_conflict(state: State) -> None:
    old = config_map(state, a="1")
    served = state.served("v1", "ConfigMap")
    state.update(served, "ns", "m", {**old, "data": {"a": "2"}})
    with pytest.raises(ApiError, match="the object has been modified") as raised:
        state.update(served, "ns", "m", {**old, "data": {"a": "3"}})
    assert raised.value.code == 409


def test_what_stays_the_same_is_no_new_version(state: State) -> None:
    old = config_map(state, a="1")
    new, _ = state.update(state.served("v1", "ConfigMap"), "ns", "m", copy.deepcopy(old))
    assert new["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]


def test_status_changes_through_its_subresource_alone(state: State) -> None:
    served = state.served("apps/v1", "Deployment")
    made, _ = state.create(served, "ns", {**worlds.servers("x", 2), "metadata": {"name": "x"}})
    assert made["status"] == {}
    changed = {**made, "status": {"replicas": 9}, "spec": {**made["spec"], "replicas": 5}}
    both, _ = state.update(served, "ns", "x", changed)
    assert (both["status"], both["spec"]["replicas"], both["metadata"]["generation"]) == ({}, 5, 2)
    status, _ = state.update(
        served,
        "ns",
        "x",
        {**both, "status": {"replicas": 9}, "spec": made["spec"]},
        Write(subresource="status"),
    )
    assert (status["status"], status["spec"]["replicas"]) == ({"replicas": 9}, 5)
    assert status["metadata"]["generation"] == 2


def test_finalizers_hold_what_is_deleted(state: State) -> None:
    served = state.served("v1", "ConfigMap")
    body = {"metadata": {"name": "m", "finalizers": ["a/b"]}}
    state.create(served, "ns", body)
    held = state.delete(served, "ns", "m", Deletion())
    assert held["metadata"]["deletionTimestamp"]
    free = {**held, "metadata": {k: v for k, v in held["metadata"].items() if k != "finalizers"}}
    state.update(served, "ns", "m", free)
    assert state.list(CONFIG_MAP) == []


def test_a_running_pod_has_grace_and_one_that_never_ran_has_none(state: State) -> None:
    served = state.served("v1", "Pod")
    spec = {"containers": [{"name": "a", "image": "b"}]}
    state.create(served, "ns", {"metadata": {"name": "idle"}, "spec": spec})
    state.create(served, "ns", {"metadata": {"name": "busy"}, "spec": {**spec, "nodeName": "localhost"}})
    state.delete(served, "ns", "idle", Deletion())
    busy = state.delete(served, "ns", "busy", Deletion(grace_s=7))
    assert busy["metadata"]["deletionGracePeriodSeconds"] == 7
    assert [p["metadata"]["name"] for p in state.list(POD)] == ["busy"]
    state.delete(served, "ns", "busy", Deletion(grace_s=0))
    assert state.list(POD) == []


# server-side apply


def test_the_second_manager_conflicts_unless_it_forces(state: State) -> None:
    apply(state, "a", k="1", mine="x")
    with pytest.raises(ApiError, match=r'conflict with "a": \.data\.k') as raised:
        apply(state, "b", k="2")
    assert raised.value.status["details"]["causes"][0]["field"] == ".data.k"
    forced = apply(state, "b", force=True, k="2")
    assert forced["data"] == {"k": "2", "mine": "x"}


def test_what_a_manager_no_longer_applies_goes_unless_another_has_it(state: State) -> None:
    apply(state, "a", k="1", shared="s")
    apply(state, "b", shared="s")
    assert apply(state, "a", k="1")["data"] == {"k": "1", "shared": "s"}
    assert apply(state, "a", other="o")["data"] == {"other": "o", "shared": "s"}


# patches


def test_strategic_merge_by_the_kinds_own_keys(state: State) -> None:
    schema = state.served("apps/v1", "Deployment").schema
    old = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}}}
    patch = {"spec": {"template": {"spec": {"containers": [
        {"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c"}]}}}}  # fmt: skip
    new = strategic_merge(old, patch, schema)
    assert new["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "2"}, {"name": "c"}]
    assert old["spec"]["template"]["spec"]["containers"][0]["image"] == "1"


def test_merge_patch_removes_by_null() -> None:
    assert merge_patch({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None}, "d": [2]}) == {
        "a": {"c": 2},
        "d": [2],
    }


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        ({"op": "add", "path": "/l/1", "value": 9}, {"l": [1, 9, 2], "m": {"a/b": 1}}),
        ({"op": "add", "path": "/l/-", "value": 9}, {"l": [1, 2, 9], "m": {"a/b": 1}}),
        ({"op": "replace", "path": "/m/a~1b", "value": 9}, {"l": [1, 2], "m": {"a/b": 9}}),
        ({"op": "move", "from": "/l/0", "path": "/x"}, {"l": [2], "m": {"a/b": 1}, "x": 1}),
        ({"op": "test", "path": "/l/0", "value": 1}, {"l": [1, 2], "m": {"a/b": 1}}),
    ],
)
def test_json_patch(operation: Object, wanted: Object) -> None:
    assert json_patch({"l": [1, 2], "m": {"a/b": 1}}, [operation]) == wanted


@pytest.mark.parametrize("path", ["/none", "/l/7", "/l/x"])
def test_a_json_patch_that_does_not_fit_is_refused(path: str) -> None:
    with pytest.raises(ApiError) as raised:
        json_patch({"l": []}, [{"op": "remove", "path": path}])
    assert raised.value.code == 422


# custom kinds

RULES = [{"rule": "self.size <= 5 || has(self.big)", "message": "large ones are big"},
         {"rule": "self.size.frobnicate()"}]  # fmt: skip
SPEC = {
    "type": "object",
    "required": ["size"],
    "x-kubernetes-validations": RULES,
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "big": {"type": "boolean"},
        "color": {"type": "string", "enum": ["red"], "default": "red"},
    },
}


def crd() -> Object:
    schema = {"type": "object", "properties": {"spec": SPEC}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {
        "group": "example.com",
        "names": {"plural": "widgets", "kind": "Widget"},
        "scope": "Namespaced",
        "versions": [version],
    }
    return {"metadata": {"name": "widgets.example.com"}, "spec": spec}


def widget(state: State, **spec: Any) -> tuple[Object, list[str]]:
    served = state.served("example.com/v1", "Widget")
    obj, intake = state.create(served, "ns", {"metadata": {"generateName": "w-"}, "spec": spec})
    return obj, intake.warnings


@pytest.fixture
def custom(state: State) -> State:
    made, _ = state.create(state.served("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "", crd())
    assert [c["status"] for c in made["status"]["conditions"]] == ["True", "True"]
    assert [s.version for s in served_by(made)] == ["v1"]
    return state


def test_defaults_pruning_and_rules_that_are_not_checked_here(custom: State) -> None:
    pytest.importorskip("cel.cel")
    obj, warnings = widget(custom, size=3)
    assert obj["spec"] == {"size": 3, "color": "red"}
    assert "is not checked here" in warnings[0]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"size": 0},
            r"spec\.size: Invalid value: 0: spec\.size in body should be greater than or equal to 1",
        ),
        ({"size": 1, "color": "blue"}, r'spec\.color: Unsupported value: "blue": supported values: "red"'),
        ({}, r"spec\.size: Required value"),
        ({"size": 7}, r'spec: Invalid value: "object": large ones are big'),
    ],
)
def test_kubernetes_words_for_what_breaks_the_schema(custom: State, spec: Object, words: str) -> None:
    pytest.importorskip("cel.cel")
    with pytest.raises(ApiError, match=words) as raised:
        widget(custom, **spec)
    assert raised.value.code == 422


def test_with_a_crd_go_its_objects(custom: State) -> None:
    widget(custom, size=1)
    served = custom.served("example.com/v1", "Widget")
    custom.delete(
        custom.served("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "", "widgets.example.com",
        Deletion(),
    )  # fmt: skip
    assert custom.list(served.kind) == []
    with pytest.raises(ApiError, match="could not find"):
        custom.served("example.com/v1", "Widget")
