"""A replica as an object: its adapters, readiness, metrics, ids, seeds, and the death of its engine."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from simulator.server.prepared import ordered
from simulator.server.replica import LoRARegistry
from tests.simulator.server.pods import Answer, Pod, ask, pod
from tests.simulator.steps import FLAT_20_MS


def test_adapters_keep_their_number_and_place() -> None:
    known = LoRARegistry()
    for name in ("a", "b", "c"):
        known.add(name, f"/{name}", "base")
    assert [(e.request.name, e.request.int_id) for e in known] == [("a", 1), ("b", 2), ("c", 3)]
    assert known.add("b", "/new").request.int_id == 2
    assert [e.request.path for e in known] == ["/a", "/new", "/c"]
    removed = known.remove("b")
    assert removed is not None
    assert (removed.request.int_id, "b" in known, len(known)) == (2, False, 2)
    assert known.remove("b") is None
    assert known.get("b") is None
    assert known.add("b", "/b").request.int_id == 4


def test_keys_in_order() -> None:
    values = {"b": 2, "c": None, "x": 9}
    assert list(ordered(("a", "b", "c"), values).items()) == [("a", None), ("b", 2), ("c", None)]
    assert ordered(("a", "b", "c"), values, frozenset("abc")) == {"b": 2, "c": None}


@pytest.mark.parametrize(
    ("version", "form"),
    [
        ("vllm-0.33", r"[89ab][0-9a-f]{15}"),
        ("vllm-0.11", r"[0-9a-f]{32}"),
        ("llm-d-0.7", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ],
)
def test_ids(version: str, form: str) -> None:
    with pod("--compat", version) as one:
        made = {one.replica.prepared.new_id() for _ in range(200)}
        assert len(made) == 200
        assert all(re.fullmatch(form, each) for each in made)


def test_fingerprints_follow_the_configuration() -> None:
    def fingerprint(*flags: str) -> str | None:
        with pod(*flags) as one:
            return one.replica.prepared.fingerprint

    usual = fingerprint()
    assert usual is not None
    assert re.fullmatch(r"vllm-0\.33\.0-[0-9a-f]{8}", usual)
    assert fingerprint() == usual
    assert fingerprint("--max-num-seqs", "3") != usual
    assert fingerprint("--compat", "vllm-0.11") is None


def test_invented_content_comes_from_the_requests_seed_or_the_replicas() -> None:
    with pod("--seed", "5") as one, pod("--seed", "5") as twin, pod("--seed", "6") as other:
        pods = [each.replica.prepared for each in (one, twin, other)]
        assert len({each.random_for(9).random() for each in pods}) == 1
        assert pods[0].random_for(9).random() == pods[0].random_for(9).random()
        mine = [[each.random_for(None).random() for _ in range(3)] for each in pods]
        assert mine[0] == mine[1] != mine[2]
        assert len(set(mine[0])) == 3


def test_json_has_gos_escapes_where_a_go_server_is_imitated() -> None:
    for version, data in (
        ("vllm-0.33", b'{"a":"<&>\xc3\xa4"}'),
        ("llm-d-0.7", b'{"a":"\\u003c\\u0026\\u003e\xc3\xa4"}'),
    ):
        with pod("--compat", version) as one:
            assert one.replica.prepared.encode({"a": "<&>\u00e4"}) == data


PLACED = ("--pod-name", "p-0", "--pod-namespace", "ns")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "x", "max_tokens": 1}),
        ("/v1/completions", {"prompt": "x", "max_tokens": 1, "stream": True}),
        ("/v1/completions", {"prompt": "x", "temperature": -1}),
        ("/v1/chat/completions", {"messages": "wrong"}),
        ("/v1/responses", {"input": "x", "model": "nobody"}),
        ("/v1/responses", {"input": "x", "max_output_tokens": 1}),
        ("/v1/messages", {"model": "m"}),
        ("/v1/messages", {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}),
        ("/v1/embeddings", {"input": "x"}),
    ],
)
def test_every_answer_of_a_generating_route_says_who_gave_it(path: str, body: dict[str, Any]) -> None:
    with pod(*PLACED) as one:
        for answer in (one.post(path, body), one.request("PUT", path)):
            told = [answer.headers.get(f"x-inference-{what}") for what in ("pod", "port", "namespace")]
            assert told == ["p-0", "8000", "ns"]
            assert answer.headers["vary"] == "Origin"
        assert "x-inference-pod" not in one.get("/health").headers


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses", "/v1/models", "/metrics", "/nowhere"])
def test_keys_and_request_ids(path: str) -> None:
    flags = ("--api-key", "k", "--enable-request-id-headers", *PLACED)
    with pod(*flags) as one:
        bare = one.post(path, {"prompt": "x"})
        if path.startswith("/v1"):
            assert (bare.status, bare.json()) == (401, {"error": "Unauthorized"})
        assert re.fullmatch(r"[0-9a-f]{32}", bare.headers["x-request-id"])
        with_key = one.post(path, {"prompt": "x"}, authorization="Bearer k", x_request_id="mine")
        assert with_key.status != 401
        assert with_key.headers["x-request-id"] == "mine"


def test_a_root_path_is_taken_off() -> None:
    with pod("--root-path", "/proxy") as one:
        for path in ("/proxy/v1/models", "/v1/models", "/proxy/health"):
            assert one.get(path).status == 200
        assert one.post("/proxy/v1/completions", {"prompt": "x", "max_tokens": 1}).status == 200


def dying(one: Pod, stream: bool) -> tuple[Answer, Answer]:
    """What a request in flight reads when the engine dies, and what the next one does."""

    async def main() -> tuple[Answer, Answer]:
        body = {"model": "m", "prompt": "x", "max_tokens": 3000, "ignore_eos": True, "stream": stream}
        task = asyncio.create_task(one.asking("POST", "/v1/completions", body))
        while not one.replica.engine.stats.num_requests_running:
            await asyncio.sleep(0)

        def broken(*_: Any) -> Any:
            raise RuntimeError("a bug of the engine")

        one.replica.engine.fast_forward = broken  # type: ignore[method-assign]
        first = await task
        return first, await ask(one.replica, "POST", "/v1/completions", b'{"prompt": "x"}', {})

    return one.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_dead_engine_is_500_and_unhealthy(stream: bool) -> None:
    with pod("--latency", "step", "--step-model", FLAT_20_MS) as one:
        first, second = dying(one, stream)
        words = "The server had an error while processing your request."
        error = first.chunks[-1]["error"] if stream else first.error
        assert (error["message"], error["type"], error["code"]) == (words, "InternalServerError", 500)
        assert (second.status, second.message) == (500, words)
        assert one.get("/health").status == 503
        assert one.replica.prepared.active == set()
