"""The routing sidecar of a pod, as its manifests set it."""

from __future__ import annotations

from gateway.containers.command import container_error
from gateway.containers.environment import PodIdentity, environment, expand
from gateway.errors import ScriptError
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Workload
from gateway.sidecar.options import SidecarOptions, read_options, sidecar_of


def sidecar_options(
    manifests: Manifests, workload: Workload, name: str, address: str
) -> SidecarOptions | None:
    """What the sidecar of the pod `name` is set to; None for a pod without one.

    Raises ContainerError for flags that it would refuse, or that are not imitated.
    """
    container = sidecar_of(workload)
    if container is None:
        return None
    labels, annotations = workload.pod_labels, workload.pod_annotations
    pod = PodIdentity(name, workload.namespace, address, labels, annotations, workload.service_account)
    env = environment(manifests, workload, container, pod)
    words = [expand(word, env) for word in (*container.command[1:], *container.args)]
    try:
        return read_options(words, container.image, env)
    except ScriptError as error:
        raise container_error(container, str(error)) from error
