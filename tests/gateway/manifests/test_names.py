"""Names, keys and paths that the API server refuses are refused with file and line, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import ManifestError
from gateway.manifests.inside import inside
from gateway.manifests.load import Manifests, load
from tests.e2e import worlds

Json = dict[str, Any]
RBAC = "rbac.authorization.k8s.io/v1"


def obj(kind: str, api: str = "v1", /, name: str = "x", **more: Any) -> Json:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **more}


def deployment(mount: Json | None = None, volume: Json | None = None, container: str = "c") -> Json:
    server = worlds.servers("x")
    pod = server["spec"]["template"]["spec"]
    pod["containers"][0] |= {
        "name": container,
        "volumeMounts": [{"name": "v", "mountPath": "/v", **(mount or {})}],
    }
    pod["volumes"] = [{"name": "v", "configMap": {"name": "x"}, **(volume or {})}]
    return server


def items(*pairs: tuple[str, str]) -> Json:
    return {"configMap": {"name": "x", "items": [{"key": k, "path": p} for k, p in pairs]}}


def read(tmp_path: Path, *objects: Json) -> Manifests:
    file = tmp_path / "m.yaml"
    file.write_text("\n" + yaml.safe_dump_all(objects, sort_keys=False))
    return load([str(file)])


BAD_PATHS = ["../x", "/x", "a/../../x", "..", "a/..", "a/../b", "../../../../etc/x", "x\0y"]
BAD_LABELS = ["../x", "/x", ".", "..", "", "A", "a_b", "a.b", "-a", "a-", "a/b", "a\n", "é", "a" * 64, "a b"]
BAD_SUBDOMAINS = [*(x for x in BAD_LABELS if x not in {"a.b", "a" * 64}), "a..b", ".a", "a.-b", "a" * 254]
BAD_KEYS = ["../x", "/x", ".", "..", "..x", "", "a/b", "a b", "a\n", "é", "a\0", "a" * 254]
REFUSED = [
    *(obj("ConfigMap", name=name) for name in BAD_SUBDOMAINS),
    *(
        obj("Gateway", "gateway.networking.k8s.io/v1", name=name, spec={"listeners": []})
        for name in ("a/b", "..")
    ),
    *({**worlds.servers("x"), "metadata": {"name": name}} for name in ("../x", "a/b", "X")),
    *({**obj("ConfigMap"), "metadata": {"name": "x", "namespace": each}} for each in BAD_LABELS if each),
    *(obj("Namespace", name=name) for name in BAD_LABELS),
    *(obj("Service", name=name, spec={"ports": []}) for name in BAD_LABELS),
    *(obj("ClusterRole", RBAC, name=name) for name in ("", ".", "..", "a/b", "a%2fb")),
    *(obj("ConfigMap", data={key: "x"}) for key in BAD_KEYS),
    *(obj("ConfigMap", binaryData={key: "eA=="}) for key in BAD_KEYS),
    *(obj("Secret", data={key: "eA=="}) for key in BAD_KEYS),
    *(obj("Secret", stringData={key: "x"}) for key in BAD_KEYS),
    obj("ConfigMap", data={"a": "x"}, binaryData={"a": "eA=="}),
    obj("Secret", data={"a": "é"}),
    *(deployment(volume={"name": name}) for name in BAD_LABELS),
    *(deployment(container=name) for name in BAD_LABELS),
    *(deployment(volume=items(("a", path))) for path in [*BAD_PATHS, "", "..data"]),
    *(deployment({"subPath": path}) for path in BAD_PATHS),
    *(deployment({"mountPath": path}) for path in ("", "/a:b", "/a\0")),
]


@pytest.mark.parametrize("refused", REFUSED, ids=range(len(REFUSED)))
def test_refused_with_file_and_line(tmp_path: Path, refused: Json) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, refused)
    assert caught.value.file == str(tmp_path / "m.yaml")
    assert caught.value.line is not None
    assert caught.value.line > 3, "the line of the value, not of the document"


def test_two_volumes_of_one_name(tmp_path: Path) -> None:
    server = deployment()
    server["spec"]["template"]["spec"]["volumes"] *= 2
    with pytest.raises(ManifestError, match="the name v stands twice"):
        read(tmp_path, server)


def test_taken(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        *(obj("ConfigMap", name=name) for name in ("a", "a.b-c.1", "0", "a" * 63 + "." + "b" * 189)),
        obj("Namespace", name="a" * 63),
        obj("Service", name="1-a", spec={"ports": []}),
        obj("ClusterRoleBinding", RBAC, name="system:Auth_delegator"),
        obj("ConfigMap", name="keys", data={"a..b": "", ".hidden": "", "A-_.1": "", "a" * 253: ""}),
        deployment(
            {"mountPath": "relative", "subPath": "a/..b/c..d"}, items(("a", "b/..c/.d/e..f"), ("b", "b//x"))
        ),
    )
    assert len(found.resources) == 9


@pytest.mark.parametrize(
    "parts", [("..",), ("a", "..", "..", "b"), ("/etc",), ("link",), ("link", "x"), ("a\0b",)]
)
def test_the_last_guard(tmp_path: Path, parts: tuple[str, ...]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    assert inside(root, "a", "..", "b") == root / "a" / ".." / "b"
    with pytest.raises(ManifestError, match="leads out of"):
        inside(root, *parts)
