"""What the scale-out routes share: their flags, their bodies, their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from simulator.server.errors import ApiError
from simulator.server.http.exchange import read_body
from simulator.server.requests.validation import parse_object

if TYPE_CHECKING:
    from simulator.server.replica import Replica


_DISABLED = "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them."


def check_enabled(replica: Replica) -> None:
    """Raises vLLM's 403 where no flag asks for these routes."""
    if not (replica.config.enable_scale_out or replica.config.tokens_only):
        raise ApiError(_DISABLED, 403, "PermissionDeniedError")


def parses(replica: Replica) -> bool:
    """Whether a parser of the server takes answers apart."""
    config = replica.config
    return config.reasoning.parser is not None or bool(
        config.enable_auto_tool_choice and config.tool_call_parser
    )


async def body_of(request: Request, replica: Replica) -> dict[str, Any]:
    """The JSON object of a request; raises ApiError, 403 where the routes are off."""
    check_enabled(replica)
    return parse_object(await read_body(request, replica), replica.prepared.compat)


def as_json(replica: Replica, body: Any) -> Response:
    """A whole answer."""
    return Response(replica.prepared.encode(body), media_type="application/json")
