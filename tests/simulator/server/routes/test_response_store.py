"""Stored responses: asked for again, in the background, cancelled, resumed, and gone on from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from simulator.server.answers.kept.store import MOST, ResponseStore, Stored
from tests.simulator.server.serving import Server, serving
from tests.waiting import until

FEW: dict[str, Any] = {"input": "hello", "max_output_tokens": 3, "ignore_eos": True}
LONG: dict[str, Any] = {"input": "hello", "max_output_tokens": 4000, "ignore_eos": True}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    flags = ("--model", "m", "--latency", "constant", "--inter-token-latency", "2ms")
    with serving(*flags, env={"VLLM_ENABLE_RESPONSES_API_STORE": "1"}) as running:
        yield running


def ask(server: Server, **fields: Any) -> Any:
    return server.request("POST", "/v1/responses", {**FEW, **fields})


def status(server: Server, response_id: str) -> str:
    return str(server.request("GET", f"/v1/responses/{response_id}").json()["status"])


def events(body: bytes) -> list[tuple[int, str]]:
    found = [json.loads(part.partition(b"\ndata: ")[2]) for part in body.strip().split(b"\n\n")]
    return [(event["sequence_number"], event["type"]) for event in found]


def test_what_was_answered_is_kept(server: Server) -> None:
    sent = ask(server).json()
    assert server.request("GET", f"/v1/responses/{sent['id']}").json() == sent
    unstored = ask(server, store=False).json()
    assert server.request("GET", f"/v1/responses/{unstored['id']}").status == 404
    refused = server.request("POST", f"/v1/responses/{sent['id']}/cancel")
    assert refused.json()["error"]["message"] == "Cannot cancel a synchronous response."


def test_a_stream_is_kept_too(server: Server) -> None:
    body = ask(server, stream=True, request_id="resp_stream").body
    assert events(body)[-1][1] == "response.incomplete"
    assert status(server, "resp_stream") == "incomplete"


def test_in_the_background(server: Server) -> None:
    queued = ask(server, background=True).json()
    assert (queued["status"], queued["output"], queued["usage"]) == ("queued", [], None)
    until(lambda: status(server, queued["id"]) == "incomplete")
    done = server.request("GET", f"/v1/responses/{queued['id']}").json()
    assert done["usage"]["output_tokens"] == 3
    assert done["background"] is True


def test_a_background_stream_can_be_resumed(server: Server) -> None:
    whole = events(ask(server, background=True, stream=True, request_id="resp_resumed").body)
    assert [number for number, _ in whole] == list(range(len(whole)))
    path = "/v1/responses/resp_resumed?stream=true"
    assert events(server.request("GET", path).body) == whole
    assert events(server.request("GET", f"{path}&starting_after=3").body) == whole[4:]
    unary = ask(server, background=True).json()["id"]
    assert server.request("GET", f"/v1/responses/{unary}?stream=true").status == 400


def test_cancelled_work_ends(server: Server) -> None:
    response_id = server.request("POST", "/v1/responses", {**LONG, "background": True}).json()["id"]
    assert server.request("POST", f"/v1/responses/{response_id}/cancel").json()["status"] == "cancelled"
    until(lambda: server.in_flight == 0)
    assert status(server, response_id) == "cancelled"


def test_the_conversation_goes_on(server: Server) -> None:
    first = ask(server).json()
    alone = ask(server, input="again").json()["usage"]["input_tokens"]
    further = ask(server, input="again", previous_response_id=first["id"]).json()
    assert further["previous_response_id"] == first["id"]
    assert further["usage"]["input_tokens"] > alone + first["usage"]["output_tokens"]
    assert ask(server, previous_response_id="resp_none").status == 404


def test_the_oldest_that_is_finished_is_forgotten() -> None:
    store = ResponseStore()
    working = store.put(Stored({"id": "r", "status": "queued"}, [], cancel=lambda: None))
    for i in range(MOST):
        store.put(Stored({"id": str(i), "status": "completed"}, []))
    assert store.get("r") is working
    assert store.get("0") is None
    assert store.get(str(MOST - 1)) is not None
