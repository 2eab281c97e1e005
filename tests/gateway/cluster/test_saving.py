"""A cluster's objects as files: to begin with, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gateway.cluster.objects.kinds import CONFIG_MAP, DEPLOYMENT
from gateway.cluster.saving import Saved, load_files, load_saved
from gateway.errors import ManifestError
from tests.e2e import worlds
from tests.gateway.cluster.worldkit import create, new_world


def test_what_was_written_is_there_the_next_time(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    world, _ = new_world()
    saved = Saved(world.state, folder)
    create(world, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": worlds.NAMESPACE}})
    create(world, worlds.servers("x", 2))
    create(world, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gone"}}, "default")
    served = world.state.served("v1", "ConfigMap")
    saved_files = {p.name for p in folder.rglob("*.yaml")}
    assert {"configmap.gone.yaml", "deployment.apps.x.yaml", "namespace.apps.yaml"} <= saved_files
    world.state.drop(served.kind, world.state.need(served.kind, "default", "gone"))
    saved.close()
    kept = yaml.safe_load((folder / worlds.NAMESPACE / "deployment.apps.x.yaml").read_text())
    assert kept["metadata"] == {"name": "x", "namespace": worlds.NAMESPACE}

    again, _ = new_world()
    load_saved(again.state, folder)
    assert again.state.need(DEPLOYMENT, worlds.NAMESPACE, "x")["spec"]["replicas"] == 2
    assert again.state.get(CONFIG_MAP, "default", "gone") is None


def test_files_are_taken_in_any_order_and_mistakes_have_a_place(tmp_path: Path) -> None:
    world, _ = new_world()
    file = tmp_path / "all.yaml"
    file.write_text(worlds.dump(worlds.servers("x"), worlds.gateway("gw")))
    load_files(world.state, [str(file)])
    assert len(world.state.list(DEPLOYMENT)) == 1
    file.write_text("kind: ConfigMap\napiVersion: v1\nmetadata: {name: m}\ndata: {a: 1}\n")
    with pytest.raises(ManifestError, match=r"all\.yaml:1: ConfigMap in version"):
        load_files(world.state, [str(file)])
    file.write_text("kind: Nothing\napiVersion: v1\nmetadata: {name: m}\n")
    with pytest.raises(ManifestError, match="no matches for kind 'Nothing'"):
        load_files(world.state, [str(file)])
