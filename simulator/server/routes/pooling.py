"""--runner pooling: embeddings, pooling, scores, ranks and classes, of a server that generates nothing.

There is no model. A text's vector is a sum over its tokens, each of which stands for a few places and signs:
equal texts have equal vectors, and texts that share tokens are near each other. The engine is asked for the
prompts' time: an answer takes as long as they take to be computed.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from simulator.server.answers.generation import Generation, Job
from simulator.server.answers.slices import Building
from simulator.server.answers.unary import UnaryGeneration
from simulator.server.errors import ApiError, invalid
from simulator.server.http.exchange import Exchange
from simulator.server.requests.lean import ChatRequest, CompletionRequest
from simulator.server.requests.prompts import Prompt, PromptRules, chat_prompt, completion_prompts
from simulator.server.requests.validation import parse_object, validate
from simulator.server.routes.gate import check_faults, check_open, resolve_model
from simulator.server.routes.generate import job_of

_PLACES = 8  # of a vector that one token counts in
_CLASSES = 2  # of a classifier without a configuration
TokenId = Annotated[int, Field(ge=0)]
Input = list[TokenId] | list[list[TokenId]] | str | list[str]
Vector = list[float]


class _Request(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str | None = None
    priority: int = 0
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    add_special_tokens: bool = True


class PoolingRequest(_Request):
    input: Input | None = None
    messages: list[dict[str, Any]] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class ScoreRequest(_Request):
    text_1: str | list[str] | None = Field(default=None, alias="queries")
    text_2: str | list[str] | None = Field(default=None, alias="documents")
    model_config = ConfigDict(extra="allow", populate_by_name=True)


class RerankRequest(_Request):
    query: str
    documents: str | list[str]
    top_n: int = Field(default=0, ge=0)


class _PoolingUnary(UnaryGeneration):
    """An answer made of the prompts alone."""

    def __init__(self, job: Job, make: Callable[[_PoolingUnary, list[Vector]], dict[str, Any]]) -> None:
        super().__init__(job)
        self._make = make

    def building(self) -> Building:
        size = self.replica.config.default_embedding_dimensions
        vectors = []
        for sequence in self.sequences:
            vectors.append(_vector(sequence.prompt.token_ids, size))
            yield
        return self._make(self, vectors)

    def listed(self, prefix: str, data: list[dict[str, Any]]) -> dict[str, Any]:
        """The body of a list of results."""
        count = self.prompt_tokens
        return {
            "id": prefix + self.job.answer_id,
            "object": "list",
            "created": self.job.created,
            "model": self.job.model,
            "data": data,
            "usage": {
                "prompt_tokens": count,
                "total_tokens": count,
                "completion_tokens": 0,
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
        }


def prepare_embeddings(exchange: Exchange, body: bytes) -> Generation:
    """/v1/embeddings; raises ApiError."""
    return _pooled(exchange, body, "embd-", "embedding", "embedding")


def prepare_pooling(exchange: Exchange, body: bytes) -> Generation:
    """/pooling: the same vectors under other names; raises ApiError."""
    return _pooled(exchange, body, "pooling-", "pooling", "data")


def _pooled(exchange: Exchange, body: bytes, prefix: str, kind: str, key: str) -> Generation:
    wanted = validate(_read(exchange, body), PoolingRequest, exchange.prepared.compat)
    model = _resolved(exchange, wanted)
    if wanted.dimensions is not None:
        message = (
            f"Model '{model}' does not support Matryoshka embeddings; dimensions must be unset "
            f"(received dimensions={wanted.dimensions})."
        )
        raise ApiError(message)

    def make(answer: _PoolingUnary, vectors: list[Vector]) -> dict[str, Any]:
        data = [
            {"index": i, "object": kind, key: _encoded(vector, wanted.encoding_format)}
            for i, vector in enumerate(vectors)
        ]
        return answer.listed(prefix, data)

    return _generation(exchange, wanted, _prompts(exchange, wanted), make)


def prepare_classify(exchange: Exchange, body: bytes) -> Generation:
    """/classify: probabilities of two classes; raises ApiError."""
    wanted = validate(_read(exchange, body), PoolingRequest, exchange.prepared.compat)
    _resolved(exchange, wanted)

    def make(answer: _PoolingUnary, vectors: list[Vector]) -> dict[str, Any]:
        data = []
        for i, vector in enumerate(vectors):
            raised = [math.exp(_CLASSES * value) for value in vector[:_CLASSES]]
            probs = [value / sum(raised) for value in raised]
            label = f"LABEL_{probs.index(max(probs))}"
            data.append({"index": i, "label": label, "probs": probs, "num_classes": len(probs)})
        return answer.listed("classify-", data)

    return _generation(exchange, wanted, _prompts(exchange, wanted), make)


def prepare_score(exchange: Exchange, body: bytes) -> Generation:
    """/score: how near texts are to each other, by the cosine of their vectors; raises ApiError."""
    compat = exchange.prepared.compat
    wanted = validate(_read(exchange, body), ScoreRequest, compat)
    _resolved(exchange, wanted)
    if wanted.text_1 is None or wanted.text_2 is None:
        raise invalid(compat, "Both queries (text_1) and documents (text_2) must be given", "text_1")
    first, second = _many(wanted.text_1), _many(wanted.text_2)
    if not first or not second:
        raise ApiError("At least one text_1 and one text_2 element must be given")
    if len(first) not in (1, len(second)):
        raise ApiError("Input lengths must be either 1:1, 1:N or N:N")

    def make(answer: _PoolingUnary, vectors: list[Vector]) -> dict[str, Any]:
        ahead, behind = vectors[: len(first)], vectors[len(first) :]
        pairs = zip(ahead * (len(behind) // len(ahead)), behind, strict=True)
        data = [
            {"index": i, "object": "score", "score": _cosine(one, other)}
            for i, (one, other) in enumerate(pairs)
        ]
        return answer.listed("score-", data)

    return _generation(exchange, wanted, _texts(exchange, wanted, [*first, *second]), make)


def prepare_rerank(exchange: Exchange, body: bytes) -> Generation:
    """/rerank: documents by how near they are to a query; raises ApiError."""
    wanted = validate(_read(exchange, body), RerankRequest, exchange.prepared.compat)
    _resolved(exchange, wanted)
    documents = _many(wanted.documents)
    if not documents:
        raise ApiError("At least one document must be given")

    def make(answer: _PoolingUnary, vectors: list[Vector]) -> dict[str, Any]:
        results = [
            {
                "index": i,
                "document": {"text": text, "multi_modal": None},
                "relevance_score": _cosine(vectors[0], vectors[i + 1]),
            }
            for i, text in enumerate(documents)
        ]
        results.sort(key=lambda result: -float(str(result["relevance_score"])))
        count = answer.prompt_tokens
        return {
            "id": f"score-{answer.job.answer_id}",
            "model": answer.job.model,
            "usage": {"prompt_tokens": count, "total_tokens": count},
            "results": results[: wanted.top_n or None],
        }

    return _generation(exchange, wanted, _texts(exchange, wanted, [wanted.query, *documents]), make)


def _read(exchange: Exchange, body: bytes) -> dict[str, Any]:
    raw = parse_object(body, exchange.prepared.compat)
    check_faults(exchange, raw.get("model"))
    return raw


def _resolved(exchange: Exchange, wanted: _Request) -> str:
    model, _lora = resolve_model(exchange.replica, wanted.model)
    check_open(exchange.replica)
    return model


def _many(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _prompts(exchange: Exchange, wanted: PoolingRequest) -> list[Prompt]:
    replica, compat = exchange.replica, exchange.prepared.compat
    if wanted.messages is not None:
        chat = ChatRequest(messages=wanted.messages, truncate_prompt_tokens=wanted.truncate_prompt_tokens)
        return [chat_prompt(chat, PromptRules(replica.config, compat, replica.tokenizer))]
    if wanted.input is None:
        raise invalid(compat, "Either input or messages must be given", "input")
    if not wanted.input:
        raise ApiError("You must pass at least one prompt")
    return _texts(exchange, wanted, wanted.input)


def _texts(exchange: Exchange, wanted: _Request, given: Any) -> list[Prompt]:
    request = CompletionRequest(
        prompt=given,
        truncate_prompt_tokens=wanted.truncate_prompt_tokens,
        add_special_tokens=wanted.add_special_tokens,
    )
    replica = exchange.replica
    return completion_prompts(
        request, PromptRules(replica.config, exchange.prepared.compat, replica.tokenizer)
    )


def _generation(
    exchange: Exchange,
    wanted: _Request,
    prompts: list[Prompt],
    make: Callable[[_PoolingUnary, list[Vector]], dict[str, Any]],
) -> Generation:
    request = CompletionRequest(max_tokens=1, ignore_eos=True, priority=wanted.priority)
    job = job_of(exchange, request, "", prompts)
    job.model, job.lora = resolve_model(exchange.replica, wanted.model)
    return _PoolingUnary(job, make)


def _vector(ids: Sequence[int], size: int) -> Vector:
    """A unit vector of `size` numbers."""
    sums = [0.0] * size
    for token in ids:
        digest = hashlib.blake2b(token.to_bytes(8, "big"), digest_size=4 * _PLACES).digest()
        for (place,) in struct.iter_unpack(">I", digest):
            sums[place // 2 % size] += 1.0 if place & 1 else -1.0
    length = math.sqrt(sum(value * value for value in sums)) or 1.0
    return [value / length for value in sums]


def _cosine(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _encoded(vector: Vector, encoding: str) -> Vector | str:
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


POOLING = {
    "/v1/embeddings": prepare_embeddings,
    "/pooling": prepare_pooling,
    "/classify": prepare_classify,
    **dict.fromkeys(("/score", "/v1/score"), prepare_score),
    **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), prepare_rerank),
}
