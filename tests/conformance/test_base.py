"""159 requests that real vLLM 0.33 answered: the same answers here, but for ids, times, texts and values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.masking import Answer, normalise, read_recording
from tests.conformance.recorded import COMMON, DATA, expand, recorded_text
from tests.simulator.server.serving import Server, serving

CASES = [json.loads(line) for line in (DATA / "cases.jsonl").read_text().splitlines()]
RECORDED = read_recording((DATA / "base.txt").read_text())
_CUT = 6000  # characters of a body that recordings keep


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    said = recorded_text(tmp_path_factory.mktemp("conformance"))
    with serving(*COMMON, "--max-model-len", "1024", "--dataset-path", str(said)) as running:
        yield running


def ask(server: Server, case: dict[str, Any]) -> Answer:
    body = expand(case["body"]) if "body" in case else None
    raw = case["raw"].encode() if "raw" in case else None
    reply = server.request(case["method"], case["path"], body, case.get("headers"), raw)
    return Answer(reply.status, reply.headers, reply.body.decode()[:_CUT].strip("\n"))


def test_every_recorded_case_is_asked() -> None:
    assert {case["name"] for case in CASES} == set(RECORDED)
    assert len(CASES) == 159


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_same_answer(server: Server, case: dict[str, Any]) -> None:
    assert normalise(ask(server, case)) == normalise(RECORDED[case["name"]])


def test_shared_capture_is_the_same(server: Server, tmp_path: Path) -> None:
    """The copies here are still what ../shared holds."""
    shared = Path(__file__).parents[3] / "shared" / "data" / "vllm-0.33-golden" / "base.txt"
    if not shared.exists():
        pytest.skip("../shared is not here; the copies in data/ are the recordings")
    assert read_recording(shared.read_text()) == RECORDED
