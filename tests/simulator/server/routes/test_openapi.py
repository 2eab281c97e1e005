"""The OpenAPI document, and schemathesis' idea of what to send to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from tests.simulator.server.serving import Server, serving

RECORDED = Path(__file__).parents[5] / "shared" / "data" / "vllm-0.33-golden" / "openapi.json"
FLAGS = ("--model", "m", "--seed", "1", "--latency", "zero", "--max-model-len", "256", "--max-num-seqs", "64")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(*FLAGS) as running:
        yield running


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{server.base}/openapi.json")


def test_no_server_error(document: Any) -> None:
    """25 requests to each operation, made from the document: none ends in an error of the server."""
    for found in document.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            print_blob=True,
        )
        def ask(case: Any) -> None:
            response = case.call(timeout=30)
            case.validate_response(response, checks=[not_a_server_error])
            assert response.status_code != 422
            if case.operation.path.startswith("/v1/") and response.status_code == 200:
                assert response.content

        ask()


def test_nothing_is_left_behind(server: Server) -> None:
    assert server.metric("vllm:num_requests_running") == 0
    assert server.metric("vllm:num_requests_waiting") == 0


def test_docs(server: Server) -> None:
    assert b"/openapi.json" in server.request("GET", "/docs").body
    assert server.request("GET", "/redoc").status == 200


def test_documents_no_422(server: Server) -> None:
    found = server.request("GET", "/openapi.json").json()
    for operations in found["paths"].values():
        for operation in operations.values():
            assert "422" not in operation["responses"]


def test_fields_are_vllms(server: Server) -> None:
    """Every field of ours is vLLM's; what a simulator ignores may be missing."""
    if not RECORDED.exists():
        pytest.skip("../shared is not here: the recorded openapi.json is not copied, it has 300 kB")
    theirs = json.loads(RECORDED.read_text())["components"]["schemas"]
    ours = server.request("GET", "/openapi.json").json()["components"]["schemas"]
    for name in (
        "CompletionRequest",
        "ChatCompletionRequest",
        "TokenizeCompletionRequest",
        "DetokenizeRequest",
    ):
        known = list(theirs[name]["properties"])
        older = {"guided_json", "guided_regex", "guided_choice", "cache_hit_threshold"}  # 0.11's, llm-d's
        fields = [field for field in ours[name]["properties"] if field not in older]
        assert [field for field in fields if field not in known] == []
        assert ours[name].get("required") == theirs[name].get("required")


def test_docs_can_be_switched_off() -> None:
    with serving(*FLAGS, "--disable-fastapi-docs") as bare:
        assert bare.request("GET", "/docs").status == 404
        assert bare.request("GET", "/openapi.json").status == 404
