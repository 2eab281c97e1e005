"""Rules about routes: parents, backends, grants, filters and paths."""

from __future__ import annotations

import pytest

from tests.gateway.lint.world import WORLD, Case, findings, marked, world

PARENT = "  - name: gateway\n    namespace: infra\n"
FROM_ALL = "    allowedRoutes: {namespaces: {from: All}}\n"
PROTOCOL = "    protocol: HTTP\n"
BACKEND = "    - group: inference.networking.k8s.io\n      kind: InferencePool\n      name: pool\n"
HEAD, KIND, NAME = BACKEND.splitlines(keepends=True)
MATCH = "    - path: {type: PathPrefix, value: /v1}\n"
BACKENDS = "    backendRefs:\n"
LABELS = "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: apps, labels: {team: red}}\n"
MARKED_PARENT = (PARENT, PARENT.replace("gateway\n", "gateway # <-\n"))
ROUTE = "HTTPRoute apps/route"

CASES = [
    Case(
        "route-parent",
        ((PARENT, "  - name: other # <-\n    namespace: infra\n"),),
        f"{ROUTE}: Gateway infra/other not found",
        ((PARENT, "  - {kind: Service, group: '', name: other}\n" + PARENT),),
    ),
    Case(
        "route-parent",
        ((PARENT, "  - name: gateway # <-\n"),),
        f"{ROUTE}: Gateway apps/gateway not found",
        ((PARENT, PARENT + "    group: gateway.networking.k8s.io\n    kind: Gateway\n"),),
    ),
    Case(
        "route-parent",
        ((PARENT, MARKED_PARENT[1] + "    sectionName: https\n"),),
        f"{ROUTE}: Gateway infra/gateway has no listener https, only http",
        ((PARENT, PARENT + "    sectionName: http\n"),),
    ),
    Case(
        "route-parent",
        ((PARENT, MARKED_PARENT[1] + "    port: 8080\n"),),
        f"{ROUTE}: Gateway infra/gateway has no listener 8080, only http",
        ((PARENT, PARENT + "    port: 80\n"),),
    ),
    Case(
        "route-parent",
        ((FROM_ALL, ""), MARKED_PARENT),
        f"{ROUTE}: Gateway infra/gateway allows no HTTPRoute of namespace apps at its listener http",
        ((FROM_ALL, FROM_ALL.replace("All}", "Selector, selector: {matchLabels: {kubernetes.io/metadata.name: apps}}}")),),
    ),
    Case(
        "route-parent",
        ((FROM_ALL, FROM_ALL.replace("All", "None")), MARKED_PARENT),
        f"{ROUTE}: Gateway infra/gateway allows no HTTPRoute of namespace apps at its listener http",
        ((FROM_ALL, FROM_ALL.replace("All}}", "All}, kinds: [{kind: HTTPRoute}]}")),),
    ),
    Case(
        "route-parent",
        ((FROM_ALL, FROM_ALL.replace("All}}", "All}, kinds: [{kind: GRPCRoute}]}")), MARKED_PARENT),
        f"{ROUTE}: Gateway infra/gateway allows no HTTPRoute of namespace apps at its listener http",
        ((FROM_ALL, FROM_ALL.replace("All}}", "All}, kinds: [{kind: GRPCRoute}, {kind: HTTPRoute}]}")),),
    ),
    Case(
        "route-parent",
        ((PROTOCOL, "    protocol: TCP\n"), MARKED_PARENT),
        f"{ROUTE}: Gateway infra/gateway allows no HTTPRoute of namespace apps at its listener http",
        ((PROTOCOL, "    protocol: HTTPS\n"),),
    ),
    Case(
        "route-parent",
        (
            (PROTOCOL, PROTOCOL + "    hostname: '*.example.com'\n"),
            MARKED_PARENT,
            ("spec:\n  parentRefs:\n", "spec:\n  hostnames: [llm.example.org]\n  parentRefs:\n"),
        ),
        f"{ROUTE}: no hostname of the route fits a listener of Gateway infra/gateway",
        (
            (PROTOCOL, PROTOCOL + "    hostname: '*.example.com'\n"),
            ("spec:\n  parentRefs:\n", "spec:\n  hostnames: [llm.example.org, llm.example.com]\n  parentRefs:\n"),
        ),
    ),
    Case(
        "route-backend",
        ((BACKEND, BACKEND + "    - name: no-service # <-\n      port: 80\n"),),
        f"{ROUTE}: there is no Service apps/no-service",
        ((BACKEND, BACKEND + "    - name: epp\n      port: 9002\n"),),
    ),
    Case(
        "route-backend",
        ((NAME, "      name: no-pool # <-\n"),),
        f"{ROUTE}: there is no InferencePool apps/no-pool",
        ((BACKEND, BACKEND + "    - {group: networking.istio.io, kind: Hostname, name: api.example.com, port: 443}\n"),),
    ),
    Case(
        "route-backend",
        ((BACKEND, BACKEND + "    - name: epp\n      port: 9003 # <-\n"),),
        f"{ROUTE} names port 9003 of Service apps/epp, which has [9002, 9090]",
        ((BACKEND, BACKEND + "    - {name: epp, port: 9090}\n"),),
    ),
    Case(
        "route-backend",
        ((BACKEND, BACKEND + "    - name: epp # <-\n"),),
        f"{ROUTE} names no port of Service apps/epp, which has [9002, 9090]",
        ((BACKEND, BACKEND + "    - {group: '', kind: Service, name: epp, port: 9090}\n"),),
    ),
    Case(
        "route-port",
        ((NAME, NAME + "      port: 8000 # <-\n"),),
        f"{ROUTE}: port 8000 on a reference to pool pool",
        ((NAME, NAME + "      weight: 100\n"),),
    ),
    Case(
        "route-filter",
        ((BACKENDS, "    filters:\n    - type: CORS\n      cors: {allowOrigins: ['*']} # <-\n" + BACKENDS),),
        f"{ROUTE}: a CORS filter on a rule with an InferencePool",
        ((BACKENDS, "    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}]\n" + BACKENDS),),
    ),
    Case(
        "route-filter",
        ((BACKENDS, "    filters:\n    - type: CORS\n      cors: {allowOrigins: ['*']} # <-\n" + BACKENDS),),
        f"{ROUTE}: a CORS filter on a rule with an InferencePool",
        (
            (
                BACKENDS,
                "    - path: {value: /files}\n    filters: [{type: CORS, cors: {}}]\n    backendRefs: [{name: epp, port: 9090}]\n"
                "  - matches:\n" + MATCH + BACKENDS,
            ),
        ),
    ),
    Case(
        "route-paths",
        ((MATCH, "    - path: {type: PathPrefix, value: /v1/chat}\n"), ("  - matches:\n", "  - matches: # <-\n")),
        f"{ROUTE} leaves out /v1/completions, /v1/models",
        ((MATCH, "    - path: {type: PathPrefix, value: /v1/}\n"),),
    ),
    Case(
        "route-paths",
        (
            (MATCH, "    - path: {type: Exact, value: /v1/completions}\n    - path: {type: Exact, value: /v1/models/}\n"
                    "    - path: {type: PathPrefix, value: /v1/chat}\n"),
            ("  - matches:\n", "  - matches: # <-\n"),
        ),
        f"{ROUTE} leaves out /v1/models",
        (
            (MATCH, "    - path: {type: Exact, value: /v1/completions}\n    - path: {type: Exact, value: /v1/models}\n"
                    "    - path: {type: PathPrefix, value: /v1/chat}\n"),
        ),
    ),
    Case(
        "route-paths",
        ((MATCH, "    - path: {type: PathPrefix, value: /v1/comp}\n    - path: {value: /v1/chat}\n    - path: {value: /v1/models}\n"),
         ("  - matches:\n", "  - matches: # <-\n")),
        f"{ROUTE} leaves out /v1/completions",
        ((MATCH, "    - path: {type: RegularExpression, value: /v1/comp.*}\n"),),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_and_its_neighbour(case: Case) -> None:
    case.check()


@pytest.mark.parametrize(
    "match",
    [
        "    - path: {type: PathPrefix, value: /}\n",
        "    - headers: [{name: x, value: y}]\n",
        "    - method: POST\n",
    ],
)
def test_a_match_of_everything_leaves_nothing_out(match: str) -> None:
    assert findings(world((MATCH, match))) == []


def test_paths_are_counted_over_all_routes_to_a_pool() -> None:
    start = WORLD.index("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute")
    chat = WORLD[start:].replace("name: route", "name: chat").replace("value: /v1", "value: /v1/chat")
    rest = WORLD[start:].replace("value: /v1}", "value: /v1/models}\n    - path: {value: /v1/completions}")
    assert findings(WORLD[:start] + chat + "---\n" + rest) == []
    (found,) = findings(WORLD[:start] + chat)
    assert found.message == "HTTPRoute apps/chat leaves out /v1/completions, /v1/models"


def test_two_pools_in_a_rule() -> None:
    start = WORLD.index("apiVersion: inference.networking.k8s.io/v1")
    other = WORLD[start : WORLD.index("---", start)].replace("name: pool", "name: other")
    text = world(
        (BACKEND, BACKEND + "    - # <-\n" + BACKEND.replace("    - ", "      ").replace("pool\n", "other\n"))
    )
    found = [f for f in findings(text + "---\n" + other) if f.rule.id == "route-pools"]
    assert [f.message for f in found] == [f"{ROUTE}: one rule shares its traffic among 2 pools"]
    two_rules = world(
        (BACKEND, BACKEND + "  - matches:\n" + MATCH + BACKENDS + BACKEND.replace("pool\n", "other\n"))
    )
    assert "route-pools" not in {f.rule.id for f in findings(two_rules + "---\n" + other)}


def test_a_pool_of_the_old_group() -> None:
    text = world((HEAD, HEAD.replace("networking.k8s", "networking.x-k8s").replace("\n", " # <-\n")))
    (found,) = findings(text)
    assert (found.rule.id, [found.line]) == ("route-backend", marked(text))
    assert found.message == f"{ROUTE}: group 'inference.networking.x-k8s.io' for InferencePool pool"
    assert found.mend == "group: inference.networking.k8s.io"
    (found,) = findings(world((HEAD + KIND, "    - kind: InferencePool\n")))
    assert found.message == f"{ROUTE}: group 'core' for InferencePool pool"


# --- references into other namespaces ---------------------------------------------------------------

GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant, namespace: apps}
spec:
  from:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: web}
  to:
  - {group: inference.networking.k8s.io, kind: InferencePool}
"""
FROM_WEB = (
    (
        "kind: HTTPRoute\nmetadata: {name: route, namespace: apps}",
        "kind: HTTPRoute\nmetadata: {name: route, namespace: web}",
    ),
    (NAME, NAME + "      namespace: apps # <-\n"),
)


def test_a_reference_that_nothing_allows() -> None:
    text = world(*FROM_WEB)
    (found,) = findings(text)
    assert (found.rule.id, [found.line]) == ("route-grant", marked(text))
    assert found.message == (
        "HTTPRoute web/route refers to InferencePool apps/pool in another namespace without a ReferenceGrant"
    )
    assert found.mend == "a ReferenceGrant in apps from HTTPRoute of web"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("kind: InferencePool}", "kind: InferencePool, name: pool}"),
        ("  to:\n", "  to:\n  - {group: '', kind: Service}\n"),
        ("  from:\n", "  from:\n  - {group: gateway.networking.k8s.io, kind: GRPCRoute, namespace: web}\n"),
    ],
)
def test_grants_that_allow_it(old: str, new: str) -> None:
    assert findings(world(*FROM_WEB) + (GRANT.replace(old, new) if old else GRANT)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("namespace: web", "namespace: other"),
        ("name: grant, namespace: apps", "name: grant, namespace: web"),
        ("kind: HTTPRoute", "kind: GRPCRoute"),
        ("kind: InferencePool}", "kind: InferencePool, name: other}"),
        ("kind: InferencePool}", "kind: Service}"),
        ("group: inference.networking.k8s.io", "group: inference.networking.x-k8s.io"),
        ("group: gateway.networking.k8s.io", "group: ''"),
    ],
)
def test_grants_that_do_not(old: str, new: str) -> None:
    assert old in GRANT
    assert [f.rule.id for f in findings(world(*FROM_WEB) + GRANT.replace(old, new))] == ["route-grant"]


def test_a_service_of_another_namespace_needs_a_grant_too() -> None:
    text = world((BACKEND, BACKEND + "    - {name: web, namespace: web, port: 80}\n"))
    web = "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: web}\nspec: {ports: [{port: 80}]}\n"
    assert [f.message for f in findings(text + web)] == [
        "HTTPRoute apps/route refers to Service web/web in another namespace without a ReferenceGrant"
    ]


# --- manifests that are only a part of the cluster ----------------------------------------------------


def test_without_gateways_parents_are_somebody_elses_work() -> None:
    start = WORLD.index("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway")
    assert findings(WORLD[:start] + WORLD[WORLD.index("---", start) + 4 :]) == []


def test_routes_alone() -> None:
    start = WORLD.index("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute")
    assert findings(WORLD[start:]) == []


def test_a_selector_of_labels_that_the_namespace_has() -> None:
    by_team = (
        FROM_ALL,
        "    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: red}}}}\n",
    )
    assert findings(world(by_team) + LABELS) == []
    assert [f.rule.id for f in findings(world(by_team))] == ["route-parent"]
    assert [f.rule.id for f in findings(world(by_team) + LABELS.replace("red", "blue"))] == ["route-parent"]


def test_a_grpc_route_is_a_route() -> None:
    text = world(("kind: HTTPRoute", "kind: GRPCRoute"), (MATCH, "    - method: {service: a.B}\n"))
    assert [f.message for f in findings(text)] == [
        "GRPCRoute apps/route leaves out /v1/completions, /v1/chat/completions, /v1/models"
    ]
