"""The richer manifests that both translations get: 60 routes and more, each with a host of its own."""

from __future__ import annotations

from typing import Any

from tests.e2e import worlds
from tests.e2e.worlds import Json

NS = worlds.NAMESPACE
OTHER = "other"
GW, SECOND = "gw", "second"


def _match(**parts: Any) -> Json:
    return {"matches": [parts]}


def _path(kind: str, value: str) -> Json:
    return {"type": kind, "value": value}


def _filter(type_: str, key: str, **parts: Any) -> Json:
    return {"type": type_, key: parts}


def _rewrite(**parts: Any) -> Json:
    return _filter("URLRewrite", "urlRewrite", **parts)


def _redirect(**parts: Any) -> Json:
    return _filter("RequestRedirect", "requestRedirect", **parts)


def _mirror(name: str, **parts: Any) -> Json:
    return _filter("RequestMirror", "requestMirror", backendRef={"name": name, "port": 8000}, **parts)


def _cors(**parts: Any) -> Json:
    return _filter("CORS", "cors", **parts)


def _set(side: str, **parts: Any) -> Json:
    key = side[0].lower() + side[1:] + "HeaderModifier"
    return _filter(f"{side}HeaderModifier", key, **parts)


def _pair(name: str, value: str) -> Json:
    return {"name": name, "value": value}


POOL, POOL_B = worlds.to_pool("pool"), worlds.to_pool("pool-b")
SVC = worlds.to_service("svc", 8000)
ROOT = _path("PathPrefix", "/")

# name -> rules
RULES: dict[str, list[Json]] = {
    "exact": [worlds.rule(POOL, **_match(path=_path("Exact", "/v1/completions")))],
    "prefix": [worlds.rule(POOL, **_match(path=_path("PathPrefix", "/v1")))],
    "prefix-slash": [worlds.rule(POOL, **_match(path=_path("PathPrefix", "/v1/")))],
    "regex": [worlds.rule(POOL, **_match(path=_path("RegularExpression", "/v[0-9]+/.*")))],
    "header": [worlds.rule(POOL, **_match(headers=[_pair("x-model", "a")]))],
    "header-regex": [
        worlds.rule(POOL, **_match(headers=[{**_pair("x-model", "a.*"), "type": "RegularExpression"}]))
    ],
    "headers": [worlds.rule(POOL, **_match(headers=[_pair("x-a", "1"), _pair("x-b", "2")]))],
    "query": [worlds.rule(POOL, **_match(queryParams=[_pair("model", "a")]))],
    "query-regex": [
        worlds.rule(POOL, **_match(queryParams=[{**_pair("model", "a+"), "type": "RegularExpression"}]))
    ],
    "method": [worlds.rule(POOL, **_match(method="POST"))],
    "all-at-once": [
        worlds.rule(
            POOL,
            **_match(
                path=_path("PathPrefix", "/v1"),
                method="POST",
                headers=[_pair("x-a", "1")],
                queryParams=[_pair("q", "1")],
            ),
        )
    ],
    "many-matches": [worlds.rule(POOL, matches=[worlds.prefix("/a"), worlds.prefix("/b/c")])],
    "precedence": [
        worlds.rule(POOL, **_match(path=ROOT)),
        worlds.rule(POOL_B, **_match(path=_path("PathPrefix", "/long/path"))),
        worlds.rule(SVC, **_match(path=_path("Exact", "/long/path"))),
        worlds.rule(SVC, **_match(path=ROOT, method="GET")),
    ],
    "two-rules": [
        worlds.rule(POOL, **_match(path=_path("PathPrefix", "/a"))),
        worlds.rule(POOL_B, **_match(path=_path("PathPrefix", "/b"))),
    ],
    "service": [worlds.rule(SVC)],
    "service-http2": [worlds.rule(worlds.to_service("svc-h2", 8000))],
    "service-named-port": [worlds.rule(worlds.to_service("svc-named", 80))],
    "pool-and-service": [worlds.rule(worlds.to_pool("pool", 70), worlds.to_service("svc", 8000, weight=30))],
    "two-pools": [worlds.rule(worlds.to_pool("pool", 1), worlds.to_pool("pool-b", 3))],
    "two-services": [
        worlds.rule(worlds.to_service("svc", 8000, weight=1), worlds.to_service("svc-h2", 8000, weight=1))
    ],
    "weight-zero": [worlds.rule(worlds.to_pool("pool", 1), worlds.to_service("svc", 8000, weight=0))],
    "all-zero": [worlds.rule(worlds.to_service("svc", 8000, weight=0))],
    "no-backend": [{"matches": [worlds.prefix("/")]}],
    "missing-service": [worlds.rule(worlds.to_service("nobody", 8000))],
    "missing-port": [worlds.rule(worlds.to_service("svc", 9999))],
    "missing-pool": [worlds.rule(worlds.to_pool("nobody"))],
    "half-missing": [worlds.rule(worlds.to_pool("pool", 1), worlds.to_service("nobody", 8000, weight=1))],
    "pool-without-picker": [worlds.rule(worlds.to_pool("pool-lost"))],
    "granted": [worlds.rule(worlds.to_service("far", 8000, namespace=OTHER))],
    "not-granted": [worlds.rule(worlds.to_service("secret", 8000, namespace=OTHER))],
    "headers-set": [
        worlds.rule(
            POOL,
            filters=[_set("Request", set=[_pair("x-a", "1")], add=[_pair("x-b", "2")], remove=["x-c"])],
        )
    ],
    "headers-answer": [
        worlds.rule(
            POOL,
            filters=[_set("Response", set=[_pair("x-a", "1")], add=[_pair("x-b", "2")], remove=["x-c"])],
        )
    ],
    "host-header": [worlds.rule(SVC, filters=[_set("Request", set=[_pair("Host", "a.example")])])],
    "host-rewrite": [worlds.rule(SVC, filters=[_rewrite(hostname="b.example")])],
    "host-both": [
        worlds.rule(
            SVC,
            filters=[_set("Request", set=[_pair("Host", "a.example")]), _rewrite(hostname="b.example")],
        )
    ],
    "backend-filters": [worlds.rule({**SVC, "filters": [_set("Request", set=[_pair("x-backend", "1")])]})],
    "backends-filters": [
        worlds.rule(
            {**worlds.to_pool("pool", 1), "filters": [_set("Request", set=[_pair("x-backend", "1")])]},
            {**worlds.to_pool("pool-b", 1), "filters": [_set("Response", add=[_pair("x-backend", "2")])]},
        )
    ],
    "rewrite-full": [
        worlds.rule(POOL, filters=[_rewrite(path={"type": "ReplaceFullPath", "replaceFullPath": "/new"})])
    ],
    "rewrite-prefix": [
        worlds.rule(POOL, **_match(path=_path("PathPrefix", "/old")), filters=[worlds.rewrite_to("/new")])
    ],
    "rewrite-prefix-away": [
        worlds.rule(POOL, **_match(path=_path("PathPrefix", "/old")), filters=[worlds.rewrite_to("/")])
    ],
    "rewrite-prefix-empty": [
        worlds.rule(POOL, **_match(path=_path("PathPrefix", "/old")), filters=[worlds.rewrite_to("")])
    ],
    "rewrite-root": [worlds.rule(POOL, **_match(path=ROOT), filters=[worlds.rewrite_to("/pre")])],
    "redirect-https": [{"filters": [_redirect(scheme="https")]}],
    "redirect-https-port": [{"filters": [_redirect(scheme="https", port=8443, statusCode=301)]}],
    "redirect-host": [{"filters": [_redirect(hostname="new.example", statusCode=301)]}],
    "redirect-port": [{"filters": [_redirect(port=8080)]}],
    "redirect-full": [{"filters": [_redirect(path={"type": "ReplaceFullPath", "replaceFullPath": "/new"})]}],
    "redirect-prefix": [
        {
            **_match(path=_path("PathPrefix", "/old")),
            "filters": [_redirect(path={"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"})],
        }
    ],
    "mirror": [worlds.rule(POOL, filters=[_mirror("svc")])],
    "mirror-percent": [worlds.rule(SVC, filters=[_mirror("svc-h2", percent=25)])],
    "mirror-fraction": [
        worlds.rule(SVC, filters=[_mirror("svc-h2", fraction={"numerator": 1, "denominator": 3})])
    ],
    "mirrors": [worlds.rule(SVC, filters=[_mirror("svc-h2"), _mirror("svc-named")])],
    "mirror-nobody": [worlds.rule(SVC, filters=[_mirror("nobody")])],
    "cors": [
        worlds.rule(
            SVC,
            filters=[
                _cors(
                    allowOrigins=["https://a.example", "https://*.b.example"],
                    allowMethods=["GET", "POST"],
                    allowHeaders=["x-a"],
                    exposeHeaders=["x-b"],
                    allowCredentials=True,
                    maxAge=60,
                )
            ],
        )
    ],
    "cors-any": [worlds.rule(SVC, filters=[_cors(allowOrigins=["*"], allowMethods=["*"])])],
    "cors-pool": [worlds.rule(POOL, filters=[_cors(allowOrigins=["https://a.example"])])],
    "timeout": [worlds.rule(POOL, timeouts={"request": "10s"})],
    "timeout-zero": [worlds.rule(POOL, timeouts={"request": "0s"})],
    "timeout-backend": [worlds.rule(POOL, timeouts={"backendRequest": "1500ms"})],
    "timeout-both": [worlds.rule(POOL, timeouts={"request": "1m", "backendRequest": "30s"})],
    "retry": [worlds.rule(SVC, retry={"attempts": 3, "codes": [500, 503], "backoff": "100ms"})],
    "retry-timeout": [
        worlds.rule(SVC, retry={"attempts": 2}, timeouts={"request": "10s", "backendRequest": "2s"})
    ],
    "retry-none": [worlds.rule(SVC, retry={"attempts": 0})],
}


def _service(name: str, /, **port: Any) -> Json:
    made = worlds.service(name, "a", 8000)
    made["spec"]["ports"] = [{"port": 8000, "targetPort": 8000, **port}]
    return made


def _picker(name: str, of_pool: str) -> list[Json]:
    made = worlds.picker(name, of_pool)
    made[0]["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/epp:v1"
    return made


def _rule(host: str, **policy: Any) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": worlds.meta(f"rule-{host}"),
        "spec": {"host": f"{host}.{NS}.svc.cluster.local", "trafficPolicy": policy},
    }


POLICIES = {
    "tcp": {"connectionPool": {"tcp": {"maxConnections": 5, "connectTimeout": "500ms"}}},
    "http": {
        "connectionPool": {
            "http": {
                "http1MaxPendingRequests": 7,
                "http2MaxRequests": 9,
                "maxRequestsPerConnection": 11,
                "maxRetries": 3,
                "idleTimeout": "90s",
            }
        }
    },
    "upgrade": {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}},
    "outlier": {
        "outlierDetection": {
            "consecutive5xxErrors": 3,
            "interval": "5m",
            "baseEjectionTime": "15m",
            "maxEjectionPercent": 40,
        }
    },
    "outlier-gateway": {"outlierDetection": {"consecutiveGatewayErrors": 4, "minHealthPercent": 30}},
    "random": {"loadBalancer": {"simple": "RANDOM"}},
    "round-robin": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
    "tls-simple": {"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}},
    "tls-sni": {"tls": {"mode": "SIMPLE", "sni": "a.example", "insecureSkipVerify": True}},
}


def namespaces() -> list[Json]:
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (NS, OTHER, "infra")
    ]


def objects() -> list[Json]:
    """Everything but the namespaces."""
    named = _service("svc-named", name="http-web")
    named["spec"]["ports"][0]["port"] = 80
    far = [{**_service(n), "metadata": worlds.meta(n, OTHER)} for n in ("far", "secret")]
    routes = [worlds.route(name, GW, *rules, hosts=(f"{name}.example",)) for name, rules in RULES.items()]
    ruled = [
        worlds.route(
            f"rule-{n}", GW, worlds.rule(worlds.to_service(f"ruled-{n}", 8000)), hosts=(f"{n}.rules.example",)
        )
        for n in POLICIES
    ]
    rules = [_rule(f"ruled-{name}", **policy) for name, policy in POLICIES.items()]
    return [
        worlds.servers("a", 2),
        worlds.servers("b", 1),
        worlds.pool("pool", "a", "epp"),
        worlds.pool("pool-b", "b", "epp-b", fail_open=True),
        worlds.pool("pool-lost", "b", "epp-lost"),
        *_picker("epp", "pool"),
        *_picker("epp-b", "pool-b"),
        _service("svc"),
        _service("svc-h2", appProtocol="kubernetes.io/h2c"),
        named,
        *far,
        worlds.grant(OTHER, NS, {"group": "", "kind": "Service", "name": "far"}),
        *(_service(f"ruled-{name}") for name in POLICIES),
        *rules,
        worlds.gateway(
            GW,
            worlds.listener(),
            worlds.listener("alt", 8081, hostname="*.alt.example"),
        ),
        worlds.gateway(SECOND, worlds.listener(allow="Same")),
        *routes,
        *ruled,
        worlds.route("on-alt", GW, worlds.rule(POOL), hosts=("x.alt.example",), sectionName="alt"),
        worlds.route("no-host", GW, worlds.rule(POOL, **_match(path=_path("PathPrefix", "/any")))),
        worlds.route("wildcard", GW, worlds.rule(POOL), hosts=("*.wild.example",)),
        worlds.route("not-allowed", SECOND, worlds.rule(POOL)),
    ]
