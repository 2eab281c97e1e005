"""The OpenAPI document: FastAPI's own for the control routes, the pydantic models for the generating ones."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from simulator.server.requests.other import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    LoadLoRAAdapterRequest,
    ResponsesRequest,
    TokenizeChatRequest,
    TokenizeCompletionRequest,
    UnloadLoRAAdapterRequest,
)
from simulator.server.requests.schema import ChatCompletionRequest, CompletionRequest


class ErrorInfo(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: int


class ErrorResponse(BaseModel):
    error: ErrorInfo


_REF = "#/components/schemas/{model}"
_BODIES: dict[str, tuple[type[BaseModel], ...]] = {
    "/v1/completions": (CompletionRequest,),
    "/v1/chat/completions": (ChatCompletionRequest,),
    "/v1/responses": (ResponsesRequest,),
    "/v1/messages": (AnthropicMessagesRequest,),
    "/v1/messages/count_tokens": (AnthropicCountTokensRequest,),
    "/v1/embeddings": (EmbeddingRequest,),
    "/tokenize": (TokenizeCompletionRequest, TokenizeChatRequest),
    "/detokenize": (DetokenizeRequest,),
    "/v1/load_lora_adapter": (LoadLoRAAdapterRequest,),
    "/v1/unload_lora_adapter": (UnloadLoRAAdapterRequest,),
}
_STREAMS = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages")
_STATUSES = {
    "400": "Bad Request",
    "401": "Unauthorized",
    "404": "Not Found",
    "413": "Request Entity Too Large",
    "429": "Too Many Requests",
    "500": "Internal Server Error",
    "503": "Service Unavailable",
}


def describe(app: FastAPI) -> None:
    """Make `app.openapi()` tell of all routes, bodies and errors."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    models = [(model, "validation") for bodies in _BODIES.values() for model in bodies]
    _, definitions = models_json_schema([*models, (ErrorResponse, "validation")], ref_template=_REF)  # type: ignore[list-item]
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(definitions["$defs"])
    paths = document.setdefault("paths", {})
    for path, bodies in _BODIES.items():
        operation = paths.setdefault(path, {}).setdefault("post", _operation(path))
        refs = [{"$ref": _REF.format(model=model.__name__)} for model in bodies]
        schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}, "required": True}
        operation.setdefault("responses", {}).update(_error_responses())
    for operations in paths.values():
        for operation in operations.values():
            operation.get("responses", {}).pop("422", None)  # validation errors are 400 here
            operation["responses"].setdefault("400", _error_response("Bad Request"))
    return document


def _operation(path: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if path in _STREAMS:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    name = path.strip("/").replace("/", "_")
    return {
        "summary": name.replace("_", " ").title(),
        "operationId": f"{name}_post",
        "responses": {"200": {"description": "Successful Response", "content": content}},
    }


def _error_response(description: str) -> dict[str, Any]:
    reference = {"$ref": _REF.format(model="ErrorResponse")}
    return {"description": description, "content": {"application/json": {"schema": reference}}}


def _error_responses() -> dict[str, Any]:
    return {status: _error_response(description) for status, description in _STATUSES.items()}
