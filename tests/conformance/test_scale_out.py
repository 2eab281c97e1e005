"""The scale-out routes beside what real vLLM 0.33 answered with --enable-scale-out, and without."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.masking import normalise_body
from tests.conformance.recorded import COMMON, DATA, recorded_text
from tests.conformance.test_random import TEMPLATE
from tests.simulator.server.pods import pod
from tests.simulator.server.serving import Server, serving

CASES = [json.loads(line) for line in (DATA / "scale_out.jsonl").read_text().splitlines()]
# What a model says, by id, and the ids that nobody gave.
SAID = re.compile(r'("(?:token_id|prev_tokens)": ?)(?:\d+|\[[^\]]*\])')
RANDOM_ID = re.compile(r'("id": ?")[0-9a-f]{16}"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("scale-out")
    template = folder / "template.jinja"
    template.write_text(TEMPLATE)
    flags = ("--max-model-len", "1024", "--max-num-seqs", "128", "--dataset-path", str(recorded_text(folder)))
    more = ("--chat-template", str(template), "--enable-scale-out", "--enable-tokenizer-info-endpoint")
    with serving(*COMMON, *flags, *more) as running:
        yield running


def comparable(body: str) -> Any:
    """A body without what a model decides: tokens that come close together may share an event."""
    normal = normalise_body(body)
    if isinstance(normal, list):
        return [SAID.sub(r"\1X", event) for event in normal if '"finish_reason":null' not in event]
    return RANDOM_ID.sub(r"\1X", SAID.sub(r"\1X", normal))


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case['path']}" for i, case in enumerate(CASES)])
def test_same_answer(server: Server, case: dict[str, Any]) -> None:
    reply = server.request(
        "POST", case["path"], headers={"content-type": "application/json"}, raw=case["body"].encode()
    )
    got, recorded = reply.body.decode(), case["answer"]
    assert reply.status == case["status"], got
    if '"stream":true,"output_mode":"text"' in case["body"]:  # two tokens came as one there
        got, recorded = (
            re.sub(r'"token_ids":\[[^\]]*\]', '"token_ids":[]', text) for text in (got, recorded)
        )
    assert comparable(got) == comparable(recorded)


def test_the_tokenizer_is_told(server: Server) -> None:
    told = server.request("GET", "/tokenizer_info").json()
    assert (told["tokenizer_class"], told["eos_token"], told["chat_template"]) == (
        "TokenizerPoolCachedTokenizersBackend",
        "<|end|>",
        TEMPLATE,
    )


@pytest.mark.parametrize("path", sorted({case["path"] for case in CASES}))
def test_without_the_flag(path: str) -> None:
    with pod() as one:
        reply = one.post(path, {})
        assert (reply.status, reply.json()["error"]["type"]) == (403, "PermissionDeniedError")
        assert one.get("/tokenizer_info").status == 404
