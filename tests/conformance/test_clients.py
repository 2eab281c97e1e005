"""Conversations of clients (openai 3.57, anthropic 2.14, litellm 1.110), as they put them on the wire.

`clients.jsonl` has one request a line and the form of an answer that the client read without complaint:
chats, tools, thoughts, streams, completions, responses, messages, embeddings, ranks, models, and errors.
`server` names the one that was asked, where it is not the plain one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conformance.recorded import DATA
from tests.simulator.server.serving import Server, serving

CASES = [json.loads(line) for line in (DATA / "clients.jsonl").read_text().splitlines()]
FLAGS = ("--model", "m", "--seed", "1", "--strict")
TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


SERVERS = {"plain": TOOLS, "reasoning": ("--reasoning-parser", "qwen3"), "pooling": ("--runner", "pooling")}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(serving(*FLAGS, *more)) for name, more in SERVERS.items()}


def form(value: Any) -> Any:
    """Keys and types, of lists the forms that there are."""
    if isinstance(value, dict):
        return {key: form(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(form(inner), sort_keys=True) for inner in value})
    return type(value).__name__


def form_of(body: str) -> Any:
    """The form of a JSON answer, or of the events of a stream in the order in which they first come."""
    if not body.startswith(("data:", "event:")):
        return form(json.loads(body))
    seen: dict[str, None] = {}
    for event in body.strip().split("\n\n"):
        name, _, data = event.rpartition("data: ")
        told = data if data == "[DONE]" else json.dumps(form(json.loads(data)), sort_keys=True)
        seen[f"{name}{told}"] = None
    return sorted(seen)


@pytest.mark.parametrize("case", CASES, ids=[f"{i} {case['path']}" for i, case in enumerate(CASES)])
def test_the_client_can_read_it(servers: dict[str, Server], case: dict[str, Any]) -> None:
    raw = case["body"].encode() or None
    server = servers[case.get("server", "plain")]
    reply = server.request(case["method"], case["path"], headers=case["headers"], raw=raw)
    assert reply.status == case["status"]
    if case["form"] is not None:
        assert form_of(reply.body.decode()) == case["form"]


def test_the_conversations_are_of_every_kind() -> None:
    paths = {case["path"] for case in CASES}
    assert {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/models"} <= paths
    assert {case["status"] for case in CASES} == {200, 400, 404}
    assert {"/v1/embeddings", "/rerank"} <= paths
    agents = {case["headers"].get("user-agent", "anthropic").split("/")[0] for case in CASES}
    assert agents == {"OpenAI", "anthropic", "litellm"}
    assert any(
        '"tools"' in case["body"] and '"stream":true' in case["body"].replace(" ", "") for case in CASES
    )
