"""Routes that ask about a replica or change its state: health, version, models, cache, sleep, pause.

One FastAPI app serves all replicas of a process; which routes exist for the one that was asked is a table
here, read before FastAPI sees the request.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from simulator.server.errors import ApiError
from simulator.server.http.exchange import read_body
from simulator.server.inflight import InFlight
from simulator.server.routes.server_info import server_info

if TYPE_CHECKING:
    from simulator.server.replica import Replica

router = APIRouter()
DEV_ROUTES = frozenset(
    {
        "/reset_prefix_cache",
        "/reset_mm_cache",
        "/reset_encoder_cache",
        "/collective_rpc",
        "/server_info",
        "/pause",
        "/resume",
        "/is_paused",
        "/abort_requests",
        "/weight_info",
        "/get_world_size",
    }
)
_TAGS = frozenset({"weights", "kv_cache"})
SLEEP_ROUTES = frozenset({"/sleep", "/wake_up", "/is_sleeping"})


async def replica_of(request: Request) -> Any:
    """The replica behind the socket that the request came in by.

    A coroutine: anything else FastAPI gives to a thread, which waits for its turn beside a busy loop.
    """
    return request.scope["state"]["replica"]


Asked = Annotated[Any, Depends(replica_of)]  # a Replica; FastAPI must not look at its fields


@router.get("/health")
async def health(replica: Asked) -> Response:
    """200 as long as the engine lives."""
    status = 503 if replica.prepared.faults.unhealthy else 200
    return Response(replica.prepared.compat.health_body if status == 200 else b"", status)


@router.get("/ping")
@router.post("/ping")
async def ping(replica: Asked) -> Response:
    """SageMaker's name for health."""
    return await health(replica)


@router.get("/health/ready")
@router.get("/ready")
async def ready(replica: Asked) -> Response:
    """Readiness: 503 while starting and while draining, so that no new traffic is sent here."""
    good = replica.state.is_ready() and not replica.prepared.faults.unready
    return Response(replica.prepared.compat.health_body if good else b"", 200 if good else 503)


@router.get("/version")
async def version(replica: Asked) -> dict[str, str]:
    return {"version": replica.prepared.compat.version}


@router.get("/load")
async def load(replica: Asked) -> dict[str, int]:
    """Requests in flight, with --enable-server-load-tracking; else 0."""
    tracked = replica.config.enable_server_load_tracking
    return {"server_load": replica.state.server_load if tracked else 0}


@router.get("/kv_event_sources")
async def kv_event_sources(replica: Asked) -> dict[str, Any]:
    """The KV event configuration of each rank."""
    events = replica.config.kv_events
    if not events.enabled:
        return {}
    described = {
        "enable_kv_cache_events": events.enabled,
        "publisher": events.publisher,
        "endpoint": events.endpoint,
        "replay_endpoint": events.replay_endpoint,
        "buffer_steps": events.buffer_steps,
        "hwm": events.hwm,
        "max_queue_size": events.max_queue_size,
        "topic": events.topic,
    }
    return {str(peer.rank): described for peer in replica.peers}


def _plain(replica: Replica, body: dict[str, Any]) -> Any:
    """`body`, or the empty 200 of servers that have none for such routes."""
    return body if replica.prepared.compat.dev_bodies else Response(b"")


@router.post("/reset_prefix_cache", response_model=None)
async def reset_prefix_cache(
    replica: Asked, reset_running_requests: bool = False, reset_external: bool = False
) -> Any:
    """Forget cached blocks; nothing happens while some are in use, unless requests may be preempted."""
    done = replica.engine.reset_prefix_cache(time.monotonic(), reset_running_requests)
    replica.driver.schedule()
    return {"success": done} if replica.prepared.compat.reset_cache_body else Response(b"")


@router.post("/reset_mm_cache", response_model=None)
@router.post("/reset_encoder_cache", response_model=None)
async def reset_other_cache(replica: Asked) -> Any:
    """There are no such caches here."""
    return Response(b"")


@router.post("/sleep", response_model=None)
async def sleep(replica: Asked, level: Annotated[int, Query(ge=0, le=2)] = 1) -> Any:
    """Free the cache and stop scheduling (vLLM); with llm-d only the cache goes, and only where enabled."""
    config, now = replica.config, time.monotonic()
    compat = replica.prepared.compat
    if not compat.sleep_needs_flag or (config.enable_sleep_mode and config.server_dev_mode):
        if compat.sleep_serves:
            replica.engine.reset_prefix_cache(now)
        else:
            replica.engine.sleep(level, now)
        replica.state.sleep_level = level
        replica.state.awake_tags = frozenset()
    replica.driver.schedule()
    return _plain(replica, {"status": "sleeping", "level": level})


@router.post("/wake_up", response_model=None)
async def wake_up(replica: Asked, tags: Annotated[list[str] | None, Query()] = None) -> Any:
    """All of it, or the parts that `tags` name; whole is who has all of them back."""
    state = replica.state
    state.awake_tags |= _TAGS if not tags else _TAGS & set(tags)
    awake = (
        state.sleep_level is None or state.awake_tags == _TAGS or bool(replica.prepared.compat.sleep_serves)
    )
    if awake:
        if not replica.prepared.compat.sleep_serves:
            replica.engine.wake_up(time.monotonic())
        state.sleep_level = None
        replica.driver.schedule()
    return _plain(replica, {"status": "awake" if awake else "sleeping", "tags": tags})


@router.get("/is_sleeping")
async def is_sleeping(replica: Asked) -> dict[str, bool]:
    return {"is_sleeping": replica.state.sleep_level is not None}


@router.post("/pause")
async def pause(replica: Asked, mode: Literal["abort", "wait", "keep"] = "abort") -> dict[str, str]:
    """Refuse new requests; those in flight are aborted, awaited, or kept as they are."""
    replica.state.paused = True
    if mode == "abort":
        abort_from_outside(replica, list(replica.prepared.active))
    elif mode == "keep":
        replica.engine.pause("all")
    await _until_idle(replica, mode)
    return {"status": "paused"}


async def _until_idle(replica: Replica, mode: str) -> None:
    if mode != "keep":
        await replica.driver.wait_idle()


@router.post("/resume")
async def resume(replica: Asked) -> dict[str, str]:
    replica.state.paused = False
    replica.engine.resume(time.monotonic())
    replica.driver.schedule()
    return {"status": "resumed"}


@router.get("/is_paused")
async def is_paused(replica: Asked) -> dict[str, bool]:
    return {"is_paused": replica.state.paused}


@router.post("/abort_requests")
async def abort_requests(replica: Asked, request: Request) -> dict[str, Any]:
    """End requests by id, or all of them: their clients read finish_reason abort.

    ApiError for ids that are no list.
    """
    body = await _object(request, replica, "Invalid JSON format")
    wanted = body.get("request_ids")
    active: list[InFlight] = list(replica.prepared.active)
    count = len(active)
    if wanted:
        if not isinstance(wanted, list):
            raise ApiError("'request_ids' must be a list of request ids", param="request_ids")
        active = [g for g in active if g.answer_id in wanted]
        count = len(wanted)  # vLLM counts what it was told, not what it found
    abort_from_outside(replica, active)
    return {"status": "aborted", "aborted": count}


async def abort_by_id(request: Request, replica: Replica) -> None:
    """End the requests that a body names; ApiError for one that names none."""
    body = await _object(request, replica, "JSON decode error: {}")
    wanted = body.get("request_ids")
    if wanted is None:
        raise ApiError("Missing 'request_ids' in request body", 400, "Bad Request")
    if not isinstance(wanted, list):
        raise ApiError("'request_ids' must be a list of request ids", 400, "Bad Request")
    active: list[InFlight] = list(replica.prepared.active)
    abort_from_outside(replica, [g for g in active if g.answer_id in wanted])


async def _object(request: Request, replica: Replica, unreadable: str) -> dict[str, Any]:
    """A body that vLLM reads with Python's json module; raises ApiError in the words of such routes."""
    body = await read_body(request, replica, any_type=True)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(unreadable.format(error), 400, "Bad Request") from None
    if not isinstance(value, dict):
        raise ApiError("Request body must be a JSON object", 400, "Bad Request")
    return value


def abort_from_outside(replica: Replica, generations: list[InFlight]) -> None:
    """The server ends these requests; each gets a last output with finish_reason abort."""
    ids = [sequence.request.request_id for g in generations for sequence in g.sequences]
    replica.driver.end_many(ids)


@router.get("/weight_info")
async def weight_info(replica: Asked) -> dict[str, str]:
    return {"weight_version": replica.state.weight_version}


@router.get("/get_world_size")
async def get_world_size(replica: Asked, include_dp: bool = True) -> dict[str, int]:
    """Workers of all ranks, or of one."""
    return {"world_size": (len(replica.peers) if include_dp else 1) * replica.config.tensor_parallel_size}


@router.get("/server_info")
async def get_server_info(replica: Asked, config_format: Literal["text", "json"] = "text") -> dict[str, Any]:
    """The configuration, under vLLM's headings."""
    info = server_info(replica.config)
    return {"vllm_config": str(info) if config_format == "text" else info}


@router.post("/collective_rpc", response_model=None)
async def collective_rpc(replica: Asked, request: Request) -> Any:
    """A method on all workers: there are none, so each of them returns nothing.

    ApiError when it names none.
    """
    body = await _object(request, replica, "JSON decode error: {}")
    if not isinstance(body.get("method"), str):
        raise ApiError("Missing 'method' in request body", 400, "Bad Request")
    await asyncio.sleep(0)
    return {"results": [None] * len(replica.peers)}


Exists = Callable[["Replica"], bool]


def _dev(replica: Replica) -> bool:
    return replica.config.server_dev_mode


def _sleep(replica: Replica) -> bool:
    return replica.config.server_dev_mode or replica.prepared.compat.sleep_always


def _lora(replica: Replica) -> bool:
    return replica.config.allow_runtime_lora_updating or replica.prepared.compat.lora_always


def _embeddings(replica: Replica) -> bool:
    return replica.prepared.compat.embeddings != "absent"


def _ready(replica: Replica) -> bool:
    return replica.prepared.compat.ready_route


def _docs(replica: Replica) -> bool:
    return not replica.config.disable_fastapi_docs


# Routes that only some replicas have.
EXISTS: dict[str, Exists] = {
    **dict.fromkeys(DEV_ROUTES, _dev),
    **dict.fromkeys(SLEEP_ROUTES, _sleep),
    "/v1/load_lora_adapter": _lora,
    "/v1/unload_lora_adapter": _lora,
    "/v1/embeddings": _embeddings,
    "/ready": _ready,
    "/tokenizer_info": lambda replica: replica.config.enable_tokenizer_info_endpoint,
    "/docs": _docs,
    "/redoc": _docs,
    "/openapi.json": _docs,
}
