"""vLLM's scale-out routes: rendering, derendering and tokens in, tokens out. They are not simulated.

Without --enable-scale-out they answer as vLLM does; with it they say that nothing stands behind them.
"""

from __future__ import annotations

from fastapi import APIRouter

from simulator.server.errors import ApiError
from simulator.server.routes.vllm_admin import Asked

SCALE_OUT_ROUTES = (
    "/v1/chat/completions/render",
    "/v1/messages/render",
    "/v1/completions/render",
    "/v1/responses/render",
    "/v1/chat/completions/derender",
    "/v1/completions/derender",
    "/inference/v1/generate",
)
_FLAG = "enable-scale-out"
_DISABLED = "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them."
_ABSENT = "Scale-out endpoints are not simulated: --enable-scale-out has no effect here."
router = APIRouter()


async def refuse(replica: Asked) -> None:
    """ApiError 403, or 501 where the flag was given."""
    if _FLAG in replica.config.meaningless_flags:
        raise ApiError(_ABSENT, 501, "NotImplementedError")
    raise ApiError(_DISABLED, 403, "PermissionDeniedError")


for path in SCALE_OUT_ROUTES:
    router.add_api_route(path, refuse, methods=["POST"], include_in_schema=False)
