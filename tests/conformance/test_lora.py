"""The LoRA routes of vLLM 0.33 with runtime updating allowed, as recorded in lora.txt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.masking import Answer, normalise_body
from tests.conformance.recorded import COMMON, DATA, read_curl, recorded_text
from tests.simulator.server.serving import Server, serving

RECORDED = read_curl((DATA / "lora.txt").read_text())
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    for name in ("lora-a", "lora-b", "lora-c", "lora-d"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def answers(models: Path) -> Iterator[dict[str, Answer]]:
    """The recorded sequence, asked once: the cases build on each other."""
    flags = (
        *COMMON,
        *("--served-model-name", "tiny", "alias2", "--max-model-len", "1024", "--enable-lora"),
        *("--lora-modules", f"lora-a={models}/lora-a", f"lora-b={models}/lora-b"),
        *("--max-loras", "2", "--dataset-path", str(recorded_text(models))),
    )
    with serving(*flags, env={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}) as server:
        yield {name: ask(server, models, *case) for name, case in sequence(models).items()}


def sequence(models: Path) -> dict[str, tuple[str, Any]]:
    def load(name: str, **more: Any) -> tuple[str, Any]:
        return LOAD, {"lora_name": name, "lora_path": f"{models}/{name}", **more}

    def complete(model: str, max_tokens: int) -> tuple[str, Any]:
        prompt = [5, 6]
        return "/v1/completions", {"model": model, "prompt": prompt, "max_tokens": max_tokens}

    return {
        "models": ("/v1/models", None),
        "load_missing_path": (LOAD, {"lora_name": "x", "lora_path": str(models / "none")}),
        "load_missing_field": (LOAD, {"lora_name": "x"}),
        "load_empty": (LOAD, {"lora_name": "", "lora_path": ""}),
        "load_base_conflict": load("tiny"),
        "load_ok": load("lora-c"),
        "load_dup": load("lora-c"),
        "load_inplace": load("lora-c", load_inplace=True),
        "load_no_ct": (LOAD, b'{"lora_name":"lora-d","lora_path":"/x"}'),
        "load_d": load("lora-d"),
        "cmpl_lora": complete("lora-c", 2),
        "unload_missing": (UNLOAD, {"lora_name": "zzz"}),
        "unload_ok": (UNLOAD, {"lora_name": "lora-d"}),
        "unload_again": (UNLOAD, {"lora_name": "lora-d"}),
        "unload_empty": (UNLOAD, {"lora_name": ""}),
        "unload_nofield": (UNLOAD, {}),
        "cmpl_unloaded": complete("lora-d", 1),
        "cmpl_alias": complete("alias2", 1),
        "models_after": ("/v1/models", None),
    }


def ask(server: Server, models: Path, path: str, body: Any) -> Answer:
    if body is None:
        reply = server.request("GET", path)
    elif isinstance(body, bytes):
        reply = server.request("POST", path, raw=body)
    else:
        reply = server.request("POST", path, body)
    text = reply.body.decode().replace(f"{models}/none", "<path>").replace(str(models), "/models/loras")
    return Answer(reply.status, reply.headers, text)


@pytest.mark.parametrize("name", list(RECORDED))
def test_same_answer(answers: dict[str, Answer], name: str) -> None:
    recorded, answer = RECORDED[name], answers[name]
    assert answer.status == recorded.status
    assert answer.headers.get("content-type") == recorded.headers.get("content-type")
    assert normalise_body(answer.body) == normalise_body(recorded.body)
