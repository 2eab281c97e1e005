"""Which controller is stood in for, by the kind of its objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.manifests.expand import aibrix, kserve, lws, production_stack
from gateway.manifests.expand.objects import Find, Made, Missing
from gateway.manifests.resources import Resource
from kit.yamldoc import Cursor, Document

_MAKERS: dict[tuple[str, str], Callable[[Resource, Find], Made]] = {
    lws.LWS: lws.leader_worker_set,
    kserve.LLM_SERVICE: kserve.llm_service,
    kserve.LLM_CONFIG: kserve.llm_config,
    aibrix.STORM_SERVICE: aibrix.storm_service,
    aibrix.ROLE_SET: aibrix.role_set,
    aibrix.POD_AUTOSCALER: aibrix.pod_autoscaler,
    production_stack.VLLM_RUNTIME: production_stack.vllm_runtime,
}
EXPANDED = frozenset(_MAKERS)


def expand(resource: Resource, find: Find) -> Iterator[Cursor | Missing]:
    """What the controller of `resource` would make, each as if it stood where the resource does.

    Raises ManifestError for fields of a wrong type.
    """
    maker = _MAKERS.get((resource.group, resource.kind))
    for made in maker(resource, find) if maker else ():
        if isinstance(made, Missing):
            yield made
            continue
        root = resource.root.document
        yield Document(root.file, resource.root.line, made, root.refusal).cursor()
