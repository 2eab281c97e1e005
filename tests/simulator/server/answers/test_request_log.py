"""--enable-log-requests: one line for each request that has run, and what it may hold."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.simulator.server.answers.test_completion import echoing


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fields of each `request` event so far."""
    monkeypatch.setattr(logging.getLogger("simfleet"), "propagate", True)
    caplog.set_level(logging.INFO, "simfleet")
    return lambda: [r.fields for r in caplog.records if r.getMessage() == "request"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("stream", [False, True])
def test_a_line_says_what_was_asked_and_what_came_of_it(lines: Any, stream: bool) -> None:
    with echoing("vllm-0.33", "--enable-log-requests") as one:
        answer = one.complete(["a b", "c"], max_tokens=2, n=2, stream=stream)
        (line,) = lines()
        assert line.pop("seconds") >= 0
        identifier = answer.chunks[0]["id"] if stream else answer.json()["id"]
        assert line == {
            "id": identifier, "model": "m", "stream": stream, "status": 200, "prompt_tokens": 3,
            "output_tokens": 8, "cached_tokens": 0, "finish": "length,length,stop,stop",
        }  # fmt: skip


def test_outputs_are_logged_on_request_only(lines: Any) -> None:
    with echoing("vllm-0.33", "--enable-log-requests", "--enable-log-outputs") as one:
        one.chat("a b", max_tokens=2)
        assert lines()[0]["output"] == ["a b"]


def test_refused_requests_have_not_run(lines: Any) -> None:
    with echoing("vllm-0.33", "--enable-log-requests") as one:
        assert one.complete("a", temperature=-1).status == 400
        assert one.post("/v1/completions", {"model": "x", "prompt": "a"}).status == 404
        assert lines() == []
    with echoing() as one:
        one.complete("a")
        assert lines() == []
