"""Fields that an API server fills in from the CRDs of the inference extension.

Pickers rely on them: an InferenceObjective whose poolRef has no group belongs to no pool.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]

POOL_GROUP = "inference.networking.k8s.io"


def _pool(spec: Object) -> None:
    spec.setdefault("appProtocol", "http")
    if isinstance(picker := spec.get("endpointPickerRef"), dict):
        picker.setdefault("group", "")
        picker.setdefault("kind", "Service")
        picker.setdefault("failureMode", "FailClose")


def _of_pool(spec: Object) -> None:
    if isinstance(reference := spec.get("poolRef"), dict):
        reference.setdefault("group", POOL_GROUP)
        reference.setdefault("kind", "InferencePool")


def _rewrite(spec: Object) -> None:
    _of_pool(spec)
    for rule in spec.get("rules") or ():
        for match in rule.get("matches") or () if isinstance(rule, dict) else ():
            if isinstance(match, dict) and isinstance(model := match.get("model"), dict):
                model.setdefault("type", "Exact")


_DEFAULTS: dict[str, Callable[[Object], None]] = {
    "InferencePool": _pool,
    "InferenceObjective": _of_pool,
    "InferenceModelRewrite": _rewrite,
}


def with_defaults(obj: Object) -> Object:
    """A copy with the defaults of its CRD; what is given stays, of whatever type it is."""
    obj = copy.deepcopy(obj)
    fill = _DEFAULTS.get(obj.get("kind", ""))
    if fill is not None and isinstance(spec := obj.get("spec"), dict):
        fill(spec)
    return obj
