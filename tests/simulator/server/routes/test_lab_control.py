"""The control API on its own socket: faults at run time, what they do to clients, and their end."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ports import free_port
from tests.simulator.server.serving import Reply, Server, serving
from tests.simulator.steps import flat_flag

STEP = flat_flag(2000)
FLAGS = ("--model", "m", "--seed", "1", "--latency", "step", "--step-model", STEP, "--pod-name", "pod-a")
BODY = {"model": "m", "prompt": "x", "max_tokens": 5, "ignore_eos": True}


class Controlled(Server):
    """A server and its control port."""

    control_port: int

    def control(self, method: str, path: str, body: Any = None, headers: Any = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=20)
        try:
            sent = {} if body is None else {"Content-Type": "application/json"}
            connection.request(
                method, path, None if body is None else json.dumps(body), sent | (headers or {})
            )
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


@pytest.fixture
def server() -> Iterator[Controlled]:
    port = free_port()
    with serving(*FLAGS, "--control-port", str(port)) as running:
        controlled = Controlled(running.port, running.process)
        controlled.control_port = port
        yield controlled


def faults(server: Controlled, **body: Any) -> Any:
    reply = server.control("POST", "/replicas/pod-a/faults", body)
    assert reply.status == 200, reply.body
    return reply.json()


def test_lists_and_shows(server: Controlled) -> None:
    listed = server.control("GET", "/replicas").json()
    assert [(one["name"], one["ports"], one["listening"]) for one in listed] == [
        ("pod-a", [server.port], True)
    ]
    shown = server.control("GET", "/replicas/pod-a").json()
    assert shown["ranks"][0]["kv_blocks"]["free"] > 0
    assert server.control("GET", "/replicas/nobody").status == 404
    assert server.control("POST", "/replicas/pod-a/explode", {}).status == 404


def test_injected_failures_come_and_go(server: Controlled) -> None:
    faults(server, failure_injection_rate=100, failure_types=["server_error"])
    assert server.request("POST", "/v1/completions", BODY).status == 503
    cleared = server.control("DELETE", "/replicas/all/faults").json()
    assert cleared == {"cleared": ["pod-a"]}
    assert server.request("POST", "/v1/completions", BODY).status == 200


def test_latency_factor(server: Controlled) -> None:
    faults(server, latency_factor=20)
    began = time.monotonic()
    server.request("POST", "/v1/completions", BODY)
    assert time.monotonic() - began >= 5 * 0.002 * 20 * 0.9


def test_stall(server: Controlled) -> None:
    began = time.monotonic()
    server.control("POST", "/replicas/pod-a/stall", {"seconds": 0.3})
    server.request("POST", "/v1/completions", BODY)
    assert time.monotonic() - began >= 0.3


def read_until_reset(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """What arrived, and whether the connection broke before the end of the body."""
    received = b""
    try:
        while piece := response.read1(65536):
            received += piece
    except (ConnectionError, http.client.IncompleteRead):
        return received, True
    return received, False


def test_streams_are_cut(server: Controlled) -> None:
    faults(server, cut_stream_after=3)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/v1/completions", json.dumps({**BODY, "max_tokens": 50, "stream": True}))
    response = connection.getresponse()
    received, reset = read_until_reset(response)
    assert reset
    assert received.count(b"data: {") == 3
    assert b"[DONE]" not in received
    response.close()
    connection.close()
    faults(server, cut_stream_after=None)
    assert server.metric("vllm:num_requests_running") == 0


def test_hanging_requests_free_nothing_and_take_nothing(server: Controlled) -> None:
    faults(server, hang_requests=True)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.3)
    connection.request("POST", "/v1/completions", json.dumps(BODY))
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert server.metric("vllm:num_requests_running") == 0
    faults(server, hang_requests=False)
    assert server.request("POST", "/v1/completions", BODY).status == 200


def test_metrics_lie_hang_and_fail(server: Controlled) -> None:
    faults(server, metrics_override={"vllm:num_requests_waiting": 77})
    assert server.metric("vllm:num_requests_waiting") == 77
    faults(server, metrics_override={}, metrics_status=500)
    reply = server.request("GET", "/metrics")
    assert (reply.status, reply.body) == (500, b"")
    faults(server, metrics_status=None, metrics_hang=True)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.3)
    connection.request("GET", "/metrics")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()


def test_readiness_and_health(server: Controlled) -> None:
    faults(server, unready=True)
    assert (server.request("GET", "/ready").status, server.request("GET", "/health").status) == (503, 200)
    faults(server, unhealthy=True)
    assert server.request("GET", "/health").status == 503


@pytest.mark.parametrize(
    "body",
    [
        {"nonsense": 1},
        {"unready": "yes"},
        {"latency_factor": -1},
        {"failure_injection_rate": 101},
        {"failure_types": ["meteor"]},
        {"cut_stream_after": 0},
        {"metrics_status": 42},
        {"metrics_override": {"a": "b"}},
    ],
)
def test_bad_faults_change_nothing(server: Controlled, body: dict[str, Any]) -> None:
    before = server.control("GET", "/replicas/pod-a/faults").json()
    reply = server.control("POST", "/replicas/pod-a/faults", body)
    assert reply.status == 400
    assert reply.json()["error"]["message"]
    assert server.control("GET", "/replicas/pod-a/faults").json() == before


def test_kill_and_restart(server: Controlled) -> None:
    assert server.control("POST", "/replicas/pod-a/kill").json() == {"pod-a": {"killed": True}}
    with pytest.raises(ConnectionError):
        server.request("GET", "/health")
    assert server.control("GET", "/replicas").json()[0]["listening"] is False
    assert server.control("POST", "/replicas/pod-a/restart").status == 200
    assert server.request("POST", "/v1/completions", BODY).status == 200


def test_reset_and_abort(server: Controlled) -> None:
    assert server.control("POST", "/replicas/all/reset_prefix_cache").json() == {"pod-a": {"success": True}}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/v1/completions", json.dumps({**BODY, "max_tokens": 5000}))
    deadline = time.monotonic() + 10
    while server.metric("vllm:num_requests_running") == 0:
        assert time.monotonic() < deadline
    assert server.control("POST", "/replicas/pod-a/abort_requests").json() == {"pod-a": {"aborted": 1}}
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["choices"][0]["finish_reason"] == "abort"


def test_token() -> None:
    port = free_port()
    with serving(*FLAGS, "--control-port", str(port), "--control-token", "secret") as running:
        controlled = Controlled(running.port, running.process)
        controlled.control_port = port
        assert controlled.control("GET", "/replicas").status == 401
        assert controlled.control("GET", "/replicas", headers={"authorization": "Bearer no"}).status == 401
        assert (
            controlled.control("GET", "/replicas", headers={"authorization": "Bearer secret"}).status == 200
        )


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"Content-Type": "text/plain"}, 415, "must be application/json, not text/plain"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "must be application/json"),
        ({"Content-Type": ""}, 415, "must be application/json, not without a content type"),
        ({"Origin": "http://evil.example"}, 403, "Origin is 'http://evil.example'"),
        ({"Origin": "null"}, 403, "Origin is 'null'"),
        ({"Host": "evil.example"}, 403, "Host is 'evil.example'"),
    ],
)
def test_a_web_page_can_do_nothing(
    server: Controlled, headers: dict[str, str], status: int, words: str
) -> None:
    reply = server.control("POST", "/replicas/all/kill", {}, headers)
    assert reply.status == status, reply.body
    assert words in reply.json()["error"]["message"]
    if "Content-Type" not in headers:
        assert server.control("POST", "/replicas/all/kill", headers=headers).status == status
        assert server.control("GET", "/replicas", headers=headers).status == status
    listed = server.control("GET", "/replicas").json()
    assert [one["listening"] for one in listed] == [True]


def test_people_may_post_nothing_and_charsets(server: Controlled) -> None:
    here = {"Host": f"localhost:{server.control_port}", "Origin": f"http://localhost:{server.control_port}"}
    assert server.control("POST", "/replicas/all/reset_prefix_cache", headers=here).status == 200
    typed = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert server.control("POST", "/replicas/all/stall", {"seconds": 0}, typed).status == 200


CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "ignore_eos": True}
ROUTES = [("/v1/completions", BODY), ("/v1/chat/completions", CHAT)]


@pytest.mark.parametrize(("path", "body"), ROUTES)
def test_answers_lose_their_shape_and_get_it_back(
    server: Controlled, path: str, body: dict[str, Any]
) -> None:
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    whole = server.request("POST", path, body).json()
    faults(server, usage="missing")
    assert whole.keys() - server.request("POST", path, body).json().keys() == {"usage"}
    assert b'"usage":{' not in server.request("POST", path, streamed).body
    faults(server, usage="malformed")
    assert server.request("POST", path, body).json()["usage"] == "none"
    assert server.request("POST", path, streamed).body.count(b'"usage":"none"') == 1
    faults(server, usage=None, truncate=True, content_type="text/html")
    reply = server.request("POST", path, body)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html")
    assert reply.headers["x-inference-pod"] == "pod-a"
    with pytest.raises(ValueError, match="line 1 column"):
        json.loads(reply.body)
    stream = server.request("POST", path, streamed)
    assert stream.headers["content-type"] == "text/html"
    assert b"[DONE]" not in stream.body
    assert server.control("DELETE", "/replicas/pod-a/faults").status == 200
    assert server.request("POST", path, body).json()["usage"] == whole["usage"]
    assert server.request("POST", path, streamed).body.endswith(b"data: [DONE]\n\n")


def test_errors_keep_their_shape(server: Controlled) -> None:
    faults(server, truncate=True, content_type="text/html", failure_injection_rate=100)
    reply = server.request("POST", "/v1/completions", BODY)
    assert reply.status != 200
    assert reply.headers["content-type"] == "application/json"
    assert json.loads(reply.body)["error"]


def test_an_answer_begins_later(server: Controlled) -> None:
    faults(server, slow_headers=0.3)
    began = time.monotonic()
    assert server.request("POST", "/v1/completions", BODY).status == 200
    assert time.monotonic() - began >= 0.3


def test_connections_are_refused_and_taken_again(server: Controlled) -> None:
    faults(server, refuse=True)
    with pytest.raises(ConnectionRefusedError):
        server.request("GET", "/health")
    (listed,) = server.control("GET", "/replicas").json()
    assert (listed["listening"], listed["faults"]["refuse"]) == (True, True)
    faults(server, refuse=False)
    assert server.request("GET", "/health").status == 200
    faults(server, refuse=True)
    assert server.control("POST", "/replicas/pod-a/restart").status == 200
    assert server.request("GET", "/health").status == 200
