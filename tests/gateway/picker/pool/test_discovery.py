"""Endpoints and objects from files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.picker.errors import PickerConfigError
from gateway.picker.pool.datastore import Datastore
from gateway.picker.pool.discovery import endpoints_file, objects_file, parse_endpoints, parse_objects, watch
from gateway.picker.pool.endpoints import Endpoint, EndpointMetrics
from gateway.picker.pool.labels import parse_selector
from tests.gateway.picker.running import endpoints_text
from tests.waiting import until_async

YAML = """\
endpoints:
- name: sim-0
  namespace: other
  address: 127.0.0.2
  port: "8000"
  metricsHost: 127.0.0.2:9000
  labels: {app: x}
- {name: sim-1, address: "::1", port: 8001}
"""


def test_the_format_of_file_discovery() -> None:
    (first, second), errors = parse_endpoints(YAML, "ns")
    assert errors == []
    assert (first.id, first.host_port, first.metrics_host) == (
        "other/sim-0",
        "127.0.0.2:8000",
        "127.0.0.2:9000",
    )
    assert first.labels == {"app": "x"}
    assert (second.id, second.host_port, second.metrics_host) == ("ns/sim-1", "[::1]:8001", "[::1]:8001")
    (only,), _ = parse_endpoints(endpoints_text(("a", "127.0.0.2", 8000)), "ns", metrics_port=9400)
    assert only.metrics_host == "127.0.0.2:9400"


def test_bad_entries_are_left_out_and_named() -> None:
    text = 'endpoints: [{name: a, address: nowhere, port: "1"}, {name: b, address: 1.2.3.4, port: "x"}, 5]'
    endpoints, errors = parse_endpoints(text, "ns", where="f")
    assert endpoints == []
    assert errors == [
        'f: endpoint "a": invalid address "nowhere"',
        'f: endpoint "b": invalid port "x"',
        "f: endpoint 5 is not a mapping",
    ]


@pytest.mark.parametrize("text", ["", "endpoints: {}", "- a", "a: ["])
def test_files_that_are_no_endpoints_file(text: str) -> None:
    with pytest.raises(PickerConfigError):
        parse_endpoints(text, "ns")


OBJECTS = """\
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceObjective
metadata: {name: batch, namespace: ns}
spec: {priority: -1, poolRef: {name: pool}}
---
kind: List
items:
- kind: InferenceObjective
  metadata: {name: default, namespace: ns}
  spec: {poolRef: {name: pool}}
- kind: InferenceObjective
  metadata: {name: foreign, namespace: ns}
  spec: {priority: 3, poolRef: {name: another}}
- kind: InferenceObjective
  metadata: {name: elsewhere, namespace: other}
  spec: {priority: 3}
- kind: InferenceModelRewrite
  metadata: {name: young, namespace: ns, creationTimestamp: "2026-02-01T00:00:00Z"}
  spec:
    rules:
    - matches: [{model: {value: m}}]
      targets: [{modelRewrite: young-m}]
- kind: InferenceModelRewrite
  metadata: {name: old, namespace: ns, creationTimestamp: "2026-01-01T00:00:00Z"}
  spec:
    poolRef: {name: pool}
    rules:
    - matches: [{model: {type: Exact, value: m}}]
      targets: [{modelRewrite: a, weight: 9}, {modelRewrite: b, weight: 1}]
    - targets: [{modelRewrite: everything}]
- kind: Pod
"""


def test_objects_of_the_pool() -> None:
    objects = parse_objects(OBJECTS, "pool", "ns")
    assert objects.priorities == {"batch": -1, "default": 0}
    assert [(rule.rewrite, sorted(rule.models)) for rule in objects.rewrites] == [
        ("old", ["m"]),
        ("old", []),
        ("young", ["m"]),
    ]
    assert [(target.model, target.weight) for target in objects.rewrites[0].targets] == [("a", 9), ("b", 1)]


def test_priorities_must_be_integers() -> None:
    with pytest.raises(PickerConfigError, match=r"f: o\.spec\.priority: 'high' is not an integer"):
        parse_objects(
            "{kind: InferenceObjective, metadata: {name: o}, spec: {priority: high}}", "p", "ns", "f"
        )


def test_endpoints_that_stay_keep_their_metrics() -> None:
    store = Datastore("pool", "ns")
    heard: list[str] = []
    store.on_added.append(lambda place: heard.append(f"+{place.name}"))
    store.on_removed.append(lambda place: heard.append(f"-{place.name}"))

    def place(name: str, port: int = 8000) -> Endpoint:
        return Endpoint(name, "ns", "127.0.0.2", port, f"127.0.0.2:{port}", {}, name)

    assert not store.synced
    assert store.replace([place("a"), place("b")])
    store.endpoints[0].metrics = EndpointMetrics(waiting=5)
    assert not store.replace([place("a"), place("b")])
    assert store.replace([place("a"), place("c")])
    assert store.replace([place("a", 9000), place("c")])  # moved: scraped anew, metrics kept
    assert store.endpoints[-1].metrics.waiting == 5
    assert heard == ["+a", "+b", "-b", "+c", "-a", "+a"]


def replace(path: Path, text: str) -> None:
    """An atomic change, as the stack makes it."""
    other = path.with_suffix(".new")
    other.write_text(text)
    os.replace(other, path)


def test_changes_count_within_half_a_second(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "endpoints.json"
        path.write_text(endpoints_text(("a", "127.0.0.2", 8000)))
        store = Datastore("pool", "ns")
        file = endpoints_file(str(path), store)
        file.load()
        task = asyncio.create_task(watch([file]))
        took = []
        for number in range(5):
            replace(path, endpoints_text(("a", "127.0.0.2", 8000), (f"b{number}", "127.0.0.3", 8000)))
            start = time.monotonic()
            await until_async(
                lambda n=number: any(e.name == f"b{n}" for e in store.endpoints), what="the change"
            )  # type: ignore[misc]
            took.append(time.monotonic() - start)
        assert min(took) < 0.5, took
        task.cancel()

    asyncio.run(scenario())


def test_what_cannot_be_read_leaves_what_was_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(endpoints_text(("a", "127.0.0.2", 8000)))
    store = Datastore("pool", "ns")
    file = endpoints_file(str(path), store)
    file.load()
    replace(path, "endpoints: [")
    file.check()
    file.check()
    path.unlink()
    file.check()
    file.check()
    assert [e.name for e in store.endpoints] == ["a"]
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 2
    replace(path, endpoints_text())
    file.check()
    assert store.endpoints == []


def test_missing_files_at_the_start_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PickerConfigError, match="No such file"):
        objects_file(str(tmp_path / "none"), Datastore("pool", "ns")).load()
    (tmp_path / "large").write_bytes(b" " * (1 << 20) + b"x")
    with pytest.raises(PickerConfigError, match="1 MiB"):
        endpoints_file(str(tmp_path / "large"), Datastore("pool", "ns")).load()


def test_selector(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(YAML)
    store = Datastore("app=x", "ns")
    endpoints_file(str(path), store, 0, parse_selector("app=x")).load()
    assert [e.name for e in store.endpoints] == ["sim-0"]
    with pytest.raises(PickerConfigError, match="is not key=value"):
        parse_selector("app in (x)")


WORDS = st.sampled_from(
    [
        "endpoints",
        "name",
        "address",
        "port",
        "kind",
        "metadata",
        "spec",
        "items",
        "rules",
        "InferenceObjective",
    ]
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.just("127.0.0.1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


@given(JUNK)
def test_whatever_a_file_holds_is_an_error_of_ours_or_none(junk: object) -> None:
    """Anything else would end the task that watches the files."""
    text = msgspec.json.encode(junk).decode()
    for parse in (lambda: parse_endpoints(text, "ns"), lambda: parse_objects(text, "pool", "ns")):
        with contextlib.suppress(PickerConfigError):
            parse()
