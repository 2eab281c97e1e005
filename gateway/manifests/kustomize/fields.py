"""The fields of a Kustomization that are built here, by name; every other one is an error with its path."""

from __future__ import annotations

from typing import Any

from kit.yamldoc import Cursor

_TARGET = dict.fromkeys(
    ("group", "version", "kind", "name", "namespace", "labelSelector", "annotationSelector")
)
_PATCH: dict[str, Any] = {"path": None, "patch": None, "target": _TARGET}
_OPTIONS = dict.fromkeys(("labels", "annotations", "disableNameSuffixHash", "immutable"))
_CONFIG_MAP: dict[str, Any] = {
    **dict.fromkeys(("name", "namespace", "behavior", "literals", "files", "envs", "env")),
    "options": _OPTIONS,
}
# Field -> the fields below it; None where everything below is read, or is the user's own.
KNOWN: dict[str, Any] = {
    **dict.fromkeys(("apiVersion", "kind", "metadata", "resources", "bases", "components")),
    **dict.fromkeys(("namespace", "namePrefix", "nameSuffix", "commonLabels", "commonAnnotations")),
    "patches": _PATCH,
    "patchesJson6902": _PATCH,
    "patchesStrategicMerge": None,
    "labels": dict.fromkeys(("pairs", "includeSelectors", "includeTemplates")),
    "images": dict.fromkeys(("name", "newName", "newTag", "digest")),
    "replicas": dict.fromkeys(("name", "count")),
    "configMapGenerator": _CONFIG_MAP,
    "secretGenerator": {**_CONFIG_MAP, "type": None},
    "generatorOptions": _OPTIONS,
    "sortOptions": None,  # the order of the objects means nothing here
}


def check_fields(at: Cursor, known: dict[str, Any]) -> None:
    """Raise ManifestError for a field of `at`, or below it, that nothing here builds."""
    for field, value in at.value.items():
        if field not in known:
            raise at.error(
                "kustomize field that simfleet does not build; render it first: "
                "`kubectl kustomize DIR | simfleet up -f -`",
                field,
            )
        below = known[field]
        if below is None or value is None:
            continue
        inner = at.items(field) if isinstance(value, list) else [at.child(field)]
        for each in inner:
            if not isinstance(each.value, dict):
                raise each.error(f"must be a mapping, is {each.value!r}")
            check_fields(each, below)
