"""The table of imitated servers: what a version has, what it differs in, and that its keys are in order."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from simulator.config.compat import COMPATS, Bodies, Compat, compat
from simulator.errors import ConfigError

NAMES = ["vllm-0.33", "vllm-0.11", "llm-d-0.7"]
ORDERS = [f.name for f in dataclasses.fields(Bodies) if f.name not in ("optional", "chunk_optional")]


def changed(new: str, old: str) -> set[str]:
    """The behaviours in which two rows differ, names and key orders apart."""
    rows = COMPATS[new], COMPATS[old]
    fields = [f.name for f in dataclasses.fields(Compat) if f.name not in ("name", "version", "bodies")]
    return {name for name in fields if getattr(rows[0], name) != getattr(rows[1], name)}


def test_the_names_there_are() -> None:
    assert list(COMPATS) == NAMES
    assert {name: row.name for name, row in COMPATS.items()} == {name: name for name in NAMES}
    assert [COMPATS[name].version for name in NAMES] == ["0.33.0", "0.11.0", "0.7.1"]
    assert all(compat(name) is COMPATS[name] for name in NAMES)


@pytest.mark.parametrize("name", ["", "vllm", "VLLM-0.33", "vllm-0.33.0", "0.33"])
def test_a_name_that_is_none_is_told_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compat(name)
    assert str(caught.value) == f"--compat {name!r} is unknown; there are vllm-0.33, vllm-0.11, llm-d-0.7"


def test_a_row_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        COMPATS["vllm-0.33"].go_json = True  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", ORDERS)
def test_an_order_of_keys_has_each_once(name: str, order: str) -> None:
    keys = getattr(COMPATS[name].bodies, order)
    assert keys
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", NAMES)
def test_what_may_be_left_out_is_a_key_somewhere(name: str) -> None:
    bodies = COMPATS[name].bodies
    inner = {"system_fingerprint", "tool_calls"}  # delta's own keys, and what 0.11's chunks never have
    known = {key for order in ORDERS for key in getattr(bodies, order)} | inner
    assert bodies.optional | bodies.chunk_optional <= known


@pytest.mark.parametrize("name", NAMES)
def test_every_server_answers_with_the_keys_that_clients_read(name: str) -> None:
    bodies = COMPATS[name].bodies
    for order in ("completion", "chat", "completion_chunk", "chat_chunk"):
        assert {"id", "object", "created", "model", "choices"} <= set(getattr(bodies, order))
    assert {"index", "text", "finish_reason"} <= set(bodies.completion_choice)
    assert {"index", "message", "finish_reason"} <= set(bodies.chat_choice)
    assert {"index", "delta", "finish_reason"} <= set(bodies.chat_chunk_choice)
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(bodies.usage)
    assert {"id", "object", "created", "owned_by", "root", "parent"} <= set(bodies.model_card)


def test_what_0_11_has_not() -> None:
    new, old = COMPATS["vllm-0.33"].bodies, COMPATS["vllm-0.11"].bodies
    assert set(new.completion) - set(old.completion) == {"ec_transfer_params", "metrics"}
    assert set(new.chat) - set(old.chat) == {"prompt_text", "ec_transfer_params", "metrics"}
    assert set(new.usage) - set(old.usage) == {"completion_tokens_details"}
    assert (new.chat_message[-1], old.chat_message[-1]) == ("reasoning", "reasoning_content")
    assert "system_fingerprint" not in old.chat_chunk


ENGINE = {"admission", "free_list", "stop_order", "async_scheduling", "prefix_stats_at_admission"}


def test_llmd_runs_on_the_older_engine() -> None:
    assert changed("vllm-0.11", "vllm-0.33") >= ENGINE
    assert not changed("llm-d-0.7", "vllm-0.11") & ENGINE


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("default_completion_tokens", (16, 16, None)),
        ("max_temperature", (2.0, None, None)),
        ("context_overflow", ("clamp", "reject", "reject-llm-d")),
        ("validation_errors", ("compact", "verbose", "go")),
        ("id_style", ("hex16", "hex32", "uuid")),
        ("queue_full", ("vllm", "vllm", "llm-d")),
        ("embeddings", ("absent", "unsupported", "served")),
        ("lora_gauge", ("epp", "0.11", "epp")),
        ("kv_event_encoding", ("map", "array", "array")),
        ("health_body", (b"", b"", b"{}")),
    ],
)
def test_where_the_servers_part(field: str, values: tuple[Any, ...]) -> None:
    assert tuple(getattr(COMPATS[name], field) for name in NAMES) == values
