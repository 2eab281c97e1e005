"""Routes by which operators and trainers change a running vLLM: engines, weights, memory, profiles.

There are no weights here. The version that they are said to have is kept; what only a GPU can do answers as a
vLLM that is not set up for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response

from simulator.server.errors import ApiError
from simulator.server.http.exchange import read_body
from simulator.server.requests.validation import parse_object
from simulator.server.routes.vllm_admin import Asked

if TYPE_CHECKING:
    from simulator.server.replica import Replica

router = APIRouter()
_BAD = "Bad Request"
_NO_TRANSFER = (
    "Call to collective_rpc method failed: Worker failed with error 'Weight transfer not configured. Please "
    "set weight_transfer_config to enable weight transfer.', please check the stack trace above for the root "
    "cause"
)
_NOT_PAUSED = (
    "Call to release_kv_cache_memory method failed: release_kv_cache_memory() requires a completed pause "
    "first"
)
_TENSORS = ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight")  # of a model in little
WEIGHT_ROUTES = (
    "/start_weight_update", "/start_draft_weight_update", "/finish_weight_update",
)  # fmt: skip
TRANSFER_ROUTES = ("/init_weight_transfer_engine", "/update_weights", "/shutdown_weight_transfer_engine")
DEV_ROUTES = (
    *WEIGHT_ROUTES,
    *TRANSFER_ROUTES,
    "/update_weight_version",
    "/weight_checker",
    "/release_kv_cache_memory",
)
RECENT_ROUTES = ("/scale_elastic_ep", "/is_scaling_elastic_ep")
PROFILE_ROUTES = ("/start_profile", "/stop_profile")


@router.post("/scale_elastic_ep")
async def scale_elastic_ep(replica: Asked, request: Request) -> dict[str, str]:
    """Refused: the number of engines of a server is fixed here. ApiError."""
    body = parse_object(await read_body(request, replica), replica.prepared.compat)
    size, timeout = body.get("new_data_parallel_size"), body.get("drain_timeout", 120)
    if size is None:
        raise ApiError("new_data_parallel_size is required", 400, _BAD)
    for name, value in (("new_data_parallel_size", size), ("drain_timeout", timeout)):
        if not isinstance(value, int) or value <= 0:
            raise ApiError(f"{name} must be a positive integer", 400, _BAD)
    raise ApiError("Scale failed", 500, "Internal Server Error")


@router.post("/is_scaling_elastic_ep")
async def is_scaling_elastic_ep() -> dict[str, Any]:
    return {
        "is_scaling_elastic_ep": False,
        "phase": "idle",
        "epoch": None,
        "error": None,
        "requested_data_parallel_size": None,
    }


@router.post("/release_kv_cache_memory")
async def release_kv_cache_memory(replica: Asked) -> dict[str, str]:
    """The cache is empty afterwards, as it is where its memory was given back. ApiError: not paused."""
    if not replica.state.paused:
        raise ApiError(_NOT_PAUSED, 500, "InternalServerError")
    replica.engine.reset_prefix_cache(time.monotonic())
    return {"status": "kv_cache_released"}


@router.post("/update_weight_version")
async def update_weight_version(
    replica: Asked, new_version: Annotated[str, Body(embed=True)]
) -> dict[str, Any]:
    replica.state.weight_version = new_version
    return {"success": True, "new_version": new_version}


@router.post("/weight_checker")
async def weight_checker(
    replica: Asked,
    action: Annotated[Literal["checksum", "reset", "compare"], Body(embed=True)],
    baseline: Annotated[dict[str, str] | None, Body(embed=True)] = None,
) -> dict[str, Any]:
    """Sums over the weights that this model's name stands for.

    ApiError: a comparison without a baseline.
    """
    if action == "reset":
        return {"status": "reset"}
    if action == "compare" and baseline is None:
        raise ApiError("action='compare' requires a 'baseline' object", 400, _BAD)
    seed = f"{replica.config.model}|{replica.state.weight_version}"
    sums = {name: hashlib.sha256(f"{seed}|{name}".encode()).hexdigest() for name in _TENSORS}
    if action == "checksum" or baseline is None:
        return {"checksums": sums}
    differing = sorted(name for name in sums.keys() | baseline.keys() if sums.get(name) != baseline.get(name))
    return {"match": not differing, "mismatches": differing}


@router.post("/init_weight_transfer_engine")
async def init_weight_transfer_engine(init_info: Annotated[dict[str, Any], Body(embed=True)]) -> None:
    """ApiError."""
    await no_weight_transfer()


@router.post("/update_weights")
async def update_weights(update_info: Annotated[dict[str, Any], Body(embed=True)]) -> None:
    """ApiError."""
    await no_weight_transfer()


@router.post("/shutdown_weight_transfer_engine")
async def shutdown_weight_transfer_engine() -> dict[str, str]:
    return {"message": "Weight transfer shut down"}


async def no_weight_transfer() -> None:
    """ApiError: without --weight-transfer-config there is nobody to take weights."""
    raise ApiError(_NO_TRANSFER, 500, "InternalServerError")


for path in WEIGHT_ROUTES:
    router.add_api_route(path, no_weight_transfer, methods=["POST"], include_in_schema=False)


@router.post("/start_profile")
@router.post("/stop_profile")
async def profile() -> Response:
    """Taken; there is nothing to look at in an engine without a model."""
    return Response(b"")


def _dev(replica: Replica) -> bool:
    return replica.config.server_dev_mode


def _recent(replica: Replica) -> bool:
    return replica.prepared.compat.scale_out


def _profiles(replica: Replica) -> bool:
    return "profiler-config" in replica.config.meaningless_flags


EXISTS: dict[str, Callable[[Replica], bool]] = {
    **dict.fromkeys(DEV_ROUTES, _dev),
    **dict.fromkeys(RECENT_ROUTES, _recent),
    **dict.fromkeys(PROFILE_ROUTES, _profiles),
}
