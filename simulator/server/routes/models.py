"""/v1/models, /tokenize, /detokenize and /v1/embeddings."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from simulator.server.errors import ApiError
from simulator.server.http.exchange import read_body
from simulator.server.prepared import ordered
from simulator.server.requests.lean import ChatRequest
from simulator.server.requests.other import (
    DetokenizeRequest,
    EmbeddingRequest,
    TokenizeChatRequest,
    TokenizeCompletionRequest,
)
from simulator.server.requests.prompts import PromptRules, chat_prompt, check_media_options, encoded
from simulator.server.requests.validation import parse_object, validate, validate_union
from simulator.server.routes.gate import resolve_model
from simulator.server.routes.vllm_admin import Asked

if TYPE_CHECKING:
    from simulator.server.replica import Replica

router = APIRouter()
_MAX_DIMENSIONS = 1 << 16
_MAX_NUMBERS = 1 << 22  # of one answer
_TOKENIZE: TypeAdapter[TokenizeCompletionRequest | TokenizeChatRequest] = TypeAdapter(
    TokenizeCompletionRequest | TokenizeChatRequest
)


@router.get("/v1/models")
async def show_available_models(replica: Asked) -> dict[str, Any]:
    """Every served name, then every adapter; `created` is the time of the call, as with vLLM."""
    config = replica.config
    served = replica.prepared.served
    cards = [_card(replica, name, config.model, None, config.engine.max_model_len) for name in served]
    for entry in replica.loras:
        parent = entry.base_model_name or served[0]
        name = entry.request.name
        cards.append(_card(replica, name, entry.request.path or name, parent, None))
    return {"object": "list", "data": cards}


def _card(
    replica: Replica, name: str, root: str, parent: str | None, max_model_len: int | None
) -> dict[str, Any]:
    created = int(time.time())
    compat = replica.prepared.compat
    values = {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": name if compat.model_root == "name" else root,
        "parent": parent,
        "max_model_len": max_model_len,
        "permission": [_permission(replica, created)],
    }
    return ordered(compat.bodies.model_card, values)


def _permission(replica: Replica, created: int) -> dict[str, Any]:
    return {
        "id": f"modelperm-{replica.prepared.new_id()}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }


@router.post("/tokenize")
async def tokenize(replica: Asked, request: Request) -> dict[str, Any]:
    """Token ids of a text or of a conversation; ApiError when both are given."""
    compat = replica.prepared.compat
    raw = parse_object(await read_body(request, replica), compat)
    if compat.tokenize_both == "refused" and raw.get("prompt") and raw.get("messages") is not None:
        raise ApiError("both prompt and messages fields in tokenize request")
    if compat.tokenize_nulls == "absent":
        raw = {key: value for key, value in raw.items() if value is not None}
    wanted = validate_union(raw, _TOKENIZE, compat)
    resolve_model(replica, wanted.model or replica.prepared.served[0])
    tokenizer = replica.tokenizer
    rules = PromptRules(replica.config, compat, tokenizer, checks_length=False)
    check_media_options(wanted, rules)
    if isinstance(wanted, TokenizeCompletionRequest):
        ids = encoded(wanted.prompt, rules, None, wanted.add_special_tokens)
    else:
        chat = ChatRequest(
            messages=raw["messages"],
            add_generation_prompt=wanted.add_generation_prompt,
            continue_final_message=wanted.continue_final_message,
            add_special_tokens=wanted.add_special_tokens,
            chat_template=wanted.chat_template,
            chat_template_kwargs=wanted.chat_template_kwargs,
            tools=raw.get("tools"),
        )
        ids = chat_prompt(chat, rules).token_ids
    return {
        "count": len(ids),
        "max_model_len": replica.config.engine.max_model_len,
        "tokens": ids,
        "token_strs": [tokenizer.token_str(i) for i in ids] if wanted.return_token_strs else None,
    }


@router.post("/detokenize")
async def detokenize(replica: Asked, request: Request) -> dict[str, str]:
    """The text of token ids; ids outside the vocabulary add nothing."""
    compat = replica.prepared.compat
    wanted = validate(parse_object(await read_body(request, replica), compat), DetokenizeRequest, compat)
    resolve_model(replica, wanted.model or replica.prepared.served[0])
    return {"prompt": replica.tokenizer.decode(wanted.tokens)}


@router.get("/tokenizer_info")
async def tokenizer_info(replica: Asked) -> dict[str, Any]:
    """The tokenizer's configuration (--enable-tokenizer-info-endpoint)."""
    template = replica.config.text.chat_template
    told: dict[str, Any] = replica.tokenizer.describe()
    return told if template is None else {**told, "chat_template": template}


@router.post("/v1/embeddings", response_model=None)
async def create_embedding(replica: Asked, request: Request) -> Response:
    """Vectors that depend on the tokens alone, as llm-d-inference-sim makes them.

    ApiError where it would refuse.
    """
    prepared = replica.prepared
    raw = parse_object(await read_body(request, replica), prepared.compat)
    if prepared.compat.embeddings != "served":
        raise ApiError("The model does not support Embeddings API")
    wanted = validate(raw, EmbeddingRequest, prepared.compat)
    size = replica.config.default_embedding_dimensions if wanted.dimensions is None else wanted.dimensions
    if size < 1:
        raise ApiError("dimensions must be at least 1", param="dimensions")
    if size > _MAX_DIMENSIONS:
        raise ApiError(f"dimensions must be at most {_MAX_DIMENSIONS}, got {size}", param="dimensions")
    inputs = _inputs(wanted, replica)
    if len(inputs) * size > _MAX_NUMBERS:
        raise ApiError(
            f"{len(inputs)} inputs of {size} dimensions are more than {_MAX_NUMBERS} numbers; ask for fewer",
            param="input",
        )
    data = []
    for i, ids in enumerate(inputs):
        vector = _encoded(_vector(ids, size), wanted.encoding_format)
        vector_json = msgspec.Raw(prepared.encode(vector))
        data.append({"object": "embedding", "embedding": vector_json, "index": i})
        await asyncio.sleep(0)  # others have their turn
    count = sum(map(len, inputs))
    body = {
        "object": "list",
        "data": data,
        "model": wanted.model or prepared.served[0],
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
    return Response(prepared.encode(body), media_type="application/json")


def _inputs(wanted: EmbeddingRequest, replica: Replica) -> list[list[int]]:
    given: Any = wanted.input
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    rules = PromptRules(replica.config, replica.prepared.compat, replica.tokenizer, checks_length=False)
    inputs = [encoded(item, rules, None, False) if isinstance(item, str) else item for item in given]
    if not inputs or not all(inputs):
        raise ApiError("input is required and must be a non-empty string or array", param="input")
    return inputs


def _vector(ids: list[int], size: int) -> list[float]:
    known = len(ids)
    return [
        2.0 * (ids[i] % 1024) / 1024.0 - 1.0 if i < known else 2.0 * (ids[i % known] % 256) / 256.0 - 1.0
        for i in range(size)
    ]


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
