"""What the rules ask of the manifests: who serves a pool, who picks for it, and which release that is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.resources import selects
from gateway.manifests.workloads import Container, Service, Workload
from gateway.picker.compat import Compat
from gateway.picker.compat import of_image as release_of


def flags(args: Iterable[str]) -> dict[str, str]:
    """Flags of a Go or Python command line: `--a=b`, `--a b`, and `--a` as "true"; dashes for underscores."""
    found: dict[str, str] = {}
    name = ""
    for arg in args:
        if re.match(r"--?[A-Za-z]", arg):
            name, equals, value = arg.lstrip("-").partition("=")
            name = name.replace("_", "-")
            found[name] = value if equals else "true"
            if equals:
                name = ""
        elif name:
            found[name] = arg
            name = ""
    return found


def flags_of(container: Container) -> dict[str, str]:
    return flags([*container.command, *container.args])


def is_true(value: str) -> bool:
    return value.lower() in ("true", "1", "t")


@dataclass(frozen=True)
class Picker:
    """The picker of one pool, as far as the manifests have it."""

    service: Service | None
    workload: Workload | None
    container: Container | None

    @property
    def flags(self) -> dict[str, str]:
        return flags_of(self.container) if self.container else {}

    @property
    def release(self) -> Compat | None:
        return release_of(self.container.image) if self.container else None

    @property
    def secure(self) -> bool:
        return is_true(self.flags.get("secure-serving", "true"))

    @property
    def elects_leader(self) -> bool:
        return is_true(self.flags.get("ha-enable-leader-election", "false"))


def picker_of(manifests: Manifests, pool: InferencePool) -> Picker:
    if pool.picker is None:
        return Picker(None, None, None)
    service = manifests.services.get((pool.namespace, pool.picker.name))
    if service is None:
        return Picker(None, None, None)
    workload = next(
        (w for w in manifests.workloads if selected(w, service.namespace, service.selector)), None
    )
    if workload is None:
        return Picker(service, None, None)
    named = [c for c in workload.containers if "pool-name" in flags_of(c)]
    return Picker(service, workload, (named or list(workload.containers))[0])


def selected(workload: Workload, namespace: str, selector: Mapping[str, str]) -> bool:
    return workload.namespace == namespace and selects(selector, workload.pod_labels)


def servers_of(manifests: Manifests, pool: InferencePool) -> list[Workload]:
    return [w for w in manifests.workloads if selected(w, pool.namespace, pool.selector)]


def split_image(image: str) -> tuple[str, str]:
    """(name, tag) of an image; the tag is empty where there is none. A colon before a slash is a port's."""
    plain = image.partition("@")[0]
    name, _, tag = plain.rpartition(":")
    return (name, tag) if name and "/" not in tag else (plain, "")


def is_fixed(image: str) -> bool:
    """Whether the image's name stands for the same content for ever, by its digest or the form of its tag."""
    return "@" in image or split_image(image)[1] not in ("", "latest", "main")


def kv_metrics_of(image: str) -> set[str] | None:
    """Names under which this model server exports its KV cache usage; None where the image does not tell."""
    name, tag = split_image(image)
    version = re.match(r"v?(\d+)\.(\d+)", tag)
    new, old = "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"
    if "vllm-simfleet" in image:
        return {new, old}
    if version is None:
        return None
    number = (int(version[1]), int(version[2]))
    if name.endswith("llm-d-inference-sim"):
        return {new} if number >= (0, 7) else {old}
    if name.endswith(("vllm-openai", "vllm-cpu", "vllm")):
        return {new} if number >= (0, 10) else {old}
    return None
