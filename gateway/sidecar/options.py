"""The sidecar's command line, as llm-d-router's `pd-sidecar` and llm-d-routing-sidecar read it.

Facts: llm-d-router pkg/sidecar/proxy/options.go, llm-d-routing-sidecar v0.3.0 cmd/.../main.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import ScriptError
from gateway.manifests.workloads import Container, Workload

_IMAGE = re.compile(r"routing-sidecar|routing-proxy|disagg-sidecar|pd-sidecar")
_PROGRAM = re.compile(r"(^|/)(pd-sidecar|llm-d-routing-sidecar)$")
_BOOLEAN = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
# Connector -> whether the prefill's kv_transfer_params go to the decode.
CONNECTORS = {"nixlv2": True, "shared-storage": False, "lmcache": False}
# Flags that change nothing in what is forwarded here; a value of theirs is passed over.
_WITHOUT_EFFECT = frozenset(
    [
        "zap-devel",
        "zap-encoder",
        "zap-log-level",
        "zap-stacktrace-level",
        "zap-time-encoding",
        "v",
        "tracing",
        "metrics-port",
        "cert-path",
        "pool-group",
        "inference-pool",
        "inference-pool-namespace",
        "inference-pool-name",
        "max-idle-conns-per-host",
        "prefill-retry-backoff",
        "mooncake-bootstrap-port",
        "p2p-connector-port",
        "tls-insecure-skip-verify",
        "prefiller-tls-insecure-skip-verify",
        "decoder-tls-insecure-skip-verify",
    ]
)
_SWITCHES = frozenset(
    [
        "secure-proxy",
        "prefiller-use-tls",
        "decoder-use-tls",
        "enable-ssrf-protection",
        "enable-prefiller-sampling",
        "tracing",
        "zap-devel",
        "prefiller-tls-insecure-skip-verify",
        "decoder-tls-insecure-skip-verify",
    ]
)


@dataclass(frozen=True)
class SidecarOptions:
    """`port` and `model_port` are of rank 0; rank r has the r-th above each."""

    port: int = 8000
    model_port: int = 8200
    connector: str = "nixlv2"
    ranks: int = 1
    secure: bool = True
    sampling: bool = False
    retries: int = 0
    tls_to_prefill: bool = False
    tls_to_model: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(self.port + rank for rank in range(self.ranks))


def is_sidecar(container: Container) -> bool:
    """Whether a container is llm-d's routing sidecar, by image or program."""
    words = container.command[:1]
    return bool(_IMAGE.search(container.image)) or any(_PROGRAM.search(w) for w in words)


def sidecar_of(workload: Workload) -> Container | None:
    """The routing sidecar of a pod: a container, or an init container that runs as long as the pod."""
    lasting = [c for c in workload.sidecars if c.root.text("restartPolicy", "") == "Always"]
    return next((c for c in (*workload.containers, *lasting) if is_sidecar(c)), None)


def read_options(words: Sequence[str], image: str, env: Mapping[str, str]) -> SidecarOptions:
    """The options that args give; a ScriptError for what the sidecar would refuse or nobody imitates."""
    is_old = "llm-d-routing-sidecar" in image
    options = SidecarOptions(model_port=8001 if is_old else 8200)
    options = replace(options, sampling=_BOOLEAN.get(env.get("ENABLE_PREFILLER_SAMPLING", "").lower(), False))
    for name, value in _flags(words):
        options = _with(options, name, value)
    if options.secure:
        told = "--secure-proxy is on: in a cluster its port takes TLS only, here it takes TLS and plaintext"
        options = replace(options, notes=(*options.notes, told))
    return options


def _flags(words: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values, as Go's flag packages take them apart."""
    found = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            raise ScriptError(f"the routing sidecar takes no {word!r}")
        if not equals:
            value = "true" if name in _SWITCHES else rest.pop(0) if rest else ""
        found.append((name, value))
    return found


def _with(options: SidecarOptions, name: str, value: str) -> SidecarOptions:
    if name in _WITHOUT_EFFECT:
        return options
    if name in {"connector", "kv-connector"}:
        if value not in CONNECTORS:
            known = ", ".join(CONNECTORS)
            raise ScriptError(f"--{name} {value} is not imitated by the routing sidecar here; {known} are")
        return replace(options, connector=value)
    if name == "enable-ssrf-protection":
        told = "--enable-ssrf-protection: any prefill host that a request names is taken"
        return replace(options, notes=(*options.notes, told)) if _truth(name, value) else options
    if name == "enable-tls":
        stages = value.split(",")
        return replace(options, tls_to_prefill="prefiller" in stages, tls_to_model="decoder" in stages)
    if name not in _SETTERS:
        raise ScriptError(f"the routing sidecar's flag --{name} is not known here")
    field, read = _SETTERS[name]
    changes: dict[str, Any] = {field: read(name, value)}
    return replace(options, **changes)


def _truth(name: str, value: str) -> bool:
    if value.lower() not in _BOOLEAN:
        raise ScriptError(f"--{name} must be true or false, not {value!r}")
    return _BOOLEAN[value.lower()]


def _number(low: int, high: int) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        if not value.isdigit() or not low <= int(value) <= high:
            raise ScriptError(f"--{name} must be a number from {low} to {high}, not {value!r}")
        return int(value)

    return read


_PORT = _number(1, 65535)
_SETTERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "port": ("port", _PORT),
    "vllm-port": ("model_port", _PORT),
    "model-server-port": ("model_port", _PORT),
    "data-parallel-size": ("ranks", _number(1, 64)),
    "prefill-max-retries": ("retries", _number(0, 100)),
    "secure-proxy": ("secure", _truth),
    "enable-prefiller-sampling": ("sampling", _truth),
    "prefiller-use-tls": ("tls_to_prefill", _truth),
    "decoder-use-tls": ("tls_to_model", _truth),
}
