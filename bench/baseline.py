"""What most simulators are: a plain FastAPI + pydantic app that answers the same bytes, without an engine.

`python -m bench.baseline PORT`: uvicorn with uvloop and httptools, one process.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from bench.entry import parser
from simulator.server.requests.schema import CompletionRequest

WORD = "testing "


class Choice(BaseModel):
    index: int = 0
    text: str
    logprobs: Any = None
    finish_reason: str | None = None
    stop_reason: Any = None
    token_ids: list[int] | None = None
    prompt_logprobs: Any = None
    prompt_token_ids: list[int] | None = None
    routed_experts: Any = None
    weight_versions: Any = None


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None


class Completion(BaseModel):
    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    service_tier: str | None = None
    system_fingerprint: str | None = None
    usage: Usage
    kv_transfer_params: Any = None
    ec_transfer_params: Any = None
    metrics: Any = None


class ChunkChoice(BaseModel):
    index: int = 0
    text: str
    logprobs: Any = None
    finish_reason: str | None = None
    stop_reason: Any = None
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None
    weight_versions: Any = None


class Chunk(BaseModel):
    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[ChunkChoice]
    kv_transfer_params: Any = None


app = FastAPI()


@app.post("/v1/completions", response_model=None)
async def completions(request: CompletionRequest) -> Response | Completion:
    count = request.max_tokens or 16
    answer_id = f"cmpl-{uuid.uuid4().hex[16:]}"
    created = int(time.time())
    model = request.model or "tiny"
    if request.stream:
        return StreamingResponse(events(answer_id, created, model, count), media_type="text/event-stream")
    usage = Usage(prompt_tokens=10, total_tokens=10 + count, completion_tokens=count)
    choice = Choice(text=WORD * count, finish_reason="length")
    return Completion(
        id=answer_id,
        created=created,
        model=model,
        choices=[choice],
        usage=usage,
        system_fingerprint="vllm-0.33.0-01234567",
    )


async def events(answer_id: str, created: int, model: str, count: int) -> AsyncIterator[str]:
    for i in range(count):
        reason = "length" if i == count - 1 else None
        chunk = Chunk(
            id=answer_id, created=created, model=model, choices=[ChunkChoice(text=WORD, finish_reason=reason)]
        )
        yield f"data: {chunk.model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("port", type=int)
    uvicorn.run(app, host="127.0.0.1", port=options.parse_args().port, access_log=False, log_level="error")
