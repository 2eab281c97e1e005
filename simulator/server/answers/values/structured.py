"""What a constrained model says: the text for response_format, structured_outputs and guided_*."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from simulator.config.serve import ToolCallConfig
from simulator.server.answers.values.budget import MAX_CHARS, MAX_STEPS, Budget
from simulator.server.answers.values.grammar_values import grammar_text
from simulator.server.answers.values.json_values import JsonValues
from simulator.server.answers.values.regex_values import matching_text
from simulator.server.errors import ApiError
from simulator.server.requests.lean import GenerationRequest
from simulator.server.requests.validation import parse_text

# What json_object alone asks for: any object; long enough to be cut by a small max_tokens, as a real one is.
_NO_JSON = "Invalid JSON grammar specification."  # vLLM of a schema that is a text and no JSON
_ANY_OBJECT = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 24},
        "answer": {"type": "string", "minLength": 48},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["question", "answer", "confidence"],
}


def constrained_texts(
    request: GenerationRequest, settings: ToolCallConfig, rng: random.Random, max_tokens: int, count: int
) -> tuple[str, ...]:
    """Texts that meet the request's constraint, at most `count`, for its choices in turn; empty: it has none.

    All of them together cost hardly more than one may. Raises ApiError for a bad constraint.
    """
    texts: list[str] = []
    spent = 0.0
    while len(texts) < count and spent < 0.25:  # of what one may cost; the next adds 1 at most
        budget = Budget(max_tokens)
        try:
            text = constrained_text(request, settings, rng, budget)
        except ApiError:
            if texts:  # drawn longer than the others, which will do
                break
            raise
        if text is None:
            return ()
        texts.append(budget.cut(text))
        spent += max(budget.steps / MAX_STEPS, budget.chars / MAX_CHARS)
    return tuple(texts)


def constrained_text(
    request: GenerationRequest, settings: ToolCallConfig, rng: random.Random, budget: Budget | None = None
) -> str | None:
    """The text that meets the request's constraint; None: there is none. Raises ApiError for a bad one."""
    budget = budget or Budget()
    budget.step()
    schema, is_json = _json_schema(request)
    if is_json:
        value = JsonValues(rng, settings, budget).value(_ANY_OBJECT if schema is None else schema)
        return json.dumps(value, ensure_ascii=False)
    outputs = request.structured_outputs or {}
    choice = outputs.get("choice") or request.guided_choice
    if choice:
        text = budget.cut(str(rng.choice(choice)))
        budget.write(len(text))
        return text
    regex = outputs.get("regex", request.guided_regex)
    if regex is not None:
        return matching_text(regex, rng, budget)
    if outputs.get("grammar"):
        return grammar_text(str(outputs["grammar"]), rng, budget)
    return None


def _json_schema(request: GenerationRequest) -> tuple[Any, bool]:
    """(schema or None, whether JSON is wanted at all)."""
    wanted = request.response_format or {}
    kind = wanted.get("type")
    if kind == "json_object":
        return None, True
    if kind == "json_schema":
        described = wanted.get("json_schema")
        if not isinstance(described, Mapping):
            raise ApiError(
                "When response_format type is 'json_schema', the 'json_schema' field must be provided."
            )
        return described.get("schema"), True
    outputs = request.structured_outputs or {}
    if outputs.get("json_object"):
        return None, True
    schema = outputs.get("json") or request.guided_json
    if schema is None:
        return None, False
    if isinstance(schema, str):
        try:
            schema = parse_text(schema, "The JSON schema")
        except ApiError:
            raise ApiError(_NO_JSON) from None
    return schema, True
