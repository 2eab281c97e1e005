"""Answers as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.cluster.objects.errors import ApiError

_encoder = msgspec.json.Encoder()


def json_answer(body: Any, code: int = 200, warnings: Sequence[str] = ()) -> Response:
    answer = Response(_encoder.encode(body), code, media_type="application/json")
    for words in warnings:
        quoted = words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        answer.headers.append("warning", f'299 - "{quoted}"')
    return answer


def refusal(error: ApiError) -> Response:
    if (
        not error.status["details"] and error.code == 404
    ):  # of no kind at all: clients have words of their own
        return Response("404 page not found\n", 404, media_type="text/plain")
    return json_answer(error.status, error.code)
