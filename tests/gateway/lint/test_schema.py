"""Objects against CRDs: a small CRD of our own for every keyword, then what a folder of CRDs may not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import ManifestError
from gateway.lint import run
from gateway.lint.schema import check_schemas, load_crds
from gateway.manifests.load import read
from kit.yamldoc import load_documents

SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "least": {"type": "integer", "minimum": 1},
        "most": {"type": "integer", "maximum": 9},
        "share": {"type": "number"},
        "on": {"type": "boolean"},
        "mode": {"type": "string", "enum": ["a", "b"]},
        "port": {"x-kubernetes-int-or-string": True},
        "items": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "open": {"type": "object", "properties": {"x": {"type": "string"}}, "x-kubernetes-preserve-unknown-fields": True},
        "free": {"type": "object"},
        "anything": {},
    },
}  # fmt: skip
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Thing"},
        "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "apiVersion": {"type": "string"}, "spec": SPEC}}}}],
    },
}  # fmt: skip


@pytest.fixture
def crds(tmp_path: Path) -> str:
    folder = tmp_path / "crds"
    folder.mkdir()
    (folder / "thing.yaml").write_text(yaml.safe_dump(CRD))
    return str(folder)


def thing(spec: str, version: str = "v1") -> str:
    return (
        f"apiVersion: example.com/{version}\nkind: Thing\nmetadata: {{name: t, namespace: n}}\nspec:\n{spec}"
    )


def told(text: str, crds: str) -> list[tuple[int, str]]:
    """(line, message) of each finding, the object's name left out."""
    found = check_schemas(read(load_documents(text, "t.yaml", ManifestError)), load_crds(crds))
    return [(f.line, f.message.removeprefix("Thing n/t: ")) for f in found]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("  count: 1\n", "spec: name is missing"),
        ("  name: 5\n", "spec.name: must be string, is 5"),
        ("  name: t\n  nmae: u\n", "spec.nmae: these CRDs have no field 'nmae' here"),
        ("  name: t\n  count: 0\n", "spec.count: must be between 1 and 9, is 0"),
        ("  name: t\n  count: 10\n", "spec.count: must be between 1 and 9, is 10"),
        ("  name: t\n  count: 1.5\n", "spec.count: must be integer, is 1.5"),
        ("  name: t\n  count: true\n", "spec.count: must be integer, is True"),
        ("  name: t\n  count: '1'\n", "spec.count: must be integer, is '1'"),
        ("  name: t\n  least: 0\n", "spec.least: must be at least 1, is 0"),
        ("  name: t\n  most: 10\n", "spec.most: must be at most 9, is 10"),
        ("  name: t\n  share: true\n", "spec.share: must be number, is True"),
        ("  name: t\n  on: 1\n", "spec.on: must be boolean, is 1"),
        ("  name: t\n  mode: c\n", "spec.mode: must be one of a, b, is 'c'"),
        ("  name: t\n  port: true\n", "spec.port: must be an integer or a string, is True"),
        ("  name: t\n  port: [1]\n", "spec.port: must be an integer or a string, is [1]"),
        ("  name: t\n  items: []\n", "spec.items: must have 1 to 2 items, has 0"),
        ("  name: t\n  items: [a, b, c]\n", "spec.items: must have 1 to 2 items, has 3"),
        ("  name: t\n  items: [a, 5]\n", "spec.items[1]: must be string, is 5"),
        ("  name: t\n  items: {a: b}\n", "spec.items: must be array, is {'a': 'b'}"),
        ("  name: t\n  labels: {a: 5}\n", "spec.labels.a: must be string, is 5"),
        ("  name: t\n  open: {x: 5}\n", "spec.open.x: must be string, is 5"),
        ("  name: t\n  free: text\n", "spec.free: must be object, is 'text'"),
    ],
)
def test_what_a_crd_refuses(crds: str, spec: str, message: str) -> None:
    line = 4 if "missing" in message else 3 + len(spec.splitlines()) + 1
    assert told(thing(spec), crds) == [(line, message)]


@pytest.mark.parametrize(
    "spec",
    [
        "name: t", "count: 1", "count: 9", "least: 1000", "most: -1", "share: 1", "share: 0.5", "on: false",
        "mode: b", "port: 80", "port: http", "items: [a]", "items: [a, b]", "labels: {a: b, c: d}", "labels: {}",
        "open: {x: a, y: 5}", "free: {a: {b: [1]}}", "anything: 5", "anything: [true]", "count: null",
    ],
)  # fmt: skip
def test_what_it_takes(crds: str, spec: str) -> None:
    assert told(thing(f"  name: t\n  {spec}\n".replace("name: t\n  name: t", "name: t")), crds) == []


def test_a_version_that_the_crds_have_not(crds: str) -> None:
    found = told(thing("  name: t\n", "v2"), crds)
    assert found == [(1, "document: these CRDs have no Thing of example.com/v2")]


def test_other_groups_are_not_looked_at(crds: str) -> None:
    assert told("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {nonsense: 1}\n", crds) == []
    other = "apiVersion: other.example.com/v1\nkind: Thing\nmetadata: {name: s}\nspec: {nonsense: 1}\n"
    assert told(other, crds) == []


def test_crds_are_found_in_folders_below_and_beside_other_objects(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "all.yml").write_text(yaml.safe_dump_all([{"kind": "Namespace"}, CRD, None, ["x"]]))
    (tmp_path / "notes.txt").write_text("{{ not yaml")
    assert set(load_crds(str(tmp_path))) == {("example.com/v1", "Thing")}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.yaml", b"a: [\n", "bad.yaml cannot be read: "),
        ("bad.yaml", b"a: {{ .Values.x }}: b\n", "bad.yaml cannot be read: "),
        ("bad.yaml", b"\xff\xfe\xff", "bad.yaml cannot be read: "),
        ("old.yaml", b"kind: CustomResourceDefinition\nspec: {group: g, names: {kind: K}, version: v1}\n",
         "old.yaml: no CustomResourceDefinition of v1: 'versions' is wrong"),
        ("old.yaml", b"kind: CustomResourceDefinition\nspec: {group: g, names: {kind: K}, versions: [{name: v1}]}\n",
         "old.yaml: no CustomResourceDefinition of v1: 'schema' is wrong"),
        ("none.yaml", b"kind: Namespace\n", "crds: no CustomResourceDefinition in 1 YAML files"),
        ("none.txt", b"", "crds: no CustomResourceDefinition in 0 YAML files"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    folder, file = tmp_path / "crds", tmp_path / "t.yaml"
    folder.mkdir()
    (folder / name).write_bytes(content)
    file.write_text(thing("  name: t\n"))
    assert run([str(file), "--crds", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("simfleet lint: --crds ")
    assert message in err
    assert err.count("\n") == 1


def test_the_command_finds_what_the_crd_refuses(
    tmp_path: Path, crds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(thing("  name: 5\n"))
    assert run([str(file)]) == 0
    capsys.readouterr()
    assert run([str(file), "--crds", crds]) == 1
    assert capsys.readouterr().out.startswith(
        f"{file}:5: error [schema]\n    Thing n/t: spec.name: must be string"
    )
