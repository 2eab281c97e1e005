"""What of a request counts as its prompt when prefixes are hashed: bytes, per release.

chars          GIE v1.2, v1.3: the completions prompt, or the messages as json.Marshal writes them
chars-tokens   GIE v1.4, v1.5: the same, for more APIs
pseudo-tokens  llm-d-router: 4 bytes make a token; chat is tools, then roles and texts, without any framing
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import xxhash

from gateway.picker.plugins.text.assets import Estimate, size_of_base64, size_of_url, sound_tokens
from gateway.picker.request import InferenceRequest, RequestBody
from gateway.picker.wire import gojson

BYTES_PER_TOKEN = 4
# What Claude Code puts before its system prompt, which differs from request to request.
_BILLING = "x-anthropic-billing-header"
# Bytes of a prompt beyond which images and videos add nothing: how large they are is the client's word.
_MOST = 16 * 1024 * 1024


def prompt_bytes(body: RequestBody) -> bytes:
    """The prompt of the GIE releases; empty where there is nothing to hash."""
    payload = body.payload
    if body.api == "completions":
        prompt = payload.get("prompt")
        if isinstance(prompt, str):
            return prompt.encode()
        return " ".join(item for item in prompt or () if isinstance(item, str)).encode()
    if body.api == "chat":
        return messages_json(payload.get("messages") or [])
    if body.api == "conversations":
        return gojson.encode(payload["items"])
    if body.api == "responses":
        return gojson.encode(_responses_parts(payload))
    if body.api == "embeddings":
        return gojson.encode(payload["input"])
    return b""


def pseudo_tokens(request: InferenceRequest, estimate: Estimate) -> list[bytes]:
    """llm-d-router's prompts as little-endian uint32 tokens, one entry per prompt; made once a request."""
    made: list[bytes] | None = request.state.get("pseudo-tokens")
    if made is None:
        made = request.state["pseudo-tokens"] = _pseudo_tokens(request, estimate)
    return made


def token_ids(body: RequestBody) -> list[int] | None:
    """The tokens of a prompt that the client gives as tokens; None for any other."""
    payload = body.payload
    name = {"completions": "prompt", "embeddings": "input", "generate": "token_ids"}.get(body.api, "")
    given = payload.get(name)
    if isinstance(given, list) and given and all(isinstance(item, int | float) for item in given):
        return [int(item) for item in given]
    return None


def _pseudo_tokens(request: InferenceRequest, estimate: Estimate) -> list[bytes]:
    body = request.body
    ids = token_ids(body)
    if ids is not None:
        return [struct.pack(f"<{len(ids)}I", *(item & 0xFFFFFFFF for item in ids))]
    prompt = body.payload.get("prompt")
    if body.api == "completions" and isinstance(prompt, list) and len(prompt) > 1:
        return [_aligned(str(item).encode()) for item in prompt]
    if body.api in ("chat", "messages"):
        return [_aligned(_chat_bytes(body, request.headers, estimate))]
    raw = prompt_bytes(body)
    return [_aligned(raw)] if raw else []


def messages_json(messages: list[Any]) -> bytes:
    """Chat messages as json.Marshal writes []Message: role (unless empty), then content."""
    parts = []
    for message in messages:
        fields = message or {}
        role = fields.get("role")
        start = b'{"role":' + gojson.encode_string(role) + b"," if role else b"{"
        parts.append(start + b'"content":' + _content_json(fields.get("content")) + b"}")
    return b"[" + b",".join(parts) + b"]"


def _content_json(content: Any) -> bytes:
    if isinstance(content, str):
        return gojson.encode_string(content)
    if not isinstance(content, list):
        return b'""'
    blocks = []
    for block in content:
        fields = block or {}
        parts = [b'"type":' + gojson.encode_string(fields.get("type") or "")]
        if fields.get("text"):
            parts.append(b'"text":' + gojson.encode_string(fields["text"]))
        # omitempty does not omit a struct: image_url is always there.
        url = (fields.get("image_url") or {}).get("url")
        parts.append(b'"image_url":{' + (b'"url":' + gojson.encode_string(url) if url else b"") + b"}")
        blocks.append(b"{" + b",".join(parts) + b"}")
    return b"[" + b",".join(blocks) + b"]"


def _responses_parts(payload: dict[str, Any]) -> list[dict[str, Any]]:
    parts = [{name: payload[name]} for name in ("instructions", "tools") if payload.get(name) is not None]
    return [*parts, {"input": payload["input"]}]


def _chat_bytes(body: RequestBody, headers: Mapping[str, str], estimate: Estimate) -> bytes:
    payload = body.payload
    out = bytearray(gojson.encode(payload["tools"]) if payload.get("tools") else b"")
    add = _append_chat_block
    if body.api == "messages":
        add = _append_message_block
        out += _system_text(payload.get("system")).encode()
    for message in payload.get("messages") or []:
        fields = message or {}
        out += (fields.get("role") or "").encode()
        content = fields.get("content")
        if isinstance(content, str):
            out += content.encode()
            continue
        for block in content or []:
            add(out, block or {}, headers, estimate)
    return bytes(out)


def _append_chat_block(
    out: bytearray, block: dict[str, Any], headers: Mapping[str, str], estimate: Estimate
) -> None:
    kind = block.get("type")
    if kind == "text":
        out += (block.get("text") or "").encode()
    elif kind == "image_url":
        url = (block.get("image_url") or {}).get("url") or ""
        _append_asset(out, url, estimate.image_tokens(size_of_url(url)))
    elif kind == "video_url":
        url = (block.get("video_url") or {}).get("url") or ""
        _append_asset(out, url, estimate.video_tokens(headers))
    elif kind in ("input_audio", "audio_url"):
        sound = block.get("input_audio") or {}
        data = (sound.get("data") or "") + (sound.get("format") or "")
        _append_asset(out, data, sound_tokens(len(data.encode())))


def _append_message_block(
    out: bytearray, block: dict[str, Any], headers: Mapping[str, str], estimate: Estimate
) -> None:
    """Anthropic's kinds of content."""
    kind = block.get("type")
    if kind in ("text", "thinking"):
        out += (block.get(kind) or "").encode()
    elif kind == "image":
        _append_source(out, block.get("source") or {}, estimate)
    elif kind == "tool_use":
        out += ((block.get("id") or "") + (block.get("name") or "")).encode()
        out += gojson.encode(block["input"]) if block.get("input") is not None else b""
    elif kind == "tool_result":
        _append_result(out, block.get("content"), estimate)


def _append_result(out: bytearray, content: Any, estimate: Estimate) -> None:
    if isinstance(content, str):
        out += content.encode()
        return
    parts = [item for item in content or [] if isinstance(item, dict)]
    out += "\n".join(p.get("text") or "" for p in parts if p.get("type") == "text").encode()
    for part in parts:
        if part.get("type") == "image":
            _append_source(out, part.get("source") or {}, estimate)


def _append_source(out: bytearray, source: dict[str, Any], estimate: Estimate) -> None:
    if url := source.get("url"):
        _append_asset(out, url, estimate.image_tokens(size_of_url(url)))
    elif data := source.get("data"):
        _append_asset(out, data, estimate.image_tokens(size_of_base64(data)))


def _system_text(system: Any) -> str:
    if isinstance(system, str):
        return system
    texts = [part.get("text") or "" for part in system or () if isinstance(part, dict)]
    return "".join(text for text in texts if not text.startswith(_BILLING))


def _append_asset(out: bytearray, content: str, count: int) -> None:
    """An image, a video or a sound: as many times the hash of what it is, from a token's beginning on."""
    out += b"\0" * (-len(out) % BYTES_PER_TOKEN)
    token = (xxhash.xxh64_intdigest(content.encode()) & 0xFFFFFFFF).to_bytes(BYTES_PER_TOKEN, "little")
    out += token * min(count, max(_MOST - len(out), 0) // BYTES_PER_TOKEN)


def _aligned(raw: bytes) -> bytes:
    return raw + b"\0" * (-len(raw) % BYTES_PER_TOKEN)
