"""What the picker watches and whether its service account may: roles, bindings, subjects, and TLS to it."""

from __future__ import annotations

import pytest

from tests.gateway.lint.world import RIGHTS, WORLD, Case, Edit, findings, marked, world

IMAGE = "gateway-api-inference-extension/epp:v1.5.0"
RULES = "metadata: {name: epp, namespace: apps}\nrules:\n"
RULES_MARKED = (RULES, RULES.replace("rules:", "rules: # <-"))
PODS = "  resources: [pods]\n  verbs: [get, list, watch]\n"
SUBJECT = "- {kind: ServiceAccount, name: epp}\n"
REF = "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: epp}\n"
ACCOUNT = "      serviceAccountName: epp\n"
AUTH = "        - --metrics-endpoint-auth=false\n"
TLS = "    tls: {mode: SIMPLE, insecureSkipVerify: true}\n"
HOST = "  host: epp.apps.svc.cluster.local\n"
RULE = "metadata: {name: epp, namespace: apps}\nspec:\n  host"
REVIEWS = (
    '- apiGroups: [""]\n  resources: [pods]\n',
    "- apiGroups: [authentication.k8s.io, authorization.k8s.io]\n  resources: [tokenreviews, subjectaccessreviews]\n"
    '  verbs: [create]\n- apiGroups: [""]\n  resources: [pods]\n',
)
MAY_NOT = "service account epp of Deployment apps/epp may not watch"
POOLS, OBJECTIVES, REWRITES = (
    "inferencepools.inference.networking.k8s.io",
    "inferenceobjectives.inference.networking.x-k8s.io",
    "inferencemodelrewrites.inference.networking.x-k8s.io",
)
NOTHING = f"{MAY_NOT} {POOLS}, pods, {OBJECTIVES}, {REWRITES}"

CASES = [
    Case(
        "picker-rbac",
        ((PODS, PODS.replace(", watch", "")), RULES_MARKED),
        f"{MAY_NOT} pods",
        ((PODS, PODS.replace("[get, list, watch]", "['*']")),),
    ),
    Case(
        "picker-rbac",
        (("  resources: [inferencepools]\n", "  resources: [inferencepool]\n"), RULES_MARKED),
        f"{MAY_NOT} {POOLS}",
        (("  resources: [inferencepools]\n", "  resources: ['*']\n"),),
    ),
    Case(
        "picker-rbac",
        (("- apiGroups: [inference.networking.x-k8s.io]", "- apiGroups: [llm-d.ai]"), RULES_MARKED),
        f"{MAY_NOT} {OBJECTIVES}, {REWRITES}",
        (("- apiGroups: [inference.networking.x-k8s.io]", "- apiGroups: ['*']"),),
    ),
    Case(
        "picker-rbac",
        ((IMAGE, "llm-d-router-endpoint-picker:v0.10.0"), RULES_MARKED),
        f"{MAY_NOT} inferenceobjectives.llm-d.ai, inferencemodelrewrites.llm-d.ai",
        (
            (IMAGE, "llm-d-router-endpoint-picker:v0.10.0"),
            ("- apiGroups: [inference.networking.x-k8s.io]", "- apiGroups: [llm-d.ai]"),
        ),
    ),
    Case(
        "picker-rbac",
        (("inferenceobjectives, inferencemodelrewrites", "inferenceobjectives"), RULES_MARKED),
        f"{MAY_NOT} {REWRITES}",
        (("inferenceobjectives, inferencemodelrewrites", "inferenceobjectives"), (IMAGE, "gie/epp:v1.2.0"), ("vllm-openai:v0.11.0", "vllm-openai:v0.8.5")),
    ),
    Case(
        "picker-rbac",
        ((AUTH, AUTH + "        - --ha-enable-leader-election=true\n"), RULES_MARKED),
        f"{MAY_NOT} leases.coordination.k8s.io",
        ((AUTH, AUTH + "        - --ha-enable-leader-election=false\n"),),
    ),
    Case(
        "picker-rbac",
        ((SUBJECT, "- {kind: ServiceAccount, name: epp, namespace: other}\n"), RULES_MARKED),
        NOTHING,
        ((SUBJECT, "- {kind: ServiceAccount, name: epp, namespace: apps}\n"),),
    ),
    Case(
        "picker-rbac",
        ((SUBJECT, "- {kind: Group, name: 'system:serviceaccounts:other'}\n"), RULES_MARKED),
        NOTHING,
        ((SUBJECT, "- {kind: Group, name: 'system:serviceaccounts:apps'}\n"),),
    ),
    Case(
        "picker-rbac",
        ((SUBJECT, "- {kind: User, name: epp}\n"), RULES_MARKED),
        NOTHING,
        ((SUBJECT, "- {kind: User, name: 'system:serviceaccount:apps:epp'}\n"),),
    ),
    Case(
        "picker-rbac",
        ((REF, REF.replace("name: epp", "name: other")), RULES_MARKED),
        NOTHING,
        ((SUBJECT, SUBJECT + "- {kind: Group, name: other}\n"),),
    ),
    Case(
        "picker-rbac",
        (
            (REF, REF.replace("Role", "ClusterRole")),
            ("kind: Deployment\nmetadata: {name: epp, namespace: apps}\nspec:",
             "kind: Deployment\nmetadata: {name: epp, namespace: apps}\nspec: # <-"),
            ("kind: Role\nmetadata: {name: epp, namespace: apps}", "kind: ClusterRole\nmetadata: {name: other}"),
        ),
        NOTHING,
        (
            (REF, REF.replace("Role", "ClusterRole")),
            ("kind: Role\nmetadata: {name: epp, namespace: apps}", "kind: ClusterRole\nmetadata: {name: epp}"),
        ),
    ),
    Case(
        "picker-metrics",
        ((AUTH, ""), ("        args:\n        - --pool-name", "        args: # <-\n        - --pool-name")),
        "Deployment apps/epp checks the tokens of its scrapers, without the right to create reviews",
        ((AUTH, ""), REVIEWS),
    ),
    Case(
        "picker-metrics",
        ((AUTH, AUTH.replace("false", "true")), ("        args:\n        - --pool-name", "        args: # <-\n        - --pool-name"),
         (REVIEWS[0], REVIEWS[1].replace(", subjectaccessreviews", ""))),
        "Deployment apps/epp checks the tokens of its scrapers, without the right to create reviews",
        ((AUTH, "        - --metrics-endpoint-auth=0\n"), REVIEWS),
    ),
    Case(
        "picker-service-account",
        (
            (ACCOUNT, ""),
            (SUBJECT, "- {kind: ServiceAccount, name: default}\n"),
            ("    metadata: {labels: {app: epp}}\n    spec:\n", "    metadata: {labels: {app: epp}}\n    spec: # <-\n"),
        ),
        "Deployment apps/epp runs as service account default, which the manifests give the picker's rights",
        ((ACCOUNT, "      serviceAccountName: other\n"), (SUBJECT, "- {kind: ServiceAccount, name: other}\n")),
    ),
    # TLS between gateway and picker
    Case(
        "picker-tls",
        ((TLS, "    connectionPool: {}\n"), (RULE, RULE.replace("spec:", "spec: # <-"))),
        "Deployment apps/epp serves TLS, and no DestinationRule turns it on for epp.apps.svc.cluster.local",
        ((TLS, "    connectionPool: {}\n"), (AUTH, AUTH + "        - --secure-serving=false\n")),
    ),
    Case(
        "picker-tls",
        ((TLS, TLS.replace("SIMPLE", "DISABLE")), (RULE, RULE.replace("spec:", "spec: # <-"))),
        "Deployment apps/epp serves TLS, and no DestinationRule turns it on for epp.apps.svc.cluster.local",
        ((TLS, TLS.replace("SIMPLE", "DISABLE")), (AUTH, AUTH + "        - --secure-serving\n        - 'false'\n")),
    ),
    Case(
        "picker-tls",
        ((TLS, TLS.replace("SIMPLE", "ISTIO_MUTUAL")), (RULE, RULE.replace("spec:", "spec: # <-"))),
        "DestinationRule apps/epp uses ISTIO_MUTUAL, and the picker has no certificate of the mesh",
        ((HOST, "  host: '*.apps.svc.cluster.local'\n"),),
    ),
    Case(
        "picker-tls",
        ((TLS, "    tls: {mode: SIMPLE}\n"), (RULE, RULE.replace("spec:", "spec: # <-"))),
        "DestinationRule apps/epp verifies the picker's certificate, which the picker signs itself",
        ((TLS, "    tls: {mode: SIMPLE, sni: epp}\n"), (AUTH, AUTH + "        - --cert-path=/certs\n")),
    ),
    Case(
        "picker-tls",
        ((TLS, TLS.replace("true", "false")), (RULE, RULE.replace("spec:", "spec: # <-"))),
        "DestinationRule apps/epp verifies the picker's certificate, which the picker signs itself",
        ((TLS, "    tls: {mode: SIMPLE, caCertificates: /etc/ca.pem, sni: epp}\n"),),
    ),
    Case(
        "picker-tls",
        ((AUTH, AUTH + "        - --secure-serving=false\n"), (RULE, RULE.replace("spec:", "spec: # <-"))),
        "DestinationRule apps/epp speaks TLS to a picker that serves plain text (--secure-serving=false)",
        ((AUTH, AUTH + "        - --secure-serving=true\n"),),
    ),
    Case(
        "picker-tls",
        ((HOST, "  host: epp.other.svc.cluster.local\n"),
         ("metadata: {name: epp, namespace: apps}\nspec:\n  selector: {app: epp}",
          "metadata: {name: epp, namespace: apps}\nspec: # <-\n  selector: {app: epp}")),
        "Deployment apps/epp serves TLS, and no DestinationRule turns it on for epp.apps.svc.cluster.local "
        "(DestinationRule apps/epp is for epp.other.svc.cluster.local)",
        ((HOST, HOST + "  exportTo: ['*']\n"),),
    ),
    Case(
        "picker-tls",
        ((HOST, HOST + "  exportTo: [apps]\n"),
         ("metadata: {name: epp, namespace: apps}\nspec:\n  selector: {app: epp}",
          "metadata: {name: epp, namespace: apps}\nspec: # <-\n  selector: {app: epp}")),
        "Deployment apps/epp serves TLS, and no DestinationRule turns it on for epp.apps.svc.cluster.local "
        "(DestinationRule apps/epp is for epp.apps.svc.cluster.local)",
        ((HOST, HOST + "  exportTo: [apps, infra]\n"),),
    ),
    Case(
        "picker-tls",
        ((TLS, TLS + "    portLevelSettings: [{port: {number: 9002}, loadBalancer: {simple: RANDOM}}]\n"),
         (RULE, RULE.replace("spec:", "spec: # <-"))),
        "Deployment apps/epp serves TLS, and no DestinationRule turns it on for epp.apps.svc.cluster.local",
        ((TLS, TLS + "    portLevelSettings: [{port: {number: 9090}, tls: {mode: DISABLE}}]\n"),),
    ),
    Case(
        "destination-rule-host",
        ((HOST, "  host: epp # <-\n"),),
        "DestinationRule apps/epp: host epp is taken as a Service of apps",
        ((HOST, "  host: '*.svc.cluster.local'\n"),),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_and_its_neighbour(case: Case) -> None:
    case.check()


def test_without_any_role_rights_are_somebody_elses_work() -> None:
    assert findings(WORLD.replace("---" + RIGHTS, "")) == []


@pytest.mark.parametrize(
    "subject", ["system:serviceaccounts", "system:authenticated", "system:serviceaccounts:apps"]
)
def test_groups_that_every_account_is_in(subject: str) -> None:
    assert findings(world((SUBJECT, f"- {{kind: Group, name: '{subject}'}}\n"))) == []


def test_a_cluster_role_binding_counts_in_every_namespace() -> None:
    edits: tuple[Edit, ...] = (
        (
            "kind: RoleBinding\nmetadata: {name: epp, namespace: apps}",
            "kind: ClusterRoleBinding\nmetadata: {name: epp}",
        ),
        (REF, REF.replace("kind: Role", "kind: ClusterRole")),
        ("kind: Role\nmetadata: {name: epp, namespace: apps}", "kind: ClusterRole\nmetadata: {name: epp}"),
        (SUBJECT, "- {kind: ServiceAccount, name: epp, namespace: apps}\n"),
    )
    assert findings(world(*edits)) == []


def test_a_binding_of_another_namespace_grants_nothing_here() -> None:
    text = world(
        (
            "kind: RoleBinding\nmetadata: {name: epp, namespace: apps}",
            "kind: RoleBinding\nmetadata: {name: epp, namespace: other}",
        ),
        (SUBJECT, "- {kind: ServiceAccount, name: epp, namespace: apps}\n"),
        RULES_MARKED,
    )
    (found,) = findings(text)
    assert (found.rule.id, found.message, [found.line]) == ("picker-rbac", NOTHING, marked(text))


def test_verbs_add_up_over_rules_and_roles() -> None:
    split = "  resources: [pods]\n  verbs: [get, list]\n- apiGroups: ['']\n  resources: [pods]\n  verbs: [watch]\n"
    assert findings(world((PODS, split))) == []


def test_a_rule_of_the_gateways_namespace_wins_over_the_services() -> None:
    """Istio asks the client's namespace first: a rule there that disables TLS beats the picker's own."""
    rule = (
        "\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: plain, namespace: infra}\n"
        "spec: # <-\n  host: epp.apps.svc.cluster.local\n  trafficPolicy: {tls: {mode: DISABLE}}\n"
    )
    text = WORLD + rule
    (found,) = findings(text)
    assert (found.rule.id, [found.line]) == ("picker-tls", marked(text))
    assert findings(text.replace("namespace: infra}\nspec: # <-", "namespace: elsewhere}\nspec:")) == []
