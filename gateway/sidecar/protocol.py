"""What the sidecar makes of a request: the body of the prefill, the body of the decode. No I/O.

vLLM's NIXL protocol, version 2, in pull mode: the prefill is asked for one token and to keep its blocks, and
what it answers of them goes to the decode. Facts: llm-d-router pkg/sidecar/proxy/connector_nixlv2.go and
connector_shared_storage.go.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.sidecar.options import CONNECTORS

Json = dict[str, Any]
HEADER = b"x-prefiller-host-port"
# Path of a route that can be prefilled elsewhere -> the fields that bound its tokens.
ROUTES: dict[bytes, tuple[str, ...]] = {
    b"/v1/chat/completions": ("max_tokens", "max_completion_tokens", "min_tokens"),
    b"/v1/completions": ("max_tokens", "max_completion_tokens", "min_tokens"),
    b"/v1/messages": ("max_tokens", "max_completion_tokens", "min_tokens"),
    b"/v1/responses": ("max_output_tokens",),
    b"/inference/v1/generate": ("max_tokens", "min_tokens"),
}
_NOTHING_YET = ("remote_engine_id", "remote_block_ids", "remote_host", "remote_port")
_WITHIN = "sampling_params"  # where /inference/v1/generate has its bounds


def read_body(raw: bytes) -> Json | None:
    """The object that a body is, None for anything else."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _bounded(body: Json, path: bytes, fields: tuple[str, ...]) -> Json:
    """The body with each of its bounds at one token."""
    ones = dict.fromkeys(fields, 1)
    if path.endswith(b"/generate"):
        inner = body.get(_WITHIN)
        return {**body, _WITHIN: {**(inner if isinstance(inner, dict) else {}), **ones}}
    return {**body, **ones}


def prefill_body(body: Json, path: bytes, connector: str) -> bytes:
    """What the prefill pod is asked for."""
    if not CONNECTORS[connector]:
        ones = {"max_tokens": 1, "max_completion_tokens": 1, "cache_hit_threshold": 0}
        return msgspec.json.encode({**body, **ones})
    asked = _bounded(body, path, ROUTES[path])
    asked["stream"] = False
    asked.pop("stream_options", None)
    asked["kv_transfer_params"] = {
        "do_remote_decode": True,
        "do_remote_prefill": False,
        **dict.fromkeys(_NOTHING_YET),
    }
    return msgspec.json.encode(asked)


def decode_body(body: Json, answer: Json, connector: str) -> bytes:
    """What the model server beside the sidecar is asked for, after the prefill's `answer`."""
    if not CONNECTORS[connector]:
        return msgspec.json.encode({**body, "cache_hit_threshold": 0})
    return msgspec.json.encode({**body, "kv_transfer_params": answer.get("kv_transfer_params")})


def error_body(message: str, kind: str, status: int) -> bytes:
    """An error as the sidecar words it, in vLLM's old form."""
    shown = {"object": "error", "message": message, "type": kind, "param": "", "code": status}
    return msgspec.json.encode(shown)


NOT_READY = error_body(
    "The decode node is not ready. Please check that the vLLM service is running and the port configuration "
    "is correct.",
    "ServiceUnavailable",
    503,
)
