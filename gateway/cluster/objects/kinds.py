"""Which kinds the API serves: those of Kubernetes' own that something here asks for, and those of CRDs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.cluster.objects.definitions import PREFIX, definition_of
from gateway.cluster.objects.schema import ANY, Node, node
from gateway.kubeapi.store import Kind

Object = dict[str, Any]

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Column:
    """One column of a CRD's table."""

    name: str
    type: str
    path: str
    priority: int = 0


@dataclass(frozen=True)
class Served:
    """A kind at one of its versions; `kind` is what it is stored as."""

    kind: Kind
    version: str
    schema: Node
    singular: str
    categories: tuple[str, ...] = ()
    has_status: bool = False
    scale: tuple[str, str, str] | None = None  # paths of spec, status and label selector
    columns: tuple[Column, ...] = ()
    custom: bool = False
    verbs: tuple[str, ...] = VERBS

    @property
    def api_version(self) -> str:
        return f"{self.kind.group}/{self.version}" if self.kind.group else self.version


@dataclass(frozen=True)
class _Row:
    kind: Kind
    versions: tuple[str, ...] = ()  # beside the stored one
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: bool = False


_ALL = ("all",)
_APPS, _RBAC, _NET = "apps", "rbac.authorization.k8s.io", "networking.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", False, ("ns",))
POD = Kind("", "v1", "pods", "Pod", True, ("po",))
SERVICE = Kind("", "v1", "services", "Service", True, ("svc",))
EVENT = Kind("", "v1", "events", "Event", True, ("ev",))
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", True, ("cm",))
SECRET = Kind("", "v1", "secrets", "Secret")
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount", True, ("sa",))
NODE = Kind("", "v1", "nodes", "Node", False, ("no",))
DEPLOYMENT = Kind(_APPS, "v1", "deployments", "Deployment", True, ("deploy",))
REPLICA_SET = Kind(_APPS, "v1", "replicasets", "ReplicaSet", True, ("rs",))
STATEFUL_SET = Kind(_APPS, "v1", "statefulsets", "StatefulSet", True, ("sts",))
DAEMON_SET = Kind(_APPS, "v1", "daemonsets", "DaemonSet", True, ("ds",))
JOB = Kind("batch", "v1", "jobs", "Job")
CRON_JOB = Kind("batch", "v1", "cronjobs", "CronJob", True, ("cj",))
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
CRD = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False,
    ("crd", "crds"),
)  # fmt: skip
HPA = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, ("hpa",))

_ROWS = (
    _Row(NAMESPACE, status=True),
    _Row(POD, categories=_ALL, status=True),
    _Row(SERVICE, categories=_ALL, status=True),
    _Row(CONFIG_MAP),
    _Row(SECRET),
    _Row(SERVICE_ACCOUNT),
    _Row(EVENT),
    _Row(NODE, status=True),
    _Row(Kind("", "v1", "endpoints", "Endpoints", True, ("ep",))),
    _Row(Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, ("pvc",)), status=True),
    _Row(Kind("", "v1", "limitranges", "LimitRange", True, ("limits",))),
    _Row(Kind("", "v1", "resourcequotas", "ResourceQuota", True, ("quota",)), status=True),
    _Row(DEPLOYMENT, categories=_ALL, status=True, scale=True),
    _Row(REPLICA_SET, categories=_ALL, status=True, scale=True),
    _Row(STATEFUL_SET, categories=_ALL, status=True, scale=True),
    _Row(DAEMON_SET, categories=_ALL, status=True),
    _Row(JOB, categories=_ALL, status=True),
    _Row(CRON_JOB, categories=_ALL, status=True),
    _Row(HPA, ("v1",), _ALL, status=True),
    _Row(Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("pdb",)), status=True),
    _Row(ENDPOINT_SLICE),
    _Row(Kind(_NET, "v1", "ingresses", "Ingress", True, ("ing",)), status=True),
    _Row(Kind(_NET, "v1", "ingressclasses", "IngressClass", False)),
    _Row(Kind(_NET, "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",))),
    _Row(Kind(_RBAC, "v1", "roles", "Role")),
    _Row(Kind(_RBAC, "v1", "rolebindings", "RoleBinding")),
    _Row(Kind(_RBAC, "v1", "clusterroles", "ClusterRole", False)),
    _Row(Kind(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False)),
    _Row(Kind("coordination.k8s.io", "v1", "leases", "Lease")),
    _Row(Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False, ("pc",))),
    _Row(Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, ("sc",))),
    _Row(
        Kind(_ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False),
        categories=("api-extensions",),
    ),
    _Row(
        Kind(_ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False),
        categories=("api-extensions",),
    ),
    _Row(CRD, categories=("api-extensions",), status=True),
)

# Questions that are created and answered at once, never kept.
_REVIEWS = (
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    ("authentication.k8s.io", "tokenreviews", "TokenReview"),
)
REVIEWS = frozenset(kind for _, _, kind in _REVIEWS)
_SCALE = (".spec.replicas", ".status.replicas", ".status.selector")


def builtin_schema(group: str, version: str, kind: str) -> Node:
    """The schema of one of Kubernetes' own kinds."""
    name = definition_of(group, version, kind)
    return node({"$ref": PREFIX + name}) if name else ANY


@dataclass
class Registry:
    """All kinds that are served, by group, version and plural."""

    _served: dict[tuple[str, str, str], Served] = field(default_factory=dict)

    @staticmethod
    def builtin() -> Registry:
        registry = Registry()
        for row in _ROWS:
            for version in (row.kind.version, *row.versions):
                kind = row.kind
                schema = builtin_schema(kind.group, version, kind.kind)
                scale = _SCALE if row.scale else None
                registry.add(
                    Served(kind, version, schema, kind.kind.lower(), row.categories, row.status, scale)
                )
        for group, plural, name in _REVIEWS:
            kind = Kind(group, "v1", plural, name, namespaced=False)
            schema = builtin_schema(group, "v1", name)
            registry.add(Served(kind, "v1", schema, name.lower(), verbs=("create",)))
        return registry

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def add(self, served: Served) -> None:
        self._served[served.kind.group, served.version, served.kind.plural] = served

    def remove(self, group: str, plural: str) -> None:
        for key in [k for k in self._served if (k[0], k[2]) == (group, plural)]:
            del self._served[key]

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self._served.get((group, version, plural))

    def of_type(self, api_version: str, kind: str) -> Served | None:
        """By what an object says of itself."""
        return next((s for s in self if (s.api_version, s.kind.kind) == (api_version, kind)), None)

    def groups(self) -> dict[str, list[str]]:
        """Versions by group, the preferred one first; the core group is empty.

        Kubernetes' own come first, the others by name: clients take the first group that has a short name.
        """
        found: dict[str, list[str]] = {}
        for served in sorted(self, key=lambda s: s.kind.group if s.custom else ""):
            versions = found.setdefault(served.kind.group, [])
            if served.version not in versions:
                versions.append(served.version)
        return {group: sorted(versions, key=_priority) for group, versions in found.items()}


def _priority(version: str) -> tuple[int, list[int]]:
    """Kubernetes' order: v2, v1, v1beta2, v1beta1, v1alpha1."""
    stage = 1 if "beta" in version else 2 if "alpha" in version else 0
    numbers = [int("".join(c for c in part if c.isdigit()) or 0) for part in
               version.replace("beta", ".").replace("alpha", ".").split(".")]  # fmt: skip
    return stage, [-n for n in numbers]
