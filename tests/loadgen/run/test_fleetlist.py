"""What a listing of pods tells of each."""

from __future__ import annotations

import json

import pytest

from loadgen.run.fleetlist import parse_fleet


@pytest.mark.parametrize(
    ("told", "role"),
    [
        ({"role": "prefill"}, "prefill"),
        ({"labels": {"llm-d.ai/role": "decode"}}, "decode"),
        ({"args": ["--kv-transfer-config", '{"kv_connector":"x","kv_role":"kv_producer"}']}, "prefill"),
        ({"args": ['--kv_transfer_config={"kv_role":"kv_consumer"}']}, "decode"),
        ({"args": ["--kv-transfer-config", '{"kv_role":"kv_both"}']}, None),
        ({"args": ["--kv-transfer-config", "no json"]}, None),
        ({"args": ["--kv-transfer-config"]}, None),
        ({}, None),
    ],
)
def test_what_a_pod_does_of_a_request(told: dict[str, object], role: str | None) -> None:
    listing = {"pods": [{"name": "p", "url": "http://127.0.0.1:80", **told}]}
    assert parse_fleet(json.dumps(listing).encode(), "x").roles == ({"p": role} if role else {})
