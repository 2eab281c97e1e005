"""A server of --runner pooling: vectors, scores and ranks; nothing is generated."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator.server.serving import Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--model", "m", "--runner", "pooling") as running:
        yield running


def post(server: Server, path: str, **fields: Any) -> Any:
    return server.request("POST", path, fields)


def vectors(server: Server, texts: list[str]) -> list[list[float]]:
    body = post(server, "/v1/embeddings", input=texts).json()
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    return [entry["embedding"] for entry in body["data"]]


def test_vectors_are_normal_and_equal_for_equal_texts(server: Server) -> None:
    one, same, other = vectors(server, ["a cat sat", "a cat sat", "stock prices"])
    assert one == same != other
    assert math.isclose(sum(x * x for x in one), 1, rel_tol=1e-9)
    packed = post(server, "/v1/embeddings", input="a cat sat", encoding_format="base64").json()["data"][0]
    raw = base64.b64decode(packed["embedding"])
    assert struct.unpack(f"<{len(one)}f", raw) == pytest.approx(one, abs=1e-6)
    pooled = post(server, "/pooling", input="a cat sat").json()["data"][0]
    assert (pooled["object"], pooled["data"]) == ("pooling", one)


def test_near_texts_score_higher(server: Server) -> None:
    body = post(
        server, "/score", text_1="a cat sat", text_2=["a cat sat", "a cat ran", "stock prices"]
    ).json()
    scores = [entry["score"] for entry in body["data"]]
    assert math.isclose(scores[0], 1, rel_tol=1e-9)
    assert scores == sorted(scores, reverse=True)
    ranked = post(server, "/v1/rerank", query="a cat sat", documents=["stock", "a cat ran"], top_n=1).json()
    assert [(entry["index"], entry["document"]["text"]) for entry in ranked["results"]] == [(1, "a cat ran")]
    refused = post(server, "/score", text_1=["a", "b"], text_2=["c"])
    assert (refused.status, refused.json()["error"]["message"]) == (
        400, "Input lengths must be either 1:1, 1:N or N:N")  # fmt: skip


def test_classes_have_probabilities(server: Server) -> None:
    data = post(server, "/classify", input=["a", "b"]).json()["data"]
    assert [entry["num_classes"] for entry in data] == [2, 2]
    assert all(math.isclose(sum(entry["probs"]), 1) for entry in data)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages",
                                  "/generative_scoring", "/v1/chat/completions/batch"])  # fmt: skip
def test_nothing_is_generated(server: Server, path: str) -> None:
    assert post(server, path, prompt="a").status == 404
    assert server.request("GET", path).status == 404


def test_generating_servers_have_no_vectors() -> None:
    with serving("--model", "m") as running:
        assert post(running, "/score", text_1="a", text_2="b").status == 404
        scored = post(running, "/generative_scoring", query="a", items=["b", "c"], label_token_ids=[5, 6])
        assert [0 < entry["score"] < 1 for entry in scored.json()["data"]] == [True, True]
        user = [{"role": "user", "content": "hi"}]
        batch = post(running, "/v1/chat/completions/batch", messages=[user, user], max_tokens=2).json()
        assert [choice["index"] for choice in batch["choices"]] == [0, 1]
