"""The containers of a pod that do not run beside the one that does, and what follows of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.manifests.told.unread import Unread, Why
from gateway.manifests.workloads import Container, Workload
from gateway.sidecar.options import is_sidecar


def beside(
    workload: Workload, run: Container, targets: Sequence[int] = (), *, is_picker: bool = False
) -> Iterator[Unread]:
    """All but routing sidecars and init containers that end. `targets`: ports that the one of `run` takes."""
    lasting = [c for c in workload.sidecars if c.root.text("restartPolicy", "") == "Always"]
    owner = workload.resource
    while owner.made_by is not None:
        owner = owner.made_by
    for container in (*workload.containers, *lasting):
        if container is run or is_sidecar(container):
            continue
        path = container.root.path if owner is workload.resource else ()
        what = f"container {container.name} ({container.image or 'no image'}) is not run"
        yield Unread(Why.NOT_RUN, owner, what + _without(container, targets, is_picker=is_picker), path)


def _without(container: Container, targets: Sequence[int], *, is_picker: bool) -> str:
    ports = ", ".join(str(p.number) for p in container.ports)
    if is_picker and "envoy" in f"{container.name} {container.image}":
        return (
            f": a standalone install takes its requests there (port {ports}); here give a Gateway and an "
            "HTTPRoute to the pool"
        )
    if any(p.number in targets for p in container.ports):
        return ": the model server takes its requests itself"
    return f": whatever it does on port {ports} is missing" if ports else ": whatever it does is missing"
