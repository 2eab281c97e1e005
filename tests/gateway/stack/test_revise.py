"""Manifests with other objects in them: what is said of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ManifestError
from gateway.manifests.load import Manifests, load
from gateway.stack.revise import revised
from tests.e2e import worlds


def files(folder: Path, *objects: Any) -> list[str]:
    path = folder / f"{len(list(folder.iterdir()))}.yaml"
    path.write_text(worlds.dump(*objects))
    return [str(path)]


@pytest.fixture
def old(tmp_path: Path) -> Manifests:
    return load(files(tmp_path, worlds.servers("x", 2), worlds.gateway("gw")))


def test_what_changed_is_said_field_by_field(old: Manifests, tmp_path: Path) -> None:
    changed = worlds.servers("x", 5)
    changed["spec"]["template"]["metadata"]["labels"]["new"] = "1"
    new, lines = revised(old, files(tmp_path, changed, worlds.gateway("gw"), worlds.servers("y")), "default")
    ns = worlds.NAMESPACE
    assert lines == [
        f"Deployment {ns}/x configured: spec.replicas 2 -> 5; spec.template.metadata.labels.new none -> 1",
        "Gateway infra/gw unchanged",
        f"Deployment {ns}/y created",
    ]
    assert [w.replicas for w in new.workloads] == [5, 3]


def test_a_long_text_is_told_by_its_lines(tmp_path: Path) -> None:
    picker = worlds.picker("epp", "p", "a: 1\nb: 2\n")
    old = load(files(tmp_path, picker))
    _, lines = revised(old, files(tmp_path, worlds.picker("epp", "p", "a: 1\nb: 3\n")), "default")
    assert [line for line in lines if "unchanged" not in line] == [
        f"ConfigMap {worlds.NAMESPACE}/epp-config configured: data.epp.yaml: b: 2 -> b: 3"
    ]


def test_the_rest_stays_unless_it_is_pruned(old: Manifests, tmp_path: Path) -> None:
    source = files(tmp_path, worlds.gateway("other"))
    kept, _ = revised(old, source, "default")
    assert (len(kept.workloads), len(kept.gateways)) == (1, 2)
    pruned, lines = revised(old, source, "default", prune=True)
    assert (len(pruned.workloads), len(pruned.gateways)) == (0, 1)
    assert lines[1:] == [f"Deployment {worlds.NAMESPACE}/x removed", "Gateway infra/gw removed"]


def test_what_cannot_be_read_changes_nothing(old: Manifests, tmp_path: Path) -> None:
    bad = worlds.servers("x")
    bad["spec"]["replicas"] = -1
    with pytest.raises(ManifestError, match="must be 0 or more"):
        revised(old, files(tmp_path, bad), "default")
    assert len(old.workloads) == 1
