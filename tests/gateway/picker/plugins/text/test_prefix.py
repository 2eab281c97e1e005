"""Prefix hashes against an independent XXH64, the index, and the herd."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from typing import Any

import pytest
import xxhash

from gateway.picker.compat import GIE_V12, GIE_V15, LLMD_V010, Compat
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.base import PluginContext
from gateway.picker.plugins.prefix_plugins import prefix_settings
from gateway.picker.plugins.text.assets import Estimate, size_of_base64, size_of_url
from gateway.picker.plugins.text.prefix import (
    PrefixIndex,
    PrefixSettings,
    PrefixTracker,
    chain_chars,
    chain_tokens,
)
from gateway.picker.plugins.text.prompts import messages_json, prompt_bytes, pseudo_tokens
from gateway.picker.pool.inflight import InflightLoad
from gateway.picker.request import InferenceRequest, RequestBody
from tests.gateway.picker.factories import candidate, request

HEADER = b"IHDR" + struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)
PNG = (
    "data:image/png;base64,"
    + base64.b64encode(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + HEADER + struct.pack(">I", zlib.crc32(HEADER))
    ).decode()
)
MASK = 2**64 - 1
P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def rotl(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & MASK


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0, written from its specification."""

    def round_(acc: int, lane: int) -> int:
        return rotl((acc + lane * P2) & MASK, 31) * P1 & MASK

    at = 0
    if len(data) >= 32:
        accs = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= len(data):
            lanes = struct.unpack_from("<4Q", data, at)
            accs = [round_(acc, lane) for acc, lane in zip(accs, lanes, strict=True)]
            at += 32
        h = sum(rotl(acc, by) for acc, by in zip(accs, (1, 7, 12, 18), strict=True)) & MASK
        for acc in accs:
            h = ((h ^ round_(0, acc)) * P1 + P4) & MASK
    else:
        h = P5
    h = (h + len(data)) & MASK
    while at + 8 <= len(data):
        h = (rotl(h ^ round_(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        h = (rotl(h ^ (struct.unpack_from("<I", data, at)[0] * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotl(h ^ (byte * P5 & MASK), 11) * P1 & MASK
    h = (h ^ (h >> 33)) * P2 & MASK
    h = (h ^ (h >> 29)) * P3 & MASK
    return h ^ (h >> 32)


def test_the_independent_hash_is_xxh64() -> None:
    assert xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64(b"abc") == 0x44BC2CF5AD770999


def settings(compat: Compat = GIE_V12, **parameters: object) -> PrefixSettings:
    return prefix_settings(PluginContext("prefix", "p", parameters, compat, random.Random(), InflightLoad()))


def test_chars_chain() -> None:
    """h_i = XXH64(block_i + LE64(h_{i-1})), h_{-1} = XXH64(model + salt); the partial block is dropped."""
    prompt = bytes(range(200)) * 2
    h = xxh64(b"modelsalt")
    expected = []
    for start in (0, 64, 128, 192, 256, 320):
        h = xxh64(prompt[start : start + 64] + struct.pack("<Q", h))
        expected.append(h)
    assert chain_chars(prompt, 64, 256, b"modelsalt") == expected
    assert chain_chars(prompt, 64, 2, b"modelsalt") == expected[:2]
    assert chain_chars(prompt[:63], 64, 256, b"modelsalt") == []


def test_tokens_chain() -> None:
    """h_i = XXH64(LE64(XXH64(block_i)) + LE64(h_{i-1})); the partial block counts."""
    tokens = struct.pack("<70I", *range(70))
    h = xxh64(b"m")
    expected = []
    for block in (tokens[:256], tokens[256:]):
        h = xxh64(struct.pack("<QQ", xxh64(block), h))
        expected.append(h)
    assert chain_tokens(tokens, 64, 2048, b"m") == expected


def test_chat_prompt_of_gie_is_what_go_marshals() -> None:
    messages = [
        {"role": "user", "content": 'a <b> & "c"\u2028'},
        {"content": None},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {"role": "user", "content": "", "name": "dropped"},
    ]
    assert messages_json(messages) == (
        b'[{"role":"user","content":"a \\u003cb\\u003e \\u0026 \\"c\\"\\u2028"},{"content":""},'
        b'{"role":"assistant","content":[{"type":"text","text":"x","image_url":{}},'
        b'{"type":"image_url","image_url":{"url":"u"}}]},{"role":"user","content":""}]'
    )


def test_prompts_of_lists_and_of_llm_d() -> None:
    strings = RequestBody("completions", {"prompt": ["ab", "c"]})
    assert prompt_bytes(strings) == b"ab c"
    assert tokens(strings) == [b"ab\0\0", b"c\0\0\0"]
    assert tokens(RequestBody("completions", {"prompt": [1, 258.0]})) == [b"\1\0\0\0\2\1\0\0"]
    assert tokens(RequestBody("generate", {"token_ids": [7]})) == [b"\7\0\0\0"]
    chat = RequestBody("chat", {"tools": [{"b": 1, "a": 2}], "messages": [{"role": "user", "content": "hi"}]})
    assert tokens(chat) == [b'[{"a":2,"b":1}]userhi\0\0\0']


def tokens(body: RequestBody, estimate: Estimate | None = None, **headers: str) -> list[bytes]:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = InferenceRequest("id", "m", "m", told, body)
    return pseudo_tokens(asked, estimate or Estimate())


def chat_of(*parts: dict[str, Any]) -> RequestBody:
    return RequestBody("chat", {"messages": [{"role": "user", "content": list(parts)}]})


def test_pictures_films_and_sounds_begin_at_a_token_and_count_by_their_size() -> None:
    """llm-d-router v0.10: 1024 pixels a token, 640 x 360 where the size is not known."""
    text = {"type": "text", "text": "h"}  # "userh": five bytes, so three of padding
    url = "https://example.com/a.png"
    (far,) = tokens(chat_of(text, {"type": "image_url", "image_url": {"url": url}}, text))
    token = (xxhash.xxh64_intdigest(url.encode()) & 0xFFFFFFFF).to_bytes(4, "little")
    assert far == b"userh\0\0\0" + token * 225 + b"h\0\0\0"
    (near,) = tokens(chat_of({"type": "image_url", "image_url": {"url": PNG}}))
    assert len(near) == 4 + 4 * (64 * 48 // 1024)
    (film,) = tokens(chat_of({"type": "video_url", "video_url": {"url": "v"}}))
    assert len(film) == 4 + 4 * 20 * 225  # 10 s, 2 frames a second
    (told,) = tokens(
        chat_of({"type": "video_url", "video_url": {"url": "v"}}),
        x_llm_d_video_duration_seconds="3",
        x_llm_d_video_resolution="64x32",
    )
    assert len(told) == 4 + 4 * 6 * 2
    (sound,) = tokens(chat_of({"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}))
    assert len(sound) == 4 + 4 * 2


def test_estimates_are_those_of_the_configuration() -> None:
    static = Estimate.of({"estimate": {"image": {"mode": "static", "static": {"staticToken": 3}}}})
    (made,) = tokens(chat_of({"type": "image_url", "image_url": {"url": PNG}}), static)
    assert len(made) == 4 + 4 * 3
    frames = {"mode": "strided", "maxFrames": 5, "strided": {"frameStride": 10, "defaultSourceFPS": 30}}
    strided = Estimate.of({"estimate": {"video": {"frames": frames, "maxVideoTokens": 100}}})
    (film,) = tokens(chat_of({"type": "video_url", "video_url": {"url": "v"}}), strided)
    assert len(film) == 4 + 4 * 100
    with pytest.raises(PickerConfigError, match="token-producer"):
        Estimate.of({"estimate": {"image": {"mode": 1}}})


def test_messages_of_anthropic() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "tool_use", "id": "i", "name": "n", "input": {"b": 1, "a": 2}},
        {"type": "tool_result", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
        {"type": "image", "source": {"type": "base64", "data": PNG.partition("base64,")[2]}},
    ]
    system = [{"type": "text", "text": "x-anthropic-billing-header: 1"}, {"type": "text", "text": "S"}]
    body = RequestBody("messages", {"system": system, "messages": [{"role": "user", "content": parts}]})
    (made,) = tokens(body)
    assert made.startswith(b'Suserhmin{"a":2,"b":1}x\ny\0')
    assert len(made) == 28 + 4 * 3


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"GIF89a\x40\x00\x30\x00\0\0\0", (64, 48)),
        (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x30\x00\x40\x03", (64, 48)),
        (b"\xff\xd8\xff\xe0\xff\xff", None),
        (b"GIF89a\0\0\0\0\0\0\0", None),
        (b"nothing at all", None),
    ],
)
def test_sizes_of_pictures(head: bytes, size: tuple[int, int] | None) -> None:
    assert size_of_base64(base64.b64encode(head).decode()) == size
    assert size_of_base64("%%%") is None
    assert size_of_url("data:image/gif;base32,AAAA") is None


def test_pictures_that_claim_to_be_huge_are_bounded() -> None:
    huge = base64.b64encode(b"GIF89a\xff\xff\xff\xff\0\0\0").decode()
    part = {"type": "image_url", "image_url": {"url": "data:image/gif;base64," + huge}}
    (made,) = tokens(chat_of(*[part] * 5))
    assert len(made) <= 16 * 1024 * 1024


def test_block_sizes_of_the_releases() -> None:
    tuned, bare = candidate(block_size=32), candidate()
    assert PrefixTracker(settings()).block_chars([tuned]) == 128
    assert PrefixTracker(settings()).block_chars([bare]) == 64
    assert PrefixTracker(settings(autoTune=False, blockSize=100)).block_chars([tuned]) == 100
    assert PrefixTracker(settings(GIE_V15)).block_chars([bare]) == 64
    assert PrefixTracker(settings(LLMD_V010)).block_tokens([tuned]) == 64  # never less
    assert PrefixTracker(settings(LLMD_V010)).block_tokens([candidate(block_size=128)]) == 128


def test_capacity_of_the_releases() -> None:
    told, silent = candidate(num_blocks=7), candidate()
    assert PrefixTracker(settings(lruCapacityPerServer=5)).capacity(told) == 7
    assert PrefixTracker(settings(lruCapacityPerServer=5)).capacity(silent) == 5
    assert PrefixTracker(settings(lruCapacityPerServer=5, autoTune=False)).capacity(told) == 5
    assert PrefixTracker(settings(GIE_V15, lruCapacityPerServer=5)).capacity(silent) == 31250
    assert PrefixTracker(settings(LLMD_V010, lruCapacityPerServer=5)).capacity(silent) == 5


def test_limits_of_the_releases() -> None:
    prompt = "x" * (64 * 300)
    assert len(PrefixTracker(settings()).hash(request(prompt=prompt), [candidate()])[0]) == 256
    limited = settings(GIE_V15, maxPrefixTokensToMatch=160)
    assert len(PrefixTracker(limited).hash(request(prompt=prompt), [candidate()])[0]) == 10
    assert len(PrefixTracker(settings(LLMD_V010)).hash(request(prompt=prompt), [candidate()])[0]) == 75


def test_other_models_and_salts_share_nothing() -> None:
    tracker, pods = PrefixTracker(settings()), [candidate("a")]
    first = request("m", prompt="x" * 640)
    tracker.prepare(first, pods)
    tracker.record(first, pods[0])
    for other in (request("n", prompt="x" * 640), request("m", prompt="x" * 640, cache_salt="s")):
        tracker.prepare(other, pods)
        assert pods[0].prefix_matched == 0
    again = request("m", prompt="x" * 320 + "y" * 320)
    tracker.prepare(again, pods)
    assert (pods[0].prefix_matched, pods[0].prefix_total) == (5, 10)


def test_match_is_not_contiguous_per_endpoint() -> None:
    """Every endpoint that has a block counts it, as long as somebody had each block before it."""
    index = PrefixIndex()
    index.add([1, 2, 3, 4], "a", 10)
    index.add([3, 4, 5], "b", 10)
    assert index.match([1, 2, 3, 4, 5, 6]) == {"a": 4, "b": 3}
    assert index.match([9, 1]) == {}


def test_index_forgets_the_least_recently_used() -> None:
    index = PrefixIndex()
    index.add([1, 2, 3], "a", 3)
    index.add([1], "a", 99)  # the capacity is the one of the first time; 1 is fresh again
    index.add([4], "a", 3)
    assert index.match([1]) == {"a": 1}
    assert index.match([2]) == {}
    assert index.sizes() == {"a": 3}


def test_blocks_pushed_out_by_their_own_prompt_stay_findable_where_the_release_has_that_bug() -> None:
    for strays, found in ((True, {"a": 5}), (False, {})):
        index = PrefixIndex(strays)
        index.add([1, 2, 3, 4, 5], "a", 2)
        assert index.match([1, 2, 3, 4, 5]) == found


def test_removed_endpoints_free_their_bit() -> None:
    index = PrefixIndex(strays=True)
    for name in ("a", "b", "c"):
        index.add([1, 2], name, 10)
    index.remove("b")
    index.remove("b")
    index.add([7], "d", 10)
    assert index.match([1, 2]) == {"a": 2, "c": 2}
    assert index.match([7]) == {"d": 1}


def test_index_agrees_with_sets_on_random_traffic() -> None:
    rng = random.Random(11)
    index, model = PrefixIndex(), {}
    for _ in range(400):
        name = rng.choice("abcdef")
        blocks = [rng.randrange(60) for _ in range(rng.randrange(1, 9))]
        lru = model.setdefault(name, [])
        for block in blocks:
            if block in lru:
                lru.remove(block)
            lru.append(block)
            if len(lru) > 20:
                lru.pop(0)
        index.add(blocks, name, 20)
        asked = [rng.randrange(60) for _ in range(8)]
        cut = next(
            (i for i, b in enumerate(asked) if not any(b in lru for lru in model.values())), len(asked)
        )
        expected = {n: sum(b in lru for b in asked[:cut]) for n, lru in model.items()}
        assert index.match(asked) == {n: count for n, count in expected.items() if count}


def test_forget_drops_endpoints_that_left() -> None:
    tracker = PrefixTracker(settings())
    pods = [candidate("a"), candidate("b")]
    for pod in pods:
        asked = request(prompt="x" * 64)
        tracker.prepare(asked, [pod])
        tracker.record(asked, pod)
    tracker.forget([pods[1].endpoint])
    assert tracker.index.endpoints() == ["ns/b"]


def test_record_tells_bytes_for_the_metrics() -> None:
    tracker, pods = PrefixTracker(settings()), [candidate("a")]
    asked = request(prompt="x" * 200)
    tracker.prepare(asked, pods)
    assert tracker.record(asked, pods[0]) == (0, 192)
    tracker.prepare(asked, pods)
    assert tracker.record(asked, pods[0]) == (192, 192)


@pytest.mark.parametrize("compat", [GIE_V12, GIE_V15, LLMD_V010])
def test_text_with_json_escapes_hashes_by_bytes(compat: Compat) -> None:
    body = json.loads(json.dumps({"prompt": "é" * 500}))
    hashes = PrefixTracker(settings(compat)).hash(request(**body), [candidate()])[0]
    assert len(hashes) == (1000 // 64 if compat is not LLMD_V010 else -(-1000 // 256))
