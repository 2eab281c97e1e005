"""What a constrained model says: the text for response_format, structured_outputs and guided_*."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any, Final

from simulator.config.serve import ToolCallConfig
from simulator.server.answers.json_values import JsonValues
from simulator.server.answers.regex_values import matching_text
from simulator.server.errors import ApiError
from simulator.server.requests.lean import GenerationRequest

# What json_object alone asks for: any object; long enough to be cut by a small max_tokens, as a real one is.
_ANY_OBJECT: Final = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 24},
        "answer": {"type": "string", "minLength": 48},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["question", "answer", "confidence"],
}


def constrained_text(request: GenerationRequest, settings: ToolCallConfig, rng: random.Random) -> str | None:
    """The text that meets the request's constraint; None: there is none. Raises ApiError for a bad one."""
    schema, is_json = _json_schema(request)
    if is_json:
        value = JsonValues(rng, settings).value(_ANY_OBJECT if schema is None else schema)
        return json.dumps(value, ensure_ascii=False)
    outputs = request.structured_outputs or {}
    choice = outputs.get("choice") or request.guided_choice
    if choice:
        return str(rng.choice(choice))
    regex = outputs.get("regex") or request.guided_regex
    if regex:
        return matching_text(regex, rng)
    if outputs.get("grammar"):
        raise ApiError("structured_outputs.grammar needs a grammar engine, which a simulator does not have.")
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
    return (_parsed(schema) if isinstance(schema, str) else schema), True


def _parsed(schema: str) -> Any:
    try:
        return json.loads(schema)
    except json.JSONDecodeError as error:
        raise ApiError(f"The JSON schema is not valid JSON: {error}") from None
