"""kv_exp.txt: the KV events of vLLM 0.33 for a sequence of requests, hashes included, read back by replay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.recorded import COMMON, recorded_text
from tests.ports import free_port
from tests.simulator.server.serving import Server, serving

zmq = pytest.importorskip("zmq", reason="pyzmq is the extra kv-events")
msgpack = pytest.importorskip("msgpack", reason="msgpack is the extra kv-events")

# What the recording holds; hashes of generated blocks follow from the text and are left out.
PROMPT_BLOCKS = [18168584000289579919, 13629943782531060781]
EVICTING = [
    [3315560132120917989, 13908545240845832717, 10994235189161249308, 3263493294895010713],
    [14605259146183938233, 18301690060466323233, 5550095668351863314, 11703923879577768314],
    [16473400217938365751, 14972063178356245637, 2364885461196847282, 2346315728023920583],
    [806228042746723350, 14128058050613806605, 16366853373328015017, 5338977704894427942],
]


def read_replay(port: int) -> list[tuple[bytes, int, Any]]:
    """Everything that was published, by vLLM's replay protocol."""
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    socket.connect(f"tcp://127.0.0.1:{port}")
    found = []
    try:
        socket.send_multipart([b"", (0).to_bytes(8, "big")])
        while True:
            _, topic, number, payload = socket.recv_multipart()
            if not payload:
                return found
            found.append((topic, int.from_bytes(number, "big"), msgpack.unpackb(payload)))
    finally:
        socket.close()


def ask(server: Server, prompt: list[int], max_tokens: int, **more: Any) -> dict[str, Any]:
    body = {"model": "tiny", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, **more}
    answer: dict[str, Any] = server.request("POST", "/v1/completions", body).json()
    return answer


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("kv")
    publish, replay = free_port(), free_port()
    config = {
        "enable_kv_cache_events": True,
        "endpoint": f"tcp://127.0.0.1:{publish}",
        "replay_endpoint": f"tcp://127.0.0.1:{replay}",
        "topic": "kv@pod1@tiny",
    }
    (folder / "lora-a").mkdir()
    flags = (
        *COMMON,
        *("--max-model-len", "512", "--block-size", "32", "--num-gpu-blocks-override", "21"),
        *("--kv-events-config", json.dumps(config), "--dataset-path", str(recorded_text(folder))),
        *(
            "--enable-prompt-tokens-details",
            "--enable-per-request-metrics",
            "--prefix-caching-hash-algo",
            "sha256_cbor",
        ),
        *("--lora-modules", f"lora-a={folder}/lora-a", "--no-async-scheduling"),
    )
    with serving(*flags, env={"VLLM_SERVER_DEV_MODE": "1", "PYTHONHASHSEED": "42"}) as server:
        prompt70, prompt64 = list(range(100, 170)), list(range(100, 164))
        answers = [ask(server, prompt70, 2), ask(server, prompt70, 2), ask(server, prompt64, 34)]
        answers.append(ask(server, list(range(100, 140)), 1, model="lora-a", cache_salt="s1"))
        answers += [ask(server, [500 + i] * 128, 2) for i in range(4)]
        events = read_replay(replay)
        reset = server.request("POST", "/reset_prefix_cache").json()
        yield {"answers": answers, "events": events, "reset": reset}


def test_cached_tokens(outcome: dict[str, Any]) -> None:
    details = [answer["usage"]["prompt_tokens_details"] for answer in outcome["answers"]]
    assert [detail["cached_tokens"] for detail in details[:4]] == [0, 64, 32, 0]
    assert list(details[0]) == ["cached_tokens", "created_cache_tokens", "multimodal_tokens"]


def test_per_request_metrics(outcome: dict[str, Any]) -> None:
    metrics = [answer["metrics"] for answer in outcome["answers"]]
    assert list(metrics[0]) == [
        *(
            "time_to_first_token_ms",
            "generation_time_ms",
            "queue_time_ms",
            "mean_itl_ms",
            "tokens_per_second",
        ),
        "speculative_decoding",
    ]
    assert metrics[0]["mean_itl_ms"] == metrics[0]["generation_time_ms"]
    assert metrics[3]["mean_itl_ms"] is None  # one token


def test_frames(outcome: dict[str, Any]) -> None:
    assert [number for _, number, _ in outcome["events"]] == list(range(len(outcome["events"])))
    assert {topic for topic, _, _ in outcome["events"]} == {b"kv@pod1@tiny"}
    for _, _, (timestamp, _events, rank) in outcome["events"]:
        assert timestamp > 1.7e9
        assert rank == 0


def test_events(outcome: dict[str, Any]) -> None:
    batches = [events for _, _, (_, events, _) in outcome["events"]]
    stored = batches[0][-1]
    assert stored == {
        "type": "BlockStored",
        "block_hashes": PROMPT_BLOCKS,
        "parent_block_hash": None,
        "token_ids": list(range(100, 164)),
        "block_size": 32,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
        "extra_keys": [None, None],
        "group_idx": 0,
        "kv_cache_spec_kind": "full_attention",
    }
    again = batches[1][0]
    assert (again["block_hashes"], again["parent_block_hash"]) == (PROMPT_BLOCKS[1:], PROMPT_BLOCKS[0])
    generated = batches[2][0]
    assert generated["parent_block_hash"] == PROMPT_BLOCKS[1]
    assert len(generated["token_ids"]) == 32
    lora = batches[3][0]
    assert (lora["lora_id"], lora["lora_name"], lora["extra_keys"]) == (1, "lora-a", [["lora-a", "s1"]])
    assert [batch[-1]["block_hashes"] for batch in batches[4:8]] == EVICTING


def test_evictions(outcome: dict[str, Any]) -> None:
    """The fourth prompt pushes out a duplicate of the second block, its next token a generated one."""
    batches = [events for _, _, (_, events, _) in outcome["events"]]
    removed = {"type": "BlockRemoved", "block_hashes": PROMPT_BLOCKS[1:], "medium": "GPU", "group_idx": 0}
    assert batches[7][0] == removed
    assert [event["type"] for event in batches[8]] == ["BlockRemoved"]
    assert batches[8][0]["block_hashes"] == batches[2][0]["block_hashes"]
    assert len(batches) == 9


def test_reset(outcome: dict[str, Any]) -> None:
    assert outcome["reset"] == {"success": True}
