"""Objects, versions, history and selectors."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.kubeapi.podobject import pod
from gateway.kubeapi.store import KINDS, BadSelectorError, Change, ExpiredError, Store, selector

POD = KINDS[0]


def make(name: str = "a", **labels: str) -> dict[str, Any]:
    return pod(name, "ns", "127.0.0.2", labels or {"app": "x"}, (8000,))


def test_each_change_has_the_next_version_and_an_unchanged_object_none() -> None:
    store = Store()
    seen: list[Change] = []
    store.listen(seen.append)
    store.apply(make())
    store.apply(make())
    store.apply(make(app="y"))
    store.delete(make())
    assert [(c.type, c.version) for c in seen] == [("ADDED", 2), ("MODIFIED", 3), ("DELETED", 4)]
    assert [c.object["metadata"]["resourceVersion"] for c in seen] == ["2", "3", "4"]
    assert len({c.object["metadata"]["uid"] for c in seen}) == 1


def test_delete_of_what_is_not_there_changes_nothing() -> None:
    store = Store()
    assert store.delete(make()) is False
    assert store.version == 1


def test_applied_objects_are_copies() -> None:
    store = Store()
    mine = make()
    store.apply(mine)
    mine["status"]["podIP"] = "elsewhere"
    found = store.get(POD, "ns", "a")
    assert found is not None
    assert found["status"]["podIP"] == "127.0.0.2"


def test_history_that_is_too_short_is_an_error() -> None:
    store = Store(history=2)
    for i in range(4):
        store.apply(make(f"p{i}"))
    assert [c.object["metadata"]["name"] for c in store.since(3)] == ["p2", "p3"]
    with pytest.raises(ExpiredError, match="too old resource version: 2"):
        store.since(2)


def test_a_kind_that_is_not_served_is_refused() -> None:
    with pytest.raises(ValueError, match="v1 Secret is not served"):
        Store().apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})


@pytest.mark.parametrize(
    ("labels", "fields", "names"),
    [
        ("", "", ["a", "b"]),
        ("app=x", "", ["a"]),
        ("app==x", "", ["a"]),
        ("app!=x", "", ["b"]),
        ("app in (x, y)", "", ["a", "b"]),
        ("app notin (x)", "", ["b"]),
        ("app", "", ["a", "b"]),
        ("!tier", "", ["a"]),
        ("app=y,tier", "", ["b"]),
        ("", "metadata.name=a", ["a"]),
        ("", "metadata.namespace=ns,metadata.name!=a", ["b"]),
        ("", "status.podIP=127.0.0.9", []),
    ],
)
def test_selectors(labels: str, fields: str, names: list[str]) -> None:
    store = Store()
    store.apply(make("a", app="x"))
    store.apply(make("b", app="y", tier="z"))
    assert [o["metadata"]["name"] for o in store.list(POD, "", selector(labels, fields))] == names


@pytest.mark.parametrize(("labels", "fields"), [("a b c", ""), ("", "metadata.name")])
def test_a_selector_that_cannot_be_read_is_an_error(labels: str, fields: str) -> None:
    with pytest.raises(BadSelectorError):
        selector(labels, fields)
