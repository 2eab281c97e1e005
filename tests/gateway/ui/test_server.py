"""The page's server over a stack that a test makes up: who may ask, what it tells, what it does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import httpx
import pytest
import yaml

from gateway.simulate.inputs import preset_text
from tests.gateway.ui.fake import TOKEN, FakeStack, candidate, pod
from tests.waiting import until

A, B = "127.77.0.2:8000", "127.77.0.3:8000"


@pytest.fixture(scope="module")
def stack() -> Iterator[FakeStack]:
    made = FakeStack([pod("server-abcdefgh-a", 0), pod("server-abcdefgh-b", 1)])
    yield made
    made.close()


@pytest.fixture(scope="module")
def http(stack: FakeStack) -> Iterator[httpx.Client]:
    base = stack.url.partition("#")[0]
    with httpx.Client(base_url=base, headers={"x-simfleet-token": TOKEN}, timeout=20.0) as client:
        yield client


def ask(http: httpx.Client, name: str, /, **body: Any) -> Any:
    answer = http.post(f"/api/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["ok"]


def test_only_who_knows_the_token_may_ask(http: httpx.Client, stack: FakeStack) -> None:
    assert stack.url.endswith(f"/#token={TOKEN}")
    for headers in ({"x-simfleet-token": ""}, {"x-simfleet-token": TOKEN + "x"}):
        answer = http.post("/api/commands", headers=headers)
        assert answer.status_code == 401
        assert "simfleet ui" in answer.json()["error"]
    assert http.get("/api/stream", headers={"x-simfleet-token": "x"}).status_code == 401


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
def test_pages_of_others_may_not_even_see_the_page(http: httpx.Client, headers: dict[str, str]) -> None:
    for path in ("/", "/static/main.js"):
        assert http.get(path, headers=headers).status_code == 403
    assert http.post("/api/commands", headers=headers).status_code == 403


def test_files_of_the_page_are_whole_small_and_its_own(http: httpx.Client) -> None:
    root = files("gateway").joinpath("ui", "static")
    page = http.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    paths = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
    assert len(paths) == 4
    seen, todo = set(), [p.removeprefix("static/") for p in paths]
    while todo:
        path = todo.pop()
        answer = http.get(f"/static/{path}")
        assert answer.status_code == 200, path
        seen.add(path)
        for found in re.findall(r'from ?[\'"](\.[^\'"]+)[\'"]', answer.text):
            parts = path.split("/")[:-1]
            for part in found.split("/"):
                parts = parts[:-1] if part == ".." else parts if part == "." else [*parts, part]
            if (other := "/".join(parts)) not in seen:
                todo.append(other)
    size = sum(len(root.joinpath(*path.split("/")).read_bytes()) for path in seen) + len(page.content)
    assert size < 300_000
    texts = [root.joinpath(*p.split("/")).read_text() for p in seen if not p.startswith("vendor/")]
    assert not [url for text in texts for url in re.findall(r"https?://(?!www\.w3\.org)[\w.]+", text)]
    assert not any(word in text for text in texts for word in ("innerHTML", "unsafeHTML", "eval("))


@pytest.mark.parametrize("path", ["../server.py", "%2e%2e/server.py", "vendor", "vendor/README.md"])
def test_no_other_file_is_served(http: httpx.Client, path: str) -> None:
    assert http.get(f"/static/{path}").status_code == 404


def frames(stack: FakeStack) -> Iterator[tuple[str, Any]]:
    base = stack.url.partition("#")[0]
    with httpx.stream(
        "GET", base + "api/stream", headers={"x-simfleet-token": TOKEN}, timeout=20.0
    ) as stream:
        event = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield event, json.loads(line.removeprefix("data: "))


def test_the_stream_begins_with_everything_and_goes_on_with_what_changed(stack: FakeStack) -> None:
    told = frames(stack)
    kind, hello = next(told)
    assert kind == "hello"
    assert [p["name"] for p in hello["state"]["pods"]] == ["server-abcdefgh-a", "server-abcdefgh-b"]
    assert hello["state"]["prefix"] == "server-abcdefgh-"
    stack.send("r-1", A, candidates=[candidate("a", A, 1.0, 1.0), candidate("b", B, 1.0, 0.0)])
    stack.send("r-2", "", status=503, flags="UH", details="no_healthy_upstream")
    stack.status["events"] = ["pod x killed"]
    rows: dict[str, Any] = {}
    events: list[str] = []
    counted = 0
    for kind, tick in told:
        assert kind == "tick"
        rows |= {row["id"]: row for row in tick["rows"]}
        events += [event["text"] for event in tick["events"]]
        counted += tick["point"]["n"]
        if {"r-1", "r-2"} <= rows.keys() and events:
            break
    assert (rows["r-1"]["reason"], rows["r-1"]["status"]) == ("prefix-cache-scorer", 200)
    assert (rows["r-1"]["picker_ms"], rows["r-1"]["ttft"]) == (1.2, 5)
    assert rows["r-1"]["gateway"] == "lab/gateway"
    assert (rows["r-2"]["cause"], rows["r-2"]["status"]) == ("pool-without-endpoints", 503)
    assert events == ["pod x killed"]
    assert counted in (0, 2), "what stood in a log before it was first read is no second's"


def test_a_decision_is_told_whole(http: httpx.Client, stack: FakeStack) -> None:
    stack.send("whole", A, candidates=[candidate("a", A, 0.5, 1.0), candidate("b", B, 1.0, 0.0)])

    def told() -> Any:
        answer = http.post("/api/decision", json={"id": "whole"})
        return answer.json().get("ok") if answer.status_code == 200 else None

    decision = until(lambda: (found := told()) and found["served"] and found)
    assert decision["sentence"].startswith("prefix-cache-scorer put a 2 ahead of b")
    assert [row["pod"] for row in decision["rows"]] == ["a", "b"]
    assert decision["rows"][0]["parts"] == {"queue-scorer": 1.0, "prefix-cache-scorer": 3.0}
    assert decision["served"]["as_picked"] is True
    begin, _, body = decision["curl"].partition(" -d ")
    assert begin == "curl -s -i 'http://127.0.0.1:1/v1/completions'"
    assert json.loads(body.strip("'"))["model"] == "model-a"
    assert http.post("/api/decision", json={"id": "nobody"}).status_code == 409


def test_what_if_export_apply_and_undo(http: httpx.Client, stack: FakeStack) -> None:
    stack.send("near", A, candidates=[candidate("a", A, 0.5, 1.0), candidate("b", B, 1.0, 0.0)])
    until(lambda: http.post("/api/decision", json={"id": "near"}).status_code == 200)
    result = ask(http, "whatif", weights={"prefix-cache-scorer": 0})
    assert "near" in [change["request_id"] for change in result["changes"]]
    assert result["weights"] == {"queue-scorer": 2.0, "prefix-cache-scorer": 0.0}
    text = ask(http, "export", weights={"prefix-cache-scorer": 7}, name="epp")["yaml"]
    plugins = yaml.safe_load(text)["schedulingProfiles"][0]["plugins"]
    assert {"pluginRef": "prefix-cache-scorer", "weight": 7} in plugins
    stack.config = "before: me"
    with pytest.raises(AssertionError, match="not scored in this log"):
        ask(http, "whatif", weights={"nothing": 1})
    stack.config = text
    done = ask(http, "apply", weights={"queue-scorer": 9}, name="epp")
    assert yaml.safe_load(stack.config)["schedulingProfiles"][0]["plugins"][0]["weight"] == 9
    ask(http, done["undo"]["route"], **done["undo"]["body"])
    assert stack.config == text


def test_only_packaged_scenarios_are_simulated(http: httpx.Client, stack: FakeStack) -> None:
    for name in ("../x", "", "a.yaml"):
        with pytest.raises(AssertionError, match="only packaged ones"):
            ask(http, "simulate", name="epp", scenario=name)
    assert ask(http, "end_simulation")["running"] is False


@pytest.mark.slow
def test_sliders_are_simulated(http: httpx.Client, stack: FakeStack) -> None:
    stack.send("scored", A, candidates=[candidate("a", A, 1.0, 0.0), candidate("b", B, 0.0, 1.0)])
    until(lambda: ask(http, "whatif")["logged_weights"])
    stack.manifests = preset_text()
    scorers = ["queue-scorer", "prefix-cache-scorer"]
    stack.config = yaml.safe_dump(
        {
            "apiVersion": "inference.networking.x-k8s.io/v1alpha1",
            "kind": "EndpointPickerConfig",
            "plugins": [{"type": name} for name in scorers],
            "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": name} for name in scorers]}],
        }
    )
    ask(http, "simulate", name="epp", scenario="page", weights={"prefix-cache-scorer": 0})
    with pytest.raises(AssertionError, match="stop it first"):
        ask(http, "simulate", name="epp", scenario="page")
    simulations = stack.server.simulations
    until(lambda: not simulations.state()["running"], limit=120)
    told = simulations.state()
    assert "problem" not in told, told
    assert told["weights"]["prefix-cache-scorer"] == 0
    assert [arm for arm, found in told["arms"].items() if found["outcomes"] == {"ok": found["requests"]}] == [
        "today",
        "sliders",
    ]
    ask(http, "simulate", name="epp", scenario="page")
    until(lambda: not simulations.state()["running"], limit=120)
    assert list(simulations.state()["arms"]) == ["today"], "sliders that nobody moved are no second arm"
    ask(http, "simulate", name="epp", scenario="overload-shed")
    assert simulations.state()["running"]  # its program takes a second to start, its end comes soon after
    assert ask(http, "end_simulation")["problem"] == "stopped"


def test_what_the_stack_can_be_told(http: httpx.Client, stack: FakeStack) -> None:
    known = ask(http, "commands")
    assert set(known) == {"kill", "restart", "scale", "fault"}
    assert known["fault"][1] == {"name": "slow", "kind": "number", "required": False}
    stack.told.clear()
    done = ask(http, "do", do="kill", arguments={"name": "server-abcdefgh-a"})
    assert done["did"] == "pod server-abcdefgh-a killed"
    ask(http, done["undo"]["route"], **done["undo"]["body"])
    done = ask(http, "do", do="scale", arguments={"target": "server", "replicas": 5})
    ask(http, done["undo"]["route"], **done["undo"]["body"])
    assert ask(http, "do", do="fault", arguments={"pod": "a", "slow": 2.0, "hang": True})["undo"] is None
    assert stack.told == [
        ("kill", {"name": "server-abcdefgh-a"}),
        ("restart", {"name": "server-abcdefgh-a"}),
        ("scale", {"target": "server", "replicas": 5}),
        ("scale", {"target": "server", "replicas": 2}),
        ("fault", {"pod": "a", "slow": 2.0, "hang": True}),
    ]
    for name in ("down", "reconfigure", "status", "nonsense"):
        answer = http.post("/api/do", json={"do": name})
        assert answer.status_code == 409
        assert "cannot be told" in answer.json()["error"]
    answer = http.post("/api/do", json={"do": "kill", "arguments": {"name": "immortal"}})
    assert (answer.status_code, answer.json()["error"]) == (409, "pod immortal cannot be killed")


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"weights": 3}'])
def test_bodies_that_are_not_understood(http: httpx.Client, body: bytes) -> None:
    assert http.post("/api/whatif", content=body).status_code == 400
    assert http.post("/api/nothing", content=b"{}").status_code == 404


def test_load_is_a_command_that_a_user_could_type(http: httpx.Client) -> None:
    assert "hot-prefix" in [scenario["name"] for scenario in ask(http, "scenarios")]
    for bad in ({"scenario": "../x"}, {"rate": -1}, {"duration_s": 0}, {"scenario": "page", "rate": 2}):
        assert http.post("/api/load", json=bad).status_code == 409
    started = ask(http, "load", scenario="", rate=5, duration_s=30, model="model-a")
    assert started["command"] == (
        "loadgen run --model=model-a --rate 5 --target http://127.0.0.1:1 "
        f"--name {started['command'].split('--name ')[1].split()[0]} --duration 30s --no-selftest"
    )
    assert http.post("/api/load", json={}).status_code == 409, "one at a time"
    assert ask(http, "stop")["running"] is False


def test_pods_that_do_not_answer_are_said_so(http: httpx.Client) -> None:
    assert http.post("/api/metrics", json={"pod": "nobody"}).status_code == 409
    assert http.post("/api/metrics", json={"pod": "server-abcdefgh-a"}).status_code == 409
    assert ask(http, "objects")["envoys"] == [{"gateway": "lab/gateway", "routes": [], "clusters": []}]
