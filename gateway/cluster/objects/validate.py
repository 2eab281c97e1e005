"""Rules on names, labels and fields that no schema has (apimachinery's validation, pkg/apis/*/validation)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from gateway.cluster.objects.errors import FieldProblem, go_map, invalid, required, shown, unsupported

Object = dict[str, Any]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LABEL_MAX, _SUBDOMAIN_MAX = 63, 253  # characters

_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_SERVICE_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_IMMUTABLE = "field is immutable"
_FREE_NAMES = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}  # path segments, not DNS names


def problems(obj: Object, old: Object | None) -> list[FieldProblem]:
    """What is wrong with an object of any kind, `old` being what it replaces."""
    kind, meta = obj["kind"], obj["metadata"]
    found = list(_name(kind, meta)) + list(_labels(meta.get("labels"), "metadata.labels"))
    if old is None and (check := _CREATED.get(kind)) is not None:
        found += check(obj)
    if (check := _ALWAYS.get(kind)) is not None:
        found += check(obj)
    if old is not None and (compare := _CHANGED.get(kind)) is not None:
        found += compare(obj, old)
    return found


def _name(kind: str, meta: Object) -> Iterator[FieldProblem]:
    name = meta.get("name")
    if not name:
        yield required("metadata.name", "name or generateName is required")
        return
    if kind in _FREE_NAMES:
        return
    pattern, words, most = _SUBDOMAIN, _SUBDOMAIN_WORDS, _SUBDOMAIN_MAX
    if kind == "Namespace":
        pattern, words, most = _LABEL, _LABEL_WORDS, _LABEL_MAX
    elif kind == "Service":
        pattern, words, most = _SERVICE, _SERVICE_WORDS, _LABEL_MAX
    if not pattern.fullmatch(name):
        yield invalid("metadata.name", name, words)
    if len(name) > most:
        yield invalid("metadata.name", name, f"must be no more than {most} characters")


def _labels(labels: Any, path: str) -> Iterator[FieldProblem]:
    for key, value in (labels or {}).items():
        prefix, slash, part = key.rpartition("/")
        if not _NAME_PART.fullmatch(part) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
            yield invalid(path, key, _KEY_WORDS)
        if not _VALUE.fullmatch(str(value)):
            yield invalid(path, value, _VALUE_WORDS)
        if len(str(value)) > _LABEL_MAX:
            yield invalid(path, value, f"must be no more than {_LABEL_MAX} characters")


def _workload(obj: Object) -> Iterator[FieldProblem]:
    spec = obj.get("spec", {})
    if isinstance(replicas := spec.get("replicas"), int) and replicas < 0:
        yield invalid("spec.replicas", replicas, "must be greater than or equal to 0")
    selector = spec.get("selector") or {}
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    matched = selector.get("matchLabels") or {}
    if spec.get("selector") is None:
        yield required("spec.selector")
    elif not matched and not selector.get("matchExpressions"):
        yield invalid("spec.selector", {}, f"empty selector is invalid for {obj['kind'].lower()}")
    elif any(labels.get(key) != value for key, value in matched.items()):
        words = "`selector` does not match template `labels`"
        told = f"Invalid value: {go_map(labels)}: {words}"
        yield FieldProblem("spec.template.metadata.labels", "FieldValueInvalid", told)
    yield from _labels(labels, "spec.template.metadata.labels")
    yield from _pod_spec(template.get("spec") or {}, "spec.template.spec")


def _pod(obj: Object) -> Iterator[FieldProblem]:
    yield from _pod_spec(obj.get("spec") or {}, "spec")


def _pod_spec(spec: Object, path: str) -> Iterator[FieldProblem]:
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    volumes = {v.get("name") for v in spec.get("volumes", ())}
    names: set[str] = set()
    for i, container in enumerate(spec.get("containers", ())):
        where = f"{path}.containers[{i}]"
        name = container.get("name")
        if not name:
            yield required(f"{where}.name")
        elif not _LABEL.fullmatch(name):
            yield invalid(f"{where}.name", name, _LABEL_WORDS)
        elif name in names:
            yield FieldProblem(f"{where}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"')
        names.add(name or "")
        if not container.get("image"):
            yield required(f"{where}.image")
        yield from _container(container, where, volumes)


def _container(container: Object, where: str, volumes: set[Any]) -> Iterator[FieldProblem]:
    policy = container.get("imagePullPolicy")
    if policy not in {"Always", "IfNotPresent", "Never"}:
        yield unsupported(f"{where}.imagePullPolicy", policy, ("Always", "IfNotPresent", "Never"))
    for j, port in enumerate(container.get("ports", ())):
        number = port.get("containerPort")
        if not isinstance(number, int) or not 0 < number < 65536:
            yield invalid(
                f"{where}.ports[{j}].containerPort", number, "must be between 1 and 65535, inclusive"
            )
    for j, mount in enumerate(container.get("volumeMounts", ())):
        if mount.get("name") not in volumes:
            words = f'Not found: "{mount.get("name")}"'
            yield FieldProblem(f"{where}.volumeMounts[{j}].name", "FieldValueNotFound", words)


def _service(obj: Object) -> Iterator[FieldProblem]:
    spec = obj.get("spec", {})
    kinds = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec.get("type") not in kinds:
        yield unsupported("spec.type", spec.get("type"), kinds)
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield required("spec.ports")
    for i, port in enumerate(ports):
        number = port.get("port")
        if not isinstance(number, int) or not 0 < number < 65536:
            yield invalid(f"spec.ports[{i}].port", number, "must be between 1 and 65535, inclusive")
        if len(ports) > 1 and not port.get("name"):
            yield required(f"spec.ports[{i}].name")


def _data(obj: Object) -> Iterator[FieldProblem]:
    for key in (*obj.get("data", {}), *obj.get("binaryData", {})):
        if not _DATA_KEY.fullmatch(key):
            words = (
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
                "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
            )
            yield invalid(f"data[{key}]", key, words)


def _crd(obj: Object) -> Iterator[FieldProblem]:
    spec = obj.get("spec", {})
    name = f"{spec.get('names', {}).get('plural', '')}.{spec.get('group', '')}"
    if obj["metadata"].get("name") != name:
        yield invalid(
            "metadata.name", obj["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group'
        )
    if sum(bool(v.get("storage")) for v in spec.get("versions", ())) != 1:
        words = "must have exactly one version marked as storage version"
        yield invalid("spec.versions", [], words)


def _same(*path: str) -> Callable[[Object, Object], Iterator[FieldProblem]]:
    def compare(obj: Object, old: Object) -> Iterator[FieldProblem]:
        new, was = _at(obj, path), _at(old, path)
        if new != was:
            yield invalid(".".join(path), new, _IMMUTABLE)

    return compare


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def _selector(obj: Object, old: Object) -> Iterator[FieldProblem]:
    new = obj["spec"].get("selector") or {}
    if new != (old["spec"].get("selector") or {}):
        labels = go_map(new["matchLabels"]) if "matchLabels" in new else "map[string]string(nil)"
        text = (
            f"v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}}"
        )
        yield FieldProblem("spec.selector", "FieldValueInvalid", f"Invalid value: {text}: {_IMMUTABLE}")


_STATEFUL_WORDS = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_FREE = {
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
}  # fmt: skip
_POD_FREE = {"containers", "initContainers", "activeDeadlineSeconds", "tolerations",
             "terminationGracePeriodSeconds", "nodeName"}  # fmt: skip


def _stateful_set(obj: Object, old: Object) -> Iterator[FieldProblem]:
    new, was = ({k: v for k, v in o.get("spec", {}).items() if k not in _STATEFUL_FREE} for o in (obj, old))
    if new != was:
        yield FieldProblem("spec", "FieldValueForbidden", f"Forbidden: {_STATEFUL_WORDS}")


def _pod_change(obj: Object, old: Object) -> Iterator[FieldProblem]:
    new, was = ({k: v for k, v in o.get("spec", {}).items() if k not in _POD_FREE} for o in (obj, old))
    images = [[{**c, "image": ""} for c in o.get("spec", {}).get("containers", ())] for o in (obj, old)]
    if new != was or images[0] != images[1]:
        words = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
            "to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
            "was previously negative)"
        )
        yield FieldProblem("spec", "FieldValueForbidden", words)


def _service_change(obj: Object, old: Object) -> Iterator[FieldProblem]:
    new, was = _at(obj, ("spec", "clusterIP")), _at(old, ("spec", "clusterIP"))
    if was and new != was and _at(obj, ("spec", "type")) != "ExternalName":
        words = f"Invalid value: []string{{{shown(new)}}}: may not change once set"
        yield FieldProblem("spec.clusterIPs[0]", "FieldValueInvalid", words)


def _immutable_data(obj: Object, old: Object) -> Iterator[FieldProblem]:
    if old.get("immutable") and (obj.get("data"), obj.get("binaryData")) != (
        old.get("data"),
        old.get("binaryData"),
    ):
        yield FieldProblem(
            "data", "FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set"
        )


_Check = Callable[[Object], Iterator[FieldProblem]]
_CREATED: dict[str, _Check] = {"Pod": _pod}
_ALWAYS: dict[str, _Check] = {
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "Service": _service,
    "ConfigMap": _data,
    "Secret": _data,
    "CustomResourceDefinition": _crd,
}
_CHANGED: dict[str, Callable[[Object, Object], Iterator[FieldProblem]]] = {
    "Deployment": _selector,
    "ReplicaSet": _selector,
    "StatefulSet": _stateful_set,
    "Pod": _pod_change,
    "Service": _service_change,
    "ConfigMap": _immutable_data,
    "Secret": _same("type"),
    "RoleBinding": _same("roleRef"),
    "ClusterRoleBinding": _same("roleRef"),
}
