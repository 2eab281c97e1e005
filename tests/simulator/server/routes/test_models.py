"""Models, tokens, embeddings and adapters: exact answers, in each version's words."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.server.pods import Answer, Pod, pod

VERSIONS = ("vllm-0.33", "vllm-0.11", "llm-d-0.7")
RUNTIME = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
ADAPTERS = ("--enable-lora", "--lora-modules", "a=/adapters/a")


def test_model_cards() -> None:
    with pod(
        "--model", "/models/big", "--served-model-name", "m", "alias", "--max-model-len", "99", *ADAPTERS
    ) as one:
        listed = one.get("/v1/models").json()
        cards = listed["data"]
        assert listed["object"] == "list"
        told = [(c["id"], c["root"], c["parent"], c["max_model_len"]) for c in cards]
        assert told == [
            ("m", "/models/big", None, 99),
            ("alias", "/models/big", None, 99),
            ("a", "/adapters/a", "m", None),
        ]
        assert list(cards[0]) == [
            "id",
            "object",
            "created",
            "owned_by",
            "root",
            "parent",
            "max_model_len",
            "permission",
        ]
        permission = cards[0]["permission"][0]
        assert permission["id"].startswith("modelperm-")
        assert (permission["allow_sampling"], permission["allow_fine_tuning"]) == (True, False)


def test_llmd_has_smaller_cards() -> None:
    names = ("--model", "/models/big", "--served-model-name", "m")
    with pod("--compat", "llm-d-0.7", *names, *ADAPTERS) as one:
        cards = one.get("/v1/models").json()["data"]
        assert [(c["id"], c["root"], c["parent"]) for c in cards] == [("m", "m", None), ("a", "a", "m")]
        assert list(cards[0]) == ["id", "object", "created", "owned_by", "root", "parent"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Pod]:
    with pod() as one:
        yield one


@given(st.text(max_size=60))
@settings(max_examples=40, deadline=None)
def test_detokenize_undoes_tokenize(shared: Pod, text: str) -> None:
    tokens = shared.post("/tokenize", {"prompt": text, "return_token_strs": True}).json()
    assert tokens["count"] == len(tokens["tokens"]) == len(tokens["token_strs"])
    assert shared.post("/detokenize", {"tokens": tokens["tokens"]}).json() == {"prompt": text}


def test_tokens_of_texts_and_conversations() -> None:
    with pod("--max-model-len", "500") as one:
        assert one.post("/tokenize", {"model": "m", "prompt": "a b"}).json() == {
            "count": 2,
            "max_model_len": 500,
            "tokens": one.replica.tokenizer.encode("a b"),
            "token_strs": None,
        }
        talk = [{"role": "user", "content": "a b"}]
        told = one.post("/tokenize", {"messages": talk, "return_token_strs": True})
        assert (
            "".join(told.json()["token_strs"]) == "<|im_start|>user\na b<|im_end|>\n<|im_start|>assistant\n"
        )
        assert one.post("/detokenize", {"tokens": [10**9]}).json() == {"prompt": ""}


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("vllm-0.33", {"prompt": "a", "messages": []}, 200),
        ("llm-d-0.7", {"prompt": "a", "messages": []}, 400),
        ("vllm-0.33", {"prompt": "a", "model": "x"}, 404),
        ("vllm-0.33", {"prompt": "a", "return_token_strs": "maybe"}, 400),
        ("vllm-0.33", {}, 400),
        ("vllm-0.33", {"prompt": "a", "add_special_tokens": None}, 400),
        ("llm-d-0.7", {"prompt": "a", "add_special_tokens": None}, 200),
    ],
)
def test_bodies_of_tokenize(version: str, body: dict[str, Any], status: int) -> None:
    with pod("--compat", version) as one:
        assert one.post("/tokenize", body).status == status


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("vllm-0.33", 404, ""),
        ("vllm-0.11", 400, "The model does not support Embeddings API"),
        ("llm-d-0.7", 200, ""),
    ],
)
def test_who_embeds(version: str, status: int, words: str) -> None:
    with pod("--compat", version) as one:
        answer = one.post("/v1/embeddings", {"model": "m", "input": "a b"})
        assert answer.status == status
        if words:
            assert answer.message == words


def embed(one: Pod, given: Any, **fields: Any) -> Answer:
    return one.post("/v1/embeddings", {"model": "m", "input": given, **fields})


def test_vectors_depend_on_the_tokens_alone() -> None:
    with pod("--compat", "llm-d-0.7", "--pod-name", "p") as one:
        body = embed(one, ["a b", "c"], dimensions=4).json()
        assert [item["index"] for item in body["data"]] == [0, 1]
        assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        ids = one.replica.tokenizer.encode("a b")
        assert embed(one, ids, dimensions=4).json()["data"][0]["embedding"] == body["data"][0]["embedding"]
        vector = embed(one, [512, 1023], dimensions=4).json()["data"][0]["embedding"]
        assert vector == [0.0, 2 * 1023 / 1024 - 1, 2 * (512 % 256) / 256 - 1, 2 * (1023 % 256) / 256 - 1]
        packed = embed(one, [512, 1023], dimensions=4, encoding_format="base64").json()["data"][0][
            "embedding"
        ]
        assert list(struct.unpack("<4f", base64.b64decode(packed))) == pytest.approx(vector)
        assert embed(one, "a").headers["x-inference-pod"] == "p"
        assert (
            len(embed(one, "a").json()["data"][0]["embedding"])
            == one.replica.config.default_embedding_dimensions
        )


@pytest.mark.parametrize(
    ("given_", "fields", "param"),
    [
        ("", {}, "input"),
        ([], {}, "input"),
        (["a", ""], {}, "input"),
        ([[]], {}, "input"),
        ("a", {"dimensions": 0}, "dimensions"),
        ("a", {"dimensions": 1 << 21}, "dimensions"),
    ],
)
def test_embeddings_of_nothing(given_: Any, fields: dict[str, Any], param: str) -> None:
    with pod("--compat", "llm-d-0.7") as one:
        answer = embed(one, given_, **fields)
        assert (answer.status, answer.error["param"]) == (400, param)


def load(one: Pod, name: str = "b", path: str = "/b", **more: Any) -> Answer:
    return one.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path, **more})


def unload(one: Pod, name: str = "b", **more: Any) -> Answer:
    return one.post("/v1/unload_lora_adapter", {"lora_name": name, **more})


def test_adapters_come_and_go() -> None:
    with pod(*ADAPTERS, env=RUNTIME) as one:
        assert load(one).text == "Success: LoRA adapter 'b' added successfully."
        assert [card["id"] for card in one.get("/v1/models").json()["data"]] == ["m", "a", "b"]
        answer = one.post("/v1/completions", {"model": "b", "prompt": "x", "max_tokens": 1})
        assert (answer.status, answer.json()["model"]) == (200, "b")
        assert unload(one).text == "Success: LoRA adapter 'b' removed successfully."
        assert one.post("/v1/completions", {"model": "b", "prompt": "x"}).status == 404
        ids = [one.replica.loras.add(name, "/x").request.int_id for name in ("b", "c", "a")]
        assert ids == [3, 4, 1]  # never an id twice, and a known name keeps its own


@pytest.mark.parametrize(
    ("version", "name", "path", "more", "kind", "words"),
    [
        ("vllm-0.33", "", "/b", {}, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided."),
        ("vllm-0.33", "b", "", {}, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided."),
        (
            "vllm-0.33",
            "m",
            "/b",
            {},
            "InvalidUserInput",
            "The lora adapter 'm' conflicts with a served base model.",
        ),
        (
            "vllm-0.33",
            "a",
            "/a",
            {},
            "InvalidUserInput",
            "The lora adapter 'a' has already been loaded. If you want to load the adapter in place, set "
            "'load_inplace' to True.",
        ),
        ("vllm-0.11", "a", "/a", {}, "BadRequestError", "The lora adapter 'a' has already been loaded."),
        (
            "vllm-0.11",
            "a",
            "/a",
            {"load_inplace": True},
            "BadRequestError",
            "The lora adapter 'a' has already been loaded.",
        ),
        (
            "llm-d-0.7",
            "",
            "/a",
            {},
            "BadRequestError",
            "'lora_name' must be provided to load a LoRA adapter.",
        ),
    ],
)
def test_adapters_that_are_not_taken(
    version: str, name: str, path: str, more: dict[str, Any], kind: str, words: str
) -> None:
    with pod("--compat", version, *ADAPTERS, env=RUNTIME) as one:
        answer = load(one, name, path, **more)
        assert (answer.status, answer.error["type"], answer.message) == (400, kind, words)


def test_adapters_in_place_and_strict_paths(tmp_path: Path) -> None:
    with pod(*ADAPTERS, env=RUNTIME) as one:
        assert load(one, "a", "/new", load_inplace=True).status == 200
        entry = one.replica.loras.get("a")
        assert entry is not None
        assert (entry.request.path, entry.request.int_id) == ("/new", 1)
    with pod(*ADAPTERS, "--strict", env=RUNTIME) as one:
        missing = load(one, "b", str(tmp_path / "none"))
        assert (missing.status, missing.error["type"]) == (404, "NotFoundError")
        assert missing.message == f"Loading lora b failed: No adapter found for {tmp_path / 'none'}"
        assert load(one, "b", str(tmp_path)).status == 200


def test_llmd_takes_adapters_without_a_path_and_a_word() -> None:
    with pod("--compat", "llm-d-0.7", *ADAPTERS) as one:
        assert one.post("/v1/load_lora_adapter", {"lora_name": "b"}).body == b""
        assert load(one, "a").status == 200
        assert unload(one, "nobody").status == 200
        assert unload(one, "b").body == b""


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("nobody", 404, "The lora adapter 'nobody' cannot be found."),
        ("", 400, "'lora_name' needs to be provided to unload a LoRA adapter."),
    ],
)
def test_adapters_that_are_not_there(name: str, status: int, words: str) -> None:
    with pod(*ADAPTERS, env=RUNTIME) as one:
        answer = unload(one, name)
        assert (answer.status, answer.message) == (status, words)


def test_adapters_need_the_flag_and_the_environment() -> None:
    with pod(*ADAPTERS, "--strict") as one:
        assert (load(one).status, unload(one).status) == (404, 404)
    with pod("--no-enable-lora", env=RUNTIME) as one:
        assert load(one).message == "LoRA is not enabled. Use --enable-lora to enable LoRA."
