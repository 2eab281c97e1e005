"""Durations of manifests: what is accepted, and exactly; what is not, with its place; Envoy takes them."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.envoy.config import EnvoyOptions, build
from gateway.errors import ManifestError
from gateway.manifests.load import Manifests, load
from tests.e2e import worlds
from tests.gateway.envoy.running import validate
from tests.gateway.envoy.test_config import config, destination_rule, routes

UNITS = {"h": Fraction(3600), "m": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}
SMALL = {
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9),
}

Spelled = tuple[str, Fraction]  # as written, and the seconds that it means

whole_parts = st.tuples(st.integers(0, 99999), st.sampled_from(sorted(UNITS)))


def _sum(parts: list[tuple[Any, str]]) -> Spelled:
    units = UNITS | SMALL
    return "".join(f"{n}{u}" for n, u in parts), sum((Fraction(n) * units[u] for n, u in parts), Fraction(0))


gateway_spellings = st.lists(whole_parts, min_size=1, max_size=4).map(_sum)
"""GEP-2257: up to four whole numbers of five digits."""
_go_part = st.one_of(
    st.tuples(st.integers(0, 9999), st.sampled_from(["h", "m", "s", "ms"])),
    st.tuples(
        st.integers(0, 99999).map(lambda n: f"{n // 1000}.{n % 1000:03d}"), st.sampled_from(["h", "m", "s"])
    ),
    st.tuples(st.integers(0, 99).map(lambda n: f"{n}."), st.just("s")),
    st.tuples(st.integers(1, 9).map(lambda n: f".{n}"), st.just("s")),
    st.tuples(st.integers(0, 99).map(lambda n: n * 1000), st.sampled_from(["us", "µs", "μs"])),
    st.tuples(st.integers(0, 99).map(lambda n: n * 10**6), st.just("ns")),
)
go_spellings = (
    st.tuples(st.sampled_from(["", "+"]), st.lists(_go_part, min_size=1, max_size=5).map(_sum))
    .map(lambda made: (made[0] + made[1][0], made[1][1]))
    .filter(lambda made: made[1] >= Fraction(1, 1000))
)


def seconds(text: str) -> Fraction:
    """What Envoy reads: decimal seconds."""
    assert text.endswith("s")
    assert len(text[:-1].partition(".")[2]) <= 9
    return Fraction(text[:-1])


def routed(timeouts: list[str], backoffs: list[str]) -> list[dict[str, Any]]:
    return [
        worlds.rule(
            worlds.to_service("svc", 1),
            timeouts={"request": timeout, "backendRequest": timeout},
            retry={"attempts": 2, "backoff": backoff},
        )
        for timeout, backoff in zip(timeouts, backoffs, strict=True)
    ]


def policies(spelled: list[str]) -> dict[str, Any]:
    """A DestinationRule whose port i has the ith duration everywhere."""
    return destination_rule(
        host="svc",
        portLevelSettings=[
            {
                "port": {"number": i + 1},
                "connectionPool": {"tcp": {"connectTimeout": text}, "http": {"idleTimeout": text}},
                "outlierDetection": {"interval": text, "baseEjectionTime": text},
            }
            for i, text in enumerate(spelled)
        ],
    )


def service(ports: int) -> dict[str, Any]:
    made = worlds.service("svc", "x", 1)
    made["spec"]["ports"] = [{"name": f"http-{i}", "port": i + 1} for i in range(ports)]
    return made


@settings(max_examples=3, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.lists(gateway_spellings, min_size=60, max_size=60), st.lists(go_spellings, min_size=60, max_size=60)
)
def test_every_spelling_is_exact_and_taken_by_envoy(
    tmp_path_factory: pytest.TempPathFactory, of_routes: list[Spelled], of_policies: list[Spelled]
) -> None:
    """One configuration holds all: a route for each Gateway API spelling, a cluster for each of Istio's."""
    directory = tmp_path_factory.mktemp("envoy")
    backoffs = [text if length else "1ms" for text, length in of_routes]
    rules = routed([text for text, _ in of_routes], backoffs)
    every_port = [worlds.rule(worlds.to_service("svc", i + 1)) for i in range(len(of_policies))]
    manifests = load(
        ["-"],
        "apps",
        io.StringIO(
            worlds.dump(
                worlds.gateway("gw"),
                service(len(of_policies)),
                policies([text for text, _ in of_policies]),
                worlds.route("a", "gw", *rules),
                worlds.route("b", "gw", *every_port),
            )
        ),
    )
    gateway = next(iter(manifests.gateways.values()))
    made = build(manifests, gateway, EnvoyOptions(directory, {80: 20080}, 19000))
    for route, (_, length) in zip(routes(made), of_routes, strict=False):
        action = route["route"]
        assert seconds(action["timeout"]) == length
        retry = action["retry_policy"]
        assert seconds(retry.get("per_try_timeout", "0s")) == length
        assert seconds(retry["retry_back_off"]["base_interval"]) == (length or Fraction(1, 1000))
    lengths = {f"outbound|{i + 1}|": length for i, (_, length) in enumerate(of_policies)}
    for cluster in made.bootstrap["static_resources"]["clusters"]:
        length = next(n for start, n in lengths.items() if cluster["name"].startswith(start))
        (options,) = cluster["typed_extension_protocol_options"].values()
        outliers = cluster["outlier_detection"]
        for rendered in (
            cluster["connect_timeout"],
            options["common_http_protocol_options"]["idle_timeout"],
            outliers["interval"],
            outliers["base_ejection_time"],
        ):
            assert seconds(rendered) == length
    validate(directory, made)


@pytest.mark.parametrize(
    "text", ["10", "", "s", "1.5s", "-1s", "1d", "1s ", "100us", "123456s", "1h1m1s1ms1ms", 5, True]
)
@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("timeouts", "request"),
        ("timeouts", "backendRequest"),
        ("retry", "backoff"),
        ("sessionPersistence", "idleTimeout"),
        ("sessionPersistence", "absoluteTimeout"),
    ],
)
def test_what_gateway_api_does_not_allow(part: str, key: str, text: object) -> None:
    rule = worlds.rule(worlds.to_service("svc", 1), **{part: {key: text}})
    with pytest.raises(
        ManifestError, match=rf"<stdin>:\d+: spec.rules\[0\].{part}.{key}: must be a duration"
    ):
        config(worlds.gateway("gw"), worlds.route("r", "gw", rule))


def test_retries_need_a_pause() -> None:
    rule = worlds.rule(worlds.to_service("svc", 1), retry={"backoff": "0ms"})
    with pytest.raises(
        ManifestError, match=r"<stdin>:\d+: spec.rules\[0\].retry.backoff: must be more than 0s"
    ):
        config(worlds.gateway("gw"), worlds.route("r", "gw", rule))


@pytest.mark.parametrize("code", ["503", 200, 600, True, None])
def test_codes_of_retries_are_errors(code: object) -> None:
    rule = worlds.rule(worlds.to_service("svc", 1), retry={"codes": [500, code]})
    with pytest.raises(
        ManifestError, match=r"<stdin>:\d+: .*codes\[1\]: must be a status code from 400 to 599"
    ):
        config(worlds.gateway("gw"), worlds.route("r", "gw", rule))


PLACES: list[tuple[str, ...]] = [
    ("connectionPool", "tcp", "connectTimeout"),
    ("connectionPool", "tcp", "idleTimeout"),
    ("connectionPool", "tcp", "maxConnectionDuration"),
    ("connectionPool", "tcp", "tcpKeepalive", "time"),
    ("connectionPool", "tcp", "tcpKeepalive", "interval"),
    ("connectionPool", "http", "idleTimeout"),
    ("connectionPool", "http", "http2KeepAlive", "interval"),
    ("connectionPool", "http", "http2KeepAlive", "timeout"),
    ("outlierDetection", "interval"),
    ("outlierDetection", "baseEjectionTime"),
    ("loadBalancer", "warmup", "duration"),
    ("loadBalancer", "warmupDurationSecs"),
    ("loadBalancer", "consistentHash", "httpCookie", "ttl"),
]


def nested(place: tuple[str, ...], value: object) -> Any:
    for key in reversed(place):
        value = {key: value}
    return value


@pytest.mark.parametrize(
    "text", ["10", "", "s", "-1s", "1d", "1s ", "10us", "1500us", "1.0005s", "9999999h", 5]
)
@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_what_istio_does_not_allow(place: tuple[str, ...], text: object) -> None:
    """Wherever a policy stands, and whether or not a cluster uses it."""
    policy = nested(place, text)
    path = r"\.".join(place)
    for rule, where in (
        (destination_rule(**policy), rf"spec.trafficPolicy\.{path}"),
        (
            destination_rule(portLevelSettings=[{"port": {"number": 1}, **policy}]),
            rf"spec.trafficPolicy.portLevelSettings\[0\]\.{path}",
        ),
        (
            {
                **destination_rule(),
                "spec": {"host": "unused", "subsets": [{"name": "v1", "trafficPolicy": policy}]},
            },
            rf"spec.subsets\[0\].trafficPolicy\.{path}",
        ),
    ):
        with pytest.raises(ManifestError, match=rf"^<stdin>:\d+: {where}: must be a duration such as 500ms"):
            read(rule)


def test_a_session_s_cookie_may_last_no_time() -> None:
    cookie = {"name": "c", "ttl": "0s"}
    read(destination_rule(loadBalancer={"consistentHash": {"httpCookie": cookie}}))


def test_labels_are_no_durations() -> None:
    subset = {"name": "v1", "labels": {"interval": "fast", "time": "now"}}
    read({**destination_rule(), "spec": {"host": "svc", "subsets": [subset]}})


def read(*objects: Any) -> Manifests:
    return load(["-"], "apps", io.StringIO(worlds.dump(*objects)))
