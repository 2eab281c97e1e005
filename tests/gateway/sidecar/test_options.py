"""The sidecar's command line and its place in a pod."""

from __future__ import annotations

import io
from typing import Any

import pytest

from gateway.errors import ContainerError, ScriptError
from gateway.manifests.load import load
from gateway.manifests.workloads import Workload
from gateway.sidecar.options import SidecarOptions, is_sidecar, read_options, sidecar_of
from gateway.sidecar.plan import sidecar_options
from tests.e2e import worlds

OLD, NEW = "ghcr.io/llm-d/llm-d-routing-sidecar:v0.3.0", "ghcr.io/llm-d/llm-d-router-disagg-sidecar:v0.9.0"
PROXY = {"name": "routing-proxy", "image": OLD, "args": ["--port=8000"]}


@pytest.mark.parametrize(
    ("image", "words", "options"),
    [
        (OLD, [], SidecarOptions(model_port=8001)),
        (NEW, [], SidecarOptions()),
        (NEW, ["--port=9", "--model-server-port", "10"], SidecarOptions(9, 10)),
        (OLD, ["-vllm-port=8200", "-connector", "lmcache"], SidecarOptions(connector="lmcache")),
        (NEW, ["--kv-connector=shared-storage", "--v=4"], SidecarOptions(connector="shared-storage")),
        (NEW, ["--secure-proxy=false", "--zap-log-level", "debug"], SidecarOptions(secure=False)),
        (NEW, ["--data-parallel-size=2"], SidecarOptions(ranks=2)),
        (
            NEW,
            ["--prefiller-use-tls", "--decoder-use-tls"],
            SidecarOptions(tls_to_prefill=True, tls_to_model=True),
        ),
        (NEW, ["--enable-tls=prefiller"], SidecarOptions(tls_to_prefill=True)),
        (
            NEW,
            ["--enable-prefiller-sampling", "--prefill-max-retries=2"],
            SidecarOptions(sampling=True, retries=2),
        ),
    ],
)
def test_flags(image: str, words: list[str], options: SidecarOptions) -> None:
    found = read_options(words, image, {})
    assert found == SidecarOptions(**{**vars_of(options), "notes": found.notes})
    assert any("secure-proxy" in note for note in found.notes) == options.secure


def vars_of(options: SidecarOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--connector=sglang"], "--connector sglang is not imitated by the routing sidecar here; nixlv2"),
        (["--port=x"], "--port must be a number"),
        (["--secure-proxy=maybe"], "--secure-proxy must be true or false"),
        (["--configuration-file=/c.yaml"], "flag --configuration-file is not known here"),
        (["serve"], "takes no 'serve'"),
    ],
)
def test_flags_that_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        read_options(words, NEW, {})


def pod(init: list[Any], more: list[Any] | None = None) -> Workload:
    server = worlds.servers("x", ports=(8200,))
    spec = server["spec"]["template"]["spec"]
    spec["initContainers"] = init
    spec["containers"] += more or []
    return load(["-"], "apps", io.StringIO(worlds.dump(server))).workloads[0]


def test_where_it_stands_in_a_pod() -> None:
    lasting = {**PROXY, "restartPolicy": "Always"}
    found = sidecar_of(pod([lasting]))
    assert found is not None
    assert is_sidecar(found)
    assert sidecar_of(pod([PROXY])) is None  # it would end before the server starts
    assert sidecar_of(pod([], [PROXY])) is not None
    assert sidecar_of(pod([{**lasting, "image": "busybox"}])) is None


def test_its_flags_are_told_with_their_place() -> None:
    workload = pod(
        [{**PROXY, "restartPolicy": "Always", "args": ["--port=$(P)"], "env": [{"name": "P", "value": "7"}]}]
    )
    manifests = load(["-"], "apps", io.StringIO(""))
    options = sidecar_options(manifests, workload, "x-1", "127.0.0.2")
    assert options is not None
    assert options.ports == (7,)
    bad = pod([{**PROXY, "restartPolicy": "Always", "args": ["--odd=1"]}])
    with pytest.raises(ContainerError, match=r"initContainers\[0\]\.args: container routing-proxy: .*--odd"):
        sidecar_options(manifests, bad, "x-1", "127.0.0.2")
