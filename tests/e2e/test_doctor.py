"""Stacks broken in each way of doctor's table, on a real Envoy: does doctor name the cause?

One stack has a pool and a route for everything that is wrong with manifests; another has a picker that
misbehaves on request.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from gateway import doctor
from gateway.doctor.causes import CAUSES
from tests.e2e import worlds
from tests.e2e.labkit import Lab, Labs
from tests.gateway.oddpicker import odd_picker
from tests.waiting import until

BASE = {"model": "base", "prompt": "What do reviewers think?", "max_tokens": 2}
BODY = json.dumps(BASE)
JSON = "Content-Type: application/json"
KEY = "Authorization: Bearer k"
FILTERED = worlds.FOLLOW_HEADER
RANDOM = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: random-picker}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: random-picker}]}]
"""
LOW = {
    "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
    "kind": "InferenceObjective",
    "metadata": {"name": "low", "namespace": worlds.NAMESPACE},
    "spec": {"priority": -1, "poolRef": {"name": "full-pool"}},
}
Found = dict[str, Any]
Doctor = Callable[..., Found]


def service(name: str, app: str, port: int = 9002, target: int = 9002, **more: Any) -> worlds.Json:
    return worlds.service(name, app, port, target, **more)


def plain(host: str) -> worlds.Json:
    """A DestinationRule without TLS, as none at all would be."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": worlds.meta(host),
        "spec": {"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
    }


def tls(host: str) -> worlds.Json:
    rule = plain(host)
    rule["spec"]["trafficPolicy"] = {"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}}
    return rule


def rule(path: str, backend: worlds.Json, rewrite: str = "/v1/completions", **more: Any) -> worlds.Json:
    filters = [worlds.rewrite_to(rewrite), *more.pop("filters", [])]
    return worlds.rule(backend, matches=[worlds.prefix(path)], filters=filters, **more)


POOLS = {
    # path: (workload, Service of the picker, what else the pool is)
    "good": ("main", "epp", {}),
    "no-rule": ("main", "epp-no-rule", {}),
    "wrong-rule": ("main", "plain-tls", {}),
    "http1": ("main", "epp-http1", {}),
    "wrong-target": ("main", "epp-wrong-target", {}),
    "no-service-port": ("main", "epp-other-port", {}),
    "no-service-endpoints": ("main", "epp-empty", {}),
    "fail-open": ("main", "epp-empty", {"fail_open": True}),
    "open-wrong-target": ("main", "epp-wrong-target", {"fail_open": True}),
    "open-no-rule": ("main", "epp-no-rule", {"fail_open": True}),
    "open-no-service-port": ("main", "epp-other-port", {"fail_open": True}),
    "wrong-pod-port": ("main", "epp", {"ports": (9000,)}),
    "strict": ("strict", "epp", {}),
    "slow": ("slow", "epp", {}),
    "tiny": ("tiny", "epp", {}),
    "full": ("full", "plain", {}),
}
"""The shared picker knows the pods of `main` alone: elsewhere its picks are passed over, round robin."""


def broken_world(tail: str = "") -> str:
    """Its pools under /NAME plus `tail`, which a picker sees: the path is rewritten after it was asked."""
    pools = [worlds.pool(f"{n}-pool", app, epp, **more) for n, (app, epp, more) in POOLS.items()]
    cors = {"type": "CORS", "cors": {"allowOrigins": ["https://a.example"]}}
    rules = [rule(f"/{name}{tail}", worlds.to_pool(f"{name}-pool")) for name in POOLS]
    rules += [
        rule(f"/impatient{tail}", worlds.to_pool("slow-pool"), timeouts={"request": "300ms"}),
        rule(f"/cors{tail}", worlds.to_pool("good-pool"), filters=[cors]),
        rule(f"/missing-pool{tail}", worlds.to_pool("no-such-pool")),
        rule(f"/no-such-path{tail}", worlds.to_pool("good-pool"), rewrite="/v1/nothing"),
        rule("/chat", worlds.to_pool("good-pool"), rewrite="/v1/chat/completions"),
    ]
    return worlds.dump(
        worlds.gateway("gw"),
        worlds.gateway("bare", worlds.listener(port=81)),
        worlds.servers("main", 2),
        worlds.servers("strict", 1, ["--strict-content-type", "--api-key", "k"]),
        worlds.servers("slow", 1, ["--time-to-first-token", "3s"]),
        worlds.servers("tiny", 1, ["--max-num-queued-reqs", "0"]),
        worlds.servers("full", 2, ["--fake-metrics", '{"waiting-requests": 90, "kv-cache-usage": 0.99}']),
        pools,
        worlds.picker("epp", "good-pool", RANDOM),
        worlds.picker("plain", "full-pool", FILTERED, ["--secure-serving=false"])[0],
        worlds.picker("plain", "full-pool", FILTERED)[2],
        service("plain", "plain", appProtocol="http2"),
        service("plain-tls", "plain", appProtocol="http2"),
        tls("plain-tls"),
        service("epp-no-rule", "epp", appProtocol="http2"),
        service("epp-http1", "epp"),
        tls("epp-http1"),
        service("epp-wrong-target", "epp", target=9999, appProtocol="http2"),
        service("epp-other-port", "epp", port=9012, appProtocol="http2"),
        service("epp-empty", "nobody", appProtocol="http2"),
        LOW,
        worlds.route("rules", "gw", *rules),
    )


@pytest.fixture(scope="module")
def broken(labs: Labs) -> Lab:
    return labs.up("-f", labs.manifests(broken_world(), "broken.yaml"), "--istio-bugs", name="broken")


def deaf() -> worlds.Json:
    """Pods of the pool of `main` that listen on another port than its targetPorts."""
    made = worlds.servers("deaf", 1, ports=(8001,))
    made["spec"]["selector"]["matchLabels"] = {"app": "main"}
    made["spec"]["template"]["metadata"]["labels"] = {"app": "main"}
    return made


@pytest.fixture(scope="module")
def odd(labs: Labs) -> Lab:
    """A picker that speaks plain text and does as the headers x-odd and x-pick say."""
    text = worlds.dump(
        worlds.gateway("gw"),
        worlds.servers("main", 2),
        deaf(),
        worlds.pool("main-pool", "main", "epp"),
        worlds.servers("sound", 1),
        worlds.pool("sound-pool", "sound", "epp"),
        worlds.pool("empty-pool", "nobody", "epp"),
        [o for o in worlds.picker("epp", "main-pool") if o["kind"] != "DestinationRule"],
        worlds.route(
            "rules",
            "gw",
            rule("/main", worlds.to_pool("main-pool")),
            rule("/sound", worlds.to_pool("sound-pool")),
            rule("/empty", worlds.to_pool("empty-pool")),
        ),
    )
    picker = odd_picker(labs.state)
    return labs.up("-f", labs.manifests(text, "odd.yaml"), "--epp", str(picker), name="odd")


@pytest.fixture
def ask_doctor(labs: Labs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(labs.state))

    def run(*argv: str) -> Found:
        capsys.readouterr()
        code = doctor.run([*argv, "--format", "json"])
        found: Found = json.loads(capsys.readouterr().out)[0]
        assert code == (0 if found["cause"] == "ok" else 1)
        return found

    return run


STATIC = [
    # path, body, headers, cause
    ("/good", BODY, (), "ok"),
    ("/no-rule", BODY, (), "picker-serves-tls"),
    ("/wrong-rule", BODY, (), "picker-serves-plaintext"),
    ("/http1", BODY, (), "picker-not-http2"),
    ("/wrong-target", BODY, (), "picker-down"),
    ("/no-service-port", BODY, (), "picker-service-missing"),
    ("/no-service-endpoints", BODY, (), "picker-without-endpoints"),
    ("/fail-open", BODY, (), "picker-passed-over"),
    ("/cors", BODY, ("Origin: https://a.example",), "picker-not-asked"),
    ("/full", BODY, ("test-epp-endpoint-selection: 127.9.9.9",), "filtered-out"),
    ("/full", BODY, ("x-gateway-inference-objective: low",), "shed"),
    ("/good", '{"prompt": "no model"}', (), "bad-request-body"),
    ("/good", "{", (), "bad-request-body"),
    ("/wrong-pod-port", BODY, (), "pod-refuses"),
    ("/impatient", BODY, (), "timeout"),
    ("/nowhere", BODY, (), "no-route"),
    ("/good", None, ("Host: x",), "unknown-path"),  # GET: the server's route takes POST only
    ("/missing-pool", BODY, (), "route-without-backend"),
    ("/good", BODY.replace("base", "gpt-5"), (), "unknown-model"),
    ("/no-such-path", BODY, (), "unknown-path"),
    ("/strict", BODY, (), "unauthorized"),
    ("/strict", BODY, (KEY,), "content-type"),
    ("/tiny", BODY, (JSON,), "server-full"),
    ("/good", BODY.replace("2}", "-2}"), (), "request-refused"),
    ("/good", BODY, ("X-Return-Error: 500",), "server-error"),
    ("/slow", BODY, ("-m", "0.3"), "client-left"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "more", "cause"), STATIC, ids=[f"{p}-{c}" for p, _, _, c in STATIC])
def test_what_is_wrong_with_manifests_and_requests(
    broken: Lab, ask_doctor: Doctor, path: str, body: str | None, more: tuple[str, ...], cause: str
) -> None:
    flags = more if more[:1] == ("-m",) else [w for line in more for w in ("-H", line)]
    data = () if body is None else ("-d", body)
    found = ask_doctor(path, *data, *flags, "--name", "broken")
    assert found["cause"] == cause, found["evidence"]


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/open-wrong-target", "picker-down"),
        ("/open-no-rule", "picker-serves-tls"),
        ("/open-no-service-port", None),
    ],
)
def test_fail_open_is_a_race(broken: Lab, ask_doctor: Doctor, path: str, closed: str | None) -> None:
    """Envoy passes the picker over only if it knows before it has sent the first chunk of the body."""
    seen = {ask_doctor(path, "-d", BODY, "--name", "broken")["cause"] for _ in range(6)}
    assert seen <= {"picker-passed-over", closed}
    get = ask_doctor(path, "--name", "broken")
    assert get["evidence"]["status"] == 405, "without a body it is always passed over, to a pod"


ODD = [
    ("/main", {"x-pick": "{main}"}, "ok"),
    ("/sound", {"x-pick": "127.9.9.9:8000"}, "pick-ignored"),
    ("/main", {"x-pick": "{deaf},{main}"}, "second-choice"),
    ("/main", {"x-pick": "{deaf}"}, "second-choice"),
    ("/main", {"x-odd": "none"}, "picker-without-pick"),
    ("/main", {"x-odd": "abort"}, "picker-broke-off"),
    ("/main", {"x-odd": "hang"}, "picker-hangs"),
    ("/empty", {"x-pick": "{main}"}, "pool-without-endpoints"),
]


@pytest.mark.parametrize(
    ("path", "headers", "cause"), ODD, ids=[f"{i}-{c}" for i, (_, _, c) in enumerate(ODD)]
)
def test_what_a_picker_can_do_wrong(
    odd: Lab, ask_doctor: Doctor, path: str, headers: dict[str, str], cause: str
) -> None:
    places = {pod["workload"]: f"{pod['address']}:8000" for pod in odd.pods}
    lines = [w for name, value in headers.items() for w in ("-H", f"{name}: {value.format(**places)}")]
    limit = ("-m", "1.2") if cause == "picker-hangs" else ()
    found = ask_doctor(path, "-d", BODY, *lines, *limit, "--name", "odd")
    assert found["cause"] == cause, found["evidence"]


def test_a_pod_that_dies_in_the_middle_of_an_answer(odd: Lab, ask_doctor: Doctor) -> None:
    pod = odd.pods[0]
    odd.ask("kill", name=pod["name"], after_tokens=5)
    body = json.dumps({**BASE, "max_tokens": 500, "ignore_eos": True, "stream": True})
    found = ask_doctor("/main", "-d", body, "-H", f"x-pick: {pod['address']}:8000", "--name", "odd")
    assert found["cause"] == "pod-died", found["evidence"]
    until(lambda: odd.pods[0]["state"] == "killed", what="noticed")
    found = ask_doctor("/main", "-d", BODY, "-H", "x-odd: abort", "--name", "odd")
    assert f"pod {pod['name']} is killed" in found["facts"]


def test_a_pool_whose_pods_and_then_picker_have_died(broken: Lab, ask_doctor: Doctor) -> None:
    for pod in (p for p in broken.pods if p["workload"] == "full"):
        broken.ask("kill", name=pod["name"])
    found: Found = {}

    def seen(cause: str) -> bool:
        found.update(ask_doctor("/full", "-d", BODY, "--name", "broken"))
        return bool(found["cause"] == cause)

    until(lambda: seen("no-candidates"), 10.0, "the picker knows that the pods are gone")
    assert "pool apps/full-pool has no endpoints" in found["facts"]
    picker = next(p for p in broken.status["pickers"] if p["pool"] == "full-pool")
    os.kill(picker["pid"], signal.SIGKILL)
    until(lambda: seen("picker-without-endpoints"), 10.0, "Envoy knows that the picker is gone")
    assert any(f.startswith(f"picker {picker['name']} is dead; its last lines:") for f in found["facts"])


def test_every_row_of_the_table_is_reproduced() -> None:
    static = {cause for _, _, _, cause in STATIC} | {cause for _, _, cause in ODD}
    # what needs another picker or an AuthorizationPolicy is reproduced beside those
    elsewhere = {"policy-denied", "path-unknown-to-picker", "queued-too-long", "picker-answers-bodies-wrong"}
    assert static | {"pod-died", "no-candidates"} | elsewhere == {c.id for c in CAUSES} | {"ok"}


# the command


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = doctor.run(argv)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.fixture
def here(labs: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(labs.state))


@pytest.mark.usefixtures("here")
def test_each_gateway_of_a_stack(broken: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "--name", "broken")
    assert code == 1
    assert "gateway infra/gw: unknown-path" in text, "its first route rewrites to a path of its own"
    bare = text[text.index("gateway infra/bare: no-route") :]
    assert "  status: 404\n  flags: NR\n  details: route_not_found\n" in bare
    assert "  cure: a match for the path" in bare


@pytest.mark.usefixtures("here")
def test_a_url_finds_its_stack(broken: Lab, odd: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    url = odd.gateway("gw")["url"].removeprefix("http://") + "/main"
    pod = next(p for p in odd.pods if p["workload"] == "main" and p["state"] == "ready")
    code, text, _ = run(capsys, url, "-d", BODY, "-H", f"x-pick: {pod['address']}:8000")
    assert (code, f"{url}: ok" in text, f"picked: {pod['address']}:8000" in text) == (0, True, True)
    code, text, _ = run(capsys, f"http://{pod['address']}:8000/v1/nothing", "-d", BODY)
    assert (code, ": unknown-path" in text) == (1, True), "no gateway of ours: what the answer says"
    code, _, error = run(capsys, "/main", "-d", BODY)
    assert (code, "several stacks are running" in error) == (2, True)
    code, text, _ = run(capsys, "127.0.0.1:1/x")
    assert (code, "no answer" in text) == (1, True)


@pytest.mark.usefixtures("here")
def test_the_access_log_of_all_this(broken: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    log = broken.gateway("gw")["access_log"]
    code, text, _ = run(capsys, "--log", log, "--format", "json")
    assert code == 1
    seen = {f["cause"] for f in json.loads(text)}
    assert {"picker-serves-tls", "picker-not-http2", "pod-refuses", "timeout", "no-route"} <= seen


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--name", "nobody"), "no stack named 'nobody'"),
        (("--log", "/nowhere"), "No such file"),
        (("http://:x/", "-d", "{}"), "http://:x/"),
        (("/good", "-H", "colonless", "--name", "broken"), "must be 'Name: value'"),
    ],
)
@pytest.mark.usefixtures("here")
def test_nothing_to_examine(
    broken: Lab, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    code, _, error = run(capsys, *argv)
    assert (code, words in error) == (2, True), error
