"""What a kustomization may read: its own directory's files, and bases anywhere, as kustomize has it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from gateway.errors import ManifestError
from gateway.manifests.kustomize import build
from gateway.manifests.load import load

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: inside}\n"
SECRET = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {a: hunter2}\n"
PATCH = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {b: patched}\n"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """app/ with files of its own, links, base/ beside it, and files above it that nothing may read."""
    files = {
        "app/own/map.yaml": CONFIG_MAP.replace("{name: c}", "{name: own}"),
        "app/own/patch.yaml": PATCH,
        "base/kustomization.yaml": "resources: [map.yaml]\n",
        "base/map.yaml": CONFIG_MAP,
        "back/kustomization.yaml": "resources: [../app]\n",
        "outside.yaml": SECRET,
        "patch.yaml": PATCH,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    app = tmp_path / "app"
    (app / "link.yaml").symlink_to("../outside.yaml")
    (app / "linked").symlink_to("..")
    (app / "linkedbase").symlink_to("../base")
    (app / "inner.yaml").symlink_to("own/map.yaml")
    return app


def agrees(app: Path, text: str) -> list[str] | str:
    """Names of the objects, or the error; kubectl says the same where it is installed."""
    file = app / "kustomization.yaml"
    file.write_text(text.replace("HERE", str(app)))
    found: list[str] | str
    try:
        found = sorted(r.name for r in load([str(app)]).resources)
    except ManifestError as error:
        found = str(error)
    if shutil.which("kubectl"):
        done = subprocess.run(["kubectl", "kustomize", str(app)], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == isinstance(found, list), done.stderr
        if isinstance(found, list):
            assert sorted(d["metadata"]["name"] for d in yaml.safe_load_all(done.stdout)) == found
    return found


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("resources: [own/map.yaml]", ["own"]),
        ("resources: [HERE/own/map.yaml]", ["own"]),
        ("resources: [own/../../app/own/map.yaml]", ["own"]),
        ("resources: [inner.yaml]", ["own"]),
        ("resources: [../base]", ["c"]),
        ("resources: [linkedbase]", ["c"]),
        ("{resources: [../base], patches: [{path: own/patch.yaml}]}", ["c"]),
        ("configMapGenerator: [{name: g, files: [own/map.yaml, k=HERE/own/map.yaml]}]", ["g-4h459hmbk4"]),
    ],
)
def test_what_may_be_read(app: Path, text: str, names: list[str]) -> None:
    assert agrees(app, text) == names


@pytest.mark.parametrize(
    "text",
    [
        "resources: [../outside.yaml]",
        "resources: [HERE/../outside.yaml]",
        "resources: [link.yaml]",
        "resources: [linked/outside.yaml]",
        "{resources: [../base], patches: [{path: ../patch.yaml}]}",
        "{resources: [../base], patches: [{path: linked/patch.yaml, target: {kind: ConfigMap}}]}",
        "{resources: [../base], patchesStrategicMerge: [../patch.yaml]}",
        "{resources: [../base], patchesJson6902: [{path: ../patch.yaml, target: {kind: ConfigMap, name: c, "
        "version: v1}}]}",
        "configMapGenerator: [{name: g, files: [../outside.yaml]}]",
        "configMapGenerator: [{name: g, files: [k=link.yaml]}]",
        "secretGenerator: [{name: g, files: [k=/etc/hostname]}]",
        "resources: [/etc/hostname]",
    ],
)
def test_files_outside(app: Path, text: str) -> None:
    refused = str(agrees(app, text))
    assert refused.startswith(f"{app}/kustomization.yaml:1: ")
    assert "is not in or below" in refused
    assert "hunter2" not in refused


@pytest.mark.parametrize("text", ["resources: [.]", "resources: [..]", "resources: [../back]"])
def test_cycles(app: Path, text: str) -> None:
    (app.parent / "kustomization.yaml").write_text("resources: [outside.yaml]\n")
    assert "a cycle" in agrees(app, text)


def test_an_absolute_base(app: Path) -> None:
    assert "relative" in agrees(app, "resources: [HERE/../base]")


def test_bases_that_name_each_other_twice_do_not_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "MOST_BUILT", 50)
    for i in range(10):
        (tmp_path / f"d{i}").mkdir()
        (tmp_path / f"d{i}/kustomization.yaml").write_text(f"resources: [../d{i + 1}, ../d{i + 1}]\n")
    (tmp_path / "d10").mkdir()
    leaf = tmp_path / "d10/kustomization.yaml"
    leaf.write_text("resources: [map.yaml]\n")
    (tmp_path / "d10/map.yaml").write_text(CONFIG_MAP)
    with pytest.raises(ManifestError, match=r"d9/.*resources\[1\]: brings ConfigMap default/c, .*map.yaml:1"):
        load([str(tmp_path / "d0")])
    leaf.write_text("namePrefix: x-\n")
    with pytest.raises(ManifestError, match="more than 50 kustomizations lead here"):
        load([str(tmp_path / "d0")])
