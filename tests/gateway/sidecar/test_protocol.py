"""The two bodies that the sidecar makes of one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.sidecar.protocol import decode_body, prefill_body, read_body

ASKED = {
    "do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None, "remote_block_ids": None,
    "remote_host": None, "remote_port": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "made"),
    [
        (
            b"/v1/completions",
            {"prompt": "x", "max_tokens": 9, "stream": True, "stream_options": {"include_usage": True}},
            {"prompt": "x", "max_tokens": 1, "max_completion_tokens": 1, "min_tokens": 1, "stream": False},
        ),
        (b"/v1/responses", {"input": "x"}, {"input": "x", "max_output_tokens": 1, "stream": False}),
        (
            b"/inference/v1/generate",
            {"token_ids": [1], "sampling_params": {"top_k": 2}},
            {
                "token_ids": [1],
                "sampling_params": {"top_k": 2, "max_tokens": 1, "min_tokens": 1},
                "stream": False,
            },
        ),
    ],
)
def test_the_prefill_is_asked_for_one_token(path: bytes, body: dict[str, Any], made: dict[str, Any]) -> None:
    before = json.dumps(body)
    assert json.loads(prefill_body(body, path, "nixlv2")) == {**made, "kv_transfer_params": ASKED}
    assert json.dumps(body) == before


def test_the_decode_is_the_request_with_what_the_prefill_answered() -> None:
    body = {"prompt": "x", "stream": True, "kv_transfer_params": {"mine": 1}}
    told = {"kv_transfer_params": {"remote_block_ids": [1, 2]}}
    assert json.loads(decode_body(body, told, "nixlv2")) == {**body, **told}
    assert json.loads(decode_body(body, {}, "nixlv2")) == {**body, "kv_transfer_params": None}


def test_through_shared_storage_nothing_is_handed_over() -> None:
    body = {"prompt": "x", "max_tokens": 7}
    made = {"prompt": "x", "max_tokens": 1, "max_completion_tokens": 1, "cache_hit_threshold": 0}
    assert json.loads(prefill_body(body, b"/v1/completions", "shared-storage")) == made
    assert json.loads(decode_body(body, {"kv_transfer_params": {}}, "lmcache")) == {
        **body,
        "cache_hit_threshold": 0,
    }


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a": "\xff"}', b"[" * 100_000])
def test_bodies_that_are_no_objects(raw: bytes) -> None:
    assert read_body(raw) is None
