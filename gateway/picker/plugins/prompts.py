"""What of a request counts as its prompt when prefixes are hashed: bytes, per release.

chars          GIE v1.2, v1.3: the completions prompt, or the messages as json.Marshal writes them
chars-tokens   GIE v1.4, v1.5: the same, for more APIs
pseudo-tokens  llm-d-router: 4 bytes make a token; chat is tools, then roles and texts, without any framing
"""

from __future__ import annotations

import struct
from typing import Any

import xxhash

from gateway.picker.request import RequestBody
from gateway.picker.wire import gojson

BYTES_PER_TOKEN = 4
# An image counts as this many pseudo-tokens where its size is not known.
_IMAGE_TOKENS = 256


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


def pseudo_tokens(body: RequestBody) -> list[bytes]:
    """llm-d-router's prompts as little-endian uint32 tokens, one entry per prompt."""
    prompt = body.payload.get("prompt")
    if body.api == "completions" and isinstance(prompt, list) and prompt:
        if all(isinstance(item, int) for item in prompt):
            return [struct.pack(f"<{len(prompt)}I", *(item & 0xFFFFFFFF for item in prompt))]
        if all(isinstance(item, list) for item in prompt):
            return [struct.pack(f"<{len(ids)}I", *(item & 0xFFFFFFFF for item in ids)) for ids in prompt]
        if len(prompt) > 1:
            return [_aligned(str(item).encode()) for item in prompt]
    if body.api in ("chat", "messages"):
        return [_aligned(_chat_bytes(body.payload))]
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


def _chat_bytes(payload: dict[str, Any]) -> bytes:
    out = bytearray(gojson.encode(payload["tools"]) if payload.get("tools") else b"")
    system = payload.get("system")
    if isinstance(system, str):
        out += system.encode()
    for message in payload.get("messages") or []:
        fields = message or {}
        out += (fields.get("role") or "").encode()
        content = fields.get("content")
        if isinstance(content, str):
            out += content.encode()
            continue
        for block in content or []:
            _append_block(out, block or {})
    return bytes(out)


def _append_block(out: bytearray, block: dict[str, Any]) -> None:
    if block.get("type") == "text":
        out += (block.get("text") or "").encode()
    elif block.get("type") == "image_url":
        url = (block.get("image_url") or {}).get("url") or ""
        out += b"\0" * (-len(out) % BYTES_PER_TOKEN)
        out += (xxhash.xxh64_intdigest(url.encode()) & 0xFFFFFFFF).to_bytes(4, "little") * _IMAGE_TOKENS


def _aligned(raw: bytes) -> bytes:
    return raw + b"\0" * (-len(raw) % BYTES_PER_TOKEN)
