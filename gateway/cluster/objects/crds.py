"""Custom kinds: what a CustomResourceDefinition makes the API serve."""

from __future__ import annotations

from typing import Any

from gateway.cluster.objects.kinds import Column, Served
from gateway.cluster.objects.owners import now_text
from gateway.cluster.objects.schema import ANY, custom
from gateway.kubeapi.store import Kind

Object = dict[str, Any]


def served_by(crd: Object) -> list[Served]:
    """The versions that a CRD serves, as it has passed validation."""
    spec = crd["spec"]
    names = spec["names"]
    stored = next(v["name"] for v in spec["versions"] if v.get("storage"))
    kind = Kind(
        spec["group"],
        stored,
        names["plural"],
        names["kind"],
        spec.get("scope") != "Cluster",
        tuple(names.get("shortNames", ())),
    )
    categories = tuple(names.get("categories", ()))
    return [
        _version(kind, version, names["singular"], categories)
        for version in spec["versions"]
        if version.get("served")
    ]


def _version(kind: Kind, version: Object, singular: str, categories: tuple[str, ...]) -> Served:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    paths = None
    if scale:
        selector = scale.get("labelSelectorPath", "")
        paths = scale["specReplicasPath"], scale["statusReplicasPath"], selector
    columns = tuple(
        Column(c["name"], c["type"], c["jsonPath"], c.get("priority", 0))
        for c in version.get("additionalPrinterColumns", ())
    )
    return Served(
        kind,
        version["name"],
        custom(schema) if schema else ANY,
        singular,
        categories,
        "status" in subresources,
        paths,
        columns,
        custom=True,
    )


def established(crd: Object) -> Object:
    """The status of a CRD whose names are accepted: the API serves it from now on."""
    now = now_text()
    conditions = crd.get("status", {}).get("conditions") or [
        {
            "type": "NamesAccepted",
            "status": "True",
            "lastTransitionTime": now,
            "reason": "NoConflicts",
            "message": "no conflicts found",
        },
        {
            "type": "Established",
            "status": "True",
            "lastTransitionTime": now,
            "reason": "InitialNamesAccepted",
            "message": "the initial names have been accepted",
        },
    ]
    spec = crd["spec"]
    stored = next(v["name"] for v in spec["versions"] if v.get("storage"))
    versions = list(dict.fromkeys([*crd.get("status", {}).get("storedVersions", ()), stored]))
    return {"conditions": conditions, "acceptedNames": spec["names"], "storedVersions": versions}
