"""737 random requests that real vLLM 0.33 answered: chats, completions, responses, messages, tokens, others.

The server was given a chat template; what it is follows from the prompts that it counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.masking import normalise_body
from tests.conformance.recorded import COMMON, DATA, recorded_text
from tests.simulator.server.serving import Server, serving

CASES = [
    json.loads(line)
    for name in (
        "random.jsonl",
        "random_more.jsonl",
    )  # the second: of fields and values that the first has not
    for line in (DATA / name).read_text().splitlines()
]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LIVE = ("/metrics", "/openapi.json", "/server_info")  # what these say is the state of the process
DIFFERENT = {
    "cmpl/42": "at temperature 1 a random model says tokens that are not among the likely ones",
    "cmpl/111": "the random model said special tokens, which have no text",
}
"""What cannot be equal, and why."""
BY_CHANCE = {
    "chat/873": (r'"(total|completion)_tokens": \d+', "how many tokens a text of two letters has"),
    "resp/433": (r'"output_messages": \[.*\]', "what the model said, in text and tokens"),
}
"""What the recorded model decided, and is left out."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("random")
    template = folder / "template.jinja"
    template.write_text(TEMPLATE)
    flags = ("--max-model-len", "1024", "--dataset-path", str(recorded_text(folder)))
    with serving(*COMMON, *flags, "--chat-template", str(template)) as running:
        yield running


def comparable(status: int, kind: str | None, body: str, path: str) -> tuple[Any, ...]:
    """What must be equal: of live pages the form, of a page of FastAPI's its words, of a stream no timing."""
    if path.split("?")[0] in LIVE:
        return status, kind
    if kind is not None and kind.startswith("text/html"):
        return status, kind, body.split()
    normal = normalise_body(body)
    if isinstance(normal, list):
        normal = [re.sub(r'"sequence_number":\d+', '"sequence_number":0', event) for event in normal]
        normal = [event for i, event in enumerate(normal) if not _goes_on(normal, i)]
    return status, kind, normal


def _goes_on(events: list[str], i: int) -> bool:
    """Whether a piece of text follows another: tokens that come close together share an event."""
    return i > 0 and "output_text.delta" in events[i] and events[i] == events[i - 1]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_same_answer(server: Server, case: dict[str, Any]) -> None:
    raw = None if case["body"] is None else case["body"].encode()
    reply = server.request(case["method"], case["path"], headers=case["headers"], raw=raw)
    got = comparable(reply.status, reply.headers.get("content-type"), reply.body.decode(), case["path"])
    recorded = comparable(case["status"], case["content_type"], case["answer"], case["path"])
    if case["name"] in BY_CHANCE:
        chance = BY_CHANCE[case["name"]][0]
        got, recorded = ((*answer[:2], re.sub(chance, "", answer[2])) for answer in (got, recorded))
    if case["name"] in DIFFERENT:
        assert got != recorded, f"{case['name']} is equal by now: {DIFFERENT[case['name']]} is untrue"
    else:
        assert got == recorded


def test_shared_recordings_are_the_same() -> None:
    shared = Path(__file__).parents[3] / "shared" / "data" / "vllm-0.33-golden" / "random.jsonl"
    if not shared.exists():
        pytest.skip("../shared is not here; the copies in data/ are the recordings")
    assert shared.read_text() == (DATA / "random.jsonl").read_text()
