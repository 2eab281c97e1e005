"""Rules about rights: what a release of the picker watches, and whether its service account may."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.lint.facts import Picker, is_true
from gateway.lint.finding import Finding, find
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.resources import Resource
from gateway.manifests.workloads import Workload
from kit.yamldoc import Cursor

WATCH = ("get", "list", "watch")
Right = tuple[str, str]  # (API group, resource)


def check_access(manifests: Manifests, pool: InferencePool, picker: Picker) -> Iterator[Finding]:
    """Needs at least one Role in the manifests: where there is none, rights are somebody else's work."""
    workload = picker.workload
    assert workload is not None
    if not manifests.of_kind("Role", "ClusterRole"):
        return
    rules = list(_rules_for(manifests, workload))
    at, keys = _place(manifests, workload)
    missing = [right for right in _needed(picker) if not _allowed(rules, right, WATCH)]
    if missing:
        names = ", ".join(f"{resource}.{group}" if group else resource for group, resource in missing)
        release = picker.release
        yield find(
            "picker-rbac",
            at,
            f"service account {workload.service_account} of {workload} may not watch {names}",
            f"{release.name if release else 'the picker'} logs 'is forbidden', exits when its "
            "caches have not synced in 2 minutes, and starts again: it works in between",
            f"a rule with verbs {', '.join(WATCH)} for {names}",
            *keys,
        )
    yield from _check_metrics_auth(rules, picker)
    yield from _check_account(manifests, workload)


def _needed(picker: Picker) -> list[Right]:
    needed = [("inference.networking.k8s.io", "inferencepools"), ("", "pods")]
    release = picker.release
    if release is None:
        return needed
    group = "llm-d.ai" if release.name.startswith("llm-d") else "inference.networking.x-k8s.io"
    needed.append((group, "inferenceobjectives"))
    if release.rewrites:
        needed.append((group, "inferencemodelrewrites"))
    if picker.elects_leader:
        needed.append(("coordination.k8s.io", "leases"))
    return needed


def _rules_for(manifests: Manifests, workload: Workload) -> Iterator[Cursor]:
    """The rules bound to the workload's service account in its namespace."""
    account = workload.service_account
    for binding in manifests.of_kind("RoleBinding", "ClusterRoleBinding"):
        if binding.kind == "RoleBinding" and binding.namespace != workload.namespace:
            continue
        if any(_is_subject(s, account, workload.namespace, binding) for s in binding.root.items("subjects")):
            ref = binding.root.child("roleRef")
            for role in manifests.of_kind(ref.text("kind")):
                if role.name == ref.text("name") and role.namespace in ("", binding.namespace):
                    yield from role.root.items("rules")


def _is_subject(subject: Cursor, account: str, namespace: str, binding: Resource) -> bool:
    """Whether a binding's subject is the account, by itself, as a user or in one of its groups."""
    kind, name = subject.text("kind"), subject.text("name")
    if kind == "ServiceAccount":
        return (name, subject.text("namespace", binding.namespace)) == (account, namespace)
    if kind == "User":
        return name == f"system:serviceaccount:{namespace}:{account}"
    groups = (f"system:serviceaccounts:{namespace}", "system:serviceaccounts", "system:authenticated")
    return kind == "Group" and name in groups


def _allowed(rules: list[Cursor], right: Right, verbs: tuple[str, ...]) -> bool:
    group, resource = right
    granted: set[str] = set()
    for rule in rules:
        groups, resources = rule.strings("apiGroups"), rule.strings("resources")
        if {group, "*"} & set(groups) and {resource, "*"} & set(resources):
            granted |= set(rule.strings("verbs"))
    return "*" in granted or set(verbs) <= granted


def _place(manifests: Manifests, workload: Workload) -> tuple[Cursor, tuple[str, ...]]:
    """Where a missing right would be added: the Role of the namespace, else the workload."""
    role = next((r for r in manifests.of_kind("Role") if r.namespace == workload.namespace), None)
    return (role.root, ("rules",)) if role else (workload.resource.root, ("spec",))


def _check_metrics_auth(rules: list[Cursor], picker: Picker) -> Iterator[Finding]:
    assert picker.container is not None
    if not is_true(picker.flags.get("metrics-endpoint-auth", "true")):
        return
    reviews = (("authentication.k8s.io", "tokenreviews"), ("authorization.k8s.io", "subjectaccessreviews"))
    if not all(_allowed(rules, right, ("create",)) for right in reviews):
        yield find(
            "picker-metrics",
            picker.container.root,
            f"{picker.workload} checks the tokens of its scrapers, without the right to create reviews",
            "every scrape of its metrics port is answered 401 or 500",
            "--metrics-endpoint-auth=false, or a ClusterRole with tokenreviews and subjectaccessreviews",
            "args",
        )


def _check_account(manifests: Manifests, workload: Workload) -> Iterator[Finding]:
    if workload.service_account != "default" or not list(_rules_for(manifests, workload)):
        return
    yield find(
        "picker-service-account",
        workload.template,
        f"{workload} runs as service account default, which the manifests give the picker's rights",
        "every pod of the namespace may watch its pods and pools",
        "a ServiceAccount of its own in serviceAccountName and in the RoleBinding",
        "spec",
    )
