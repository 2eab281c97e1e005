"""Keys, request ids and development routes of vLLM 0.33, as recorded in admin.txt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.masking import Answer, normalise_body
from tests.conformance.recorded import COMMON, DATA, read_curl, recorded_text
from tests.ports import free_port
from tests.simulator.server.serving import Server, serving

RECORDED = read_curl((DATA / "admin.txt").read_text())
KEY = {"authorization": "Bearer secret"}
PROMPT = {"model": "tiny", "prompt": "a", "max_tokens": 1}
# method, path, headers, body; in the recorded order, since the cases build on each other
SEQUENCE: dict[str, tuple[str, str, dict[str, str], object]] = {
    "noauth": ("GET", "/v1/models", {}, None),
    "noauth_badkey": ("GET", "/v1/models", {"authorization": "Bearer wrong"}, None),
    "basic_scheme": ("GET", "/v1/models", {"authorization": "Basic secret"}, None),
    "lower_bearer": ("GET", "/v1/models", {"authorization": "bearer secret"}, None),
    "tokenize_noauth": ("POST", "/tokenize", {}, {"prompt": "a"}),
    "options": ("OPTIONS", "/v1/models", {}, None),
    "xrid": ("GET", "/version", {"x-request-id": "foo"}, None),
    "is_sleeping": ("GET", "/is_sleeping", {}, None),
    "sleep": ("POST", "/sleep?level=1", {}, None),
    "is_sleeping2": ("GET", "/is_sleeping", {}, None),
    "health_sleeping": ("GET", "/health", {}, None),
    "wake": ("POST", "/wake_up", {}, None),
    "sleep_bad": ("POST", "/sleep?level=9", {}, None),
    "pause": ("POST", "/pause", {}, None),
    "is_paused": ("GET", "/is_paused", {}, None),
    "cmpl_paused": ("POST", "/v1/completions", KEY, PROMPT),
    "resume": ("POST", "/resume", {}, None),
    "server_info": ("GET", "/server_info?config_format=json", {}, None),
    "kv_event_sources": ("GET", "/kv_event_sources", {}, None),
    "weight_info": ("GET", "/weight_info", {}, None),
    "world": ("GET", "/get_world_size", {}, None),
    "load": ("GET", "/load", {}, None),
    "abort_all": ("POST", "/abort_requests", {}, {}),
}
# The body of the first is cut off in the recording, that of the second is a dump of vLLM's own configuration.
CUT = ("lower_bearer", "server_info")


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int]) -> Iterator[dict[str, Answer]]:
    folder = tmp_path_factory.mktemp("admin")
    events = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://*:{ports[0]}",
        "replay_endpoint": f"tcp://*:{ports[1]}",
        "topic": "kv@pod1@tiny",
    }
    flags = (
        *COMMON,
        *("--max-model-len", "512", "--api-key", "secret", "--enable-request-id-headers"),
        *(
            "--kv-events-config",
            json.dumps(events),
            "--enable-lora",
            "--lora-modules",
            "lora-a=/models/lora-a",
        ),
        *("--dataset-path", str(recorded_text(folder))),
    )
    with serving(*flags, env={"VLLM_SERVER_DEV_MODE": "1"}) as server:
        yield {name: ask(server, *case) for name, case in SEQUENCE.items()}


def ask(server: Server, method: str, path: str, headers: dict[str, str], body: object) -> Answer:
    reply = server.request(method, path, body, headers)
    return Answer(reply.status, reply.headers, reply.body.decode())


@pytest.mark.parametrize("name", list(SEQUENCE))
def test_same_answer(answers: dict[str, Answer], ports: tuple[int, int], name: str) -> None:
    recorded, answer = RECORDED[name], answers[name]
    assert answer.status == recorded.status
    wanted = {k: v for k, v in recorded.headers.items() if k != "x-request-id"}
    got = {k.lower(): v for k, v in answer.headers.items()}
    assert {k: got.get(k) for k in wanted} == wanted
    assert ("vary" in got) == ("vary" in wanted)
    assert len(got["x-request-id"]) == len(recorded.headers["x-request-id"])
    if name in CUT:
        return
    text = answer.body.replace(f":{ports[0]}", ":5557").replace(f":{ports[1]}", ":5558")
    assert normalise_body(text) == normalise_body(recorded.body)


def test_metrics_are_open(tmp_path: Path) -> None:
    with serving(*COMMON, "--api-key", "secret") as server:
        assert server.request("GET", "/metrics").status == 200
        assert server.request("GET", "/v1/models").status == 401
