from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from gateway.commands.up import preset
from gateway.errors import ManifestError
from gateway.manifests.load import Manifests, load
from tests.e2e import worlds

PAGE = Path(__file__).parents[4] / "shared" / "page"


def read(text: str, namespace: str = "default") -> Manifests:
    return load(["-"], namespace, io.StringIO(text))


def test_the_page() -> None:
    if not PAGE.is_dir():
        pytest.skip(f"the page's manifests are not at {PAGE}")
    manifests = load([str(PAGE / "model-server.yaml"), str(PAGE / "endpoint-picker.yaml")])
    ns = "inference-model-server"
    assert [w.name for w in manifests.workloads] == [
        "inference-model-server-deployment",
        "inference-endpoint-picker",
    ]
    server, picker = manifests.workloads
    assert server.replicas == 3
    assert server.containers[0].args[:4] == ("--model", "meta-llama/Llama-3.1-8B-Instruct", "--port", "8000")
    assert [e.field_path for e in server.containers[0].env] == [
        "metadata.name", "metadata.namespace", "status.podIP"
    ]  # fmt: skip
    assert picker.volumes["plugins-config-volume"].config_map == "plugins-config"
    pool = manifests.pools[ns, "inference-model-server-pool"]
    assert pool.cluster == (
        "outbound|54321||inference-model-server-pool-ip-12aa9e1e.inference-model-server.svc.cluster.local"
    )
    assert pool.picker is not None
    assert (pool.picker.name, pool.picker.port, pool.picker.failure_mode) == (
        "endpoint-picker-svc", 9002, "FailClose"
    )  # fmt: skip
    assert manifests.services[ns, "endpoint-picker-svc"].ports[0].is_http2
    assert manifests.destination_rules[0].host == f"endpoint-picker-svc.{ns}.svc.cluster.local"
    gateway = manifests.gateways["istio-ingress", "gateway"]
    assert (gateway.listeners[0].port, gateway.listeners[0].allowed_from) == (80, "All")
    assert manifests.routes[0].rules[0].matches[0].path == "/v1/completions"
    role = next(r for r in manifests.resources if r.kind == "Role")
    assert role.where == f"{PAGE}/endpoint-picker.yaml:125"


def test_the_preset_is_read() -> None:
    manifests = load(preset())
    assert len(manifests.pools) == len(manifests.gateways) == len(manifests.routes) == 1


def test_files_directories_and_lists(tmp_path: Path) -> None:
    service = worlds.dump(worlds.service("a", "x", 80), worlds.service("b", "x", 80))
    (tmp_path / "one.yaml").write_text(service)
    (tmp_path / "note.txt").write_text("not read")
    listed = {"apiVersion": "v1", "kind": "List", "items": [worlds.service("c", "x", 81)]}
    (tmp_path / "two.yml").write_text(worlds.dump(listed))
    manifests = load([str(tmp_path)])
    assert [s.name for s in manifests.services.values()] == ["a", "b", "c"]
    assert manifests.services["apps", "c"].resource.where == f"{tmp_path}/two.yml:4"


def test_a_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"  # what a shell's <(helm template ...) is
    os.mkfifo(pipe)
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert [r.name for r in load([str(pipe)]).resources] == ["x"]
    writer.join()


def test_the_namespace_of_objects_that_name_none() -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {}\n---\n"
    text += "apiVersion: v1\nkind: Namespace\nmetadata: {name: n, labels: {a: b}}\n"
    manifests = read(text, "mine")
    assert list(manifests.services) == [("mine", "s")]
    assert manifests.resources[1].namespace == ""
    assert manifests.namespace_labels("n") == {"a": "b", "kubernetes.io/metadata.name": "n"}


def test_a_pool_of_the_old_group_is_no_pool() -> None:
    pool = worlds.pool("p", "x", "epp")
    old = {**pool, "apiVersion": "inference.networking.x-k8s.io/v1alpha2"}
    assert read(worlds.dump(old)).pools == {}
    assert list(read(worlds.dump(pool)).pools) == [("apps", "p")]


def test_a_long_pool_name_is_cut_to_63_characters() -> None:
    pool = read(worlds.dump(worlds.pool("p" * 80, "x", "epp"))).pools["apps", "p" * 80]
    assert len(pool.shadow_service) == 63
    assert read(worlds.dump(worlds.pool("test-pool", "x", "e"))).pools[
        "apps", "test-pool"
    ].shadow_service == "test-pool-ip-2bee061e"  # fmt: skip


def test_secrets_and_config_maps() -> None:
    text = """
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {a: aGVsbG8=}
stringData: {b: plain}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {k: v}
binaryData: {x: AAE=}
"""
    manifests = read(text)
    assert manifests.secrets["default", "s"].data == {"a": b"hello", "b": b"plain"}
    assert manifests.config_maps["default", "c"].data == {"k": b"v", "x": b"\0\1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "a Kubernetes object is a mapping"),
        ("apiVersion: v1\nkind: Service", "metadata is missing"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: s}", "spec is missing"),
        (
            worlds.dump(worlds.service("a", "x", 80), worlds.service("a", "x", 80)),
            "stands twice; the first is at",
        ),
        (worlds.dump(worlds.pool("p", "x", "e", ports=())), "targetPorts is missing"),
        (worlds.dump(worlds.pool("p", "x", "e", ports=(70000,))), "between 1 and 65535"),
        (worlds.dump(worlds.pool("p", "x", "e", appProtocol="grpc")), "must be http or kubernetes.io/h2c"),
        (
            worlds.dump(worlds.gateway("g", {"name": "x", "port": "80", "protocol": "HTTP"})),
            "must be an integer",
        ),
        (
            worlds.dump(worlds.route("r", "g", worlds.rule(matches=[worlds.prefix("v1")]))),
            "must start with '/'",
        ),
        (worlds.dump(worlds.servers("d", replicas=-1)), "must be 0 or more"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: '%%%x'}", "not base64"),
    ],
)
def test_errors_name_the_place(text: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        read(text)
    assert str(caught.value).startswith("<stdin>:")


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        load([str(tmp_path / "gone.yaml")])
    with pytest.raises(ManifestError, match=r"without \.yaml"):
        load([str(tmp_path)])
