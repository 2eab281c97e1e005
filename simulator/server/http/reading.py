"""Bodies of the control routes: the same limits and the same content types as the generating ones."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from simulator.server.errors import body_too_large
from simulator.server.http.exchange import PASSED_OVER
from simulator.server.requests.validation import check_content_type, check_depth


async def read_body(request: Request, replica: Any, *, typed: bool = True) -> bytes:
    """The whole body; raises ApiError over the limits or, if that is asked for, of a wrong content type.

    `typed` is False on routes for which vLLM asks no content type: they read the body by themselves.
    """
    config = replica.config
    limit = config.max_request_body_size
    size = 0
    chunks = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > PASSED_OVER:
            break
        if size <= limit:
            chunks.append(chunk)
    if size > limit:  # read to its end all the same: a client that still sends would miss the answer
        raise body_too_large(limit)
    if typed and config.strict_content_type:
        value = request.headers.get("content-type")
        check_content_type(None if value is None else value.encode("latin-1"))
    body = b"".join(chunks)
    check_depth(body)
    return body
