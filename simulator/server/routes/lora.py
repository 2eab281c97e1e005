"""Loading and unloading adapters at run time, /v1/load_lora_adapter and /v1/unload_lora_adapter.

Loading makes the engine take the weights before the answer; unloading takes only the name away, requests in
flight finish.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from simulator.config.compat import Compat
from simulator.server.errors import ApiError
from simulator.server.http.exchange import read_body
from simulator.server.requests.other import LoadLoRAAdapterRequest, UnloadLoRAAdapterRequest
from simulator.server.requests.validation import parse_object, validate
from simulator.server.routes.vllm_admin import Asked

if TYPE_CHECKING:
    from simulator.server.replica import Replica

router = APIRouter()


def _refusal(compat: Compat, message: str) -> ApiError:
    return ApiError(message, 400, compat.lora_error_kind)


@router.post("/v1/load_lora_adapter", response_model=None)
async def load_lora_adapter(replica: Asked, request: Request) -> Response:
    """Register an adapter and load it; ApiError for one that vLLM refuses."""
    compat: Compat = replica.prepared.compat
    raw = parse_object(await read_body(request, replica), compat)
    if not compat.lora_path_required:
        raw = {"lora_path": "", **raw}
    wanted = validate(raw, LoadLoRAAdapterRequest, compat)
    if compat.lora_checks == "name":
        _check_name(wanted)
    else:
        _check_load(replica, wanted)
    if not replica.config.engine.enable_lora:
        raise ApiError("LoRA is not enabled. Use --enable-lora to enable LoRA.")
    parent = replica.prepared.served[0]
    entry = replica.loras.add(wanted.lora_name, wanted.lora_path, parent)
    now = time.monotonic()
    loaded = replica.engine.add_lora(entry.request, now)
    replica.driver.schedule()
    await asyncio.sleep(loaded - now)
    if not compat.lora_success_text:
        return Response(b"")
    return Response(f"Success: LoRA adapter '{wanted.lora_name}' added successfully.")


def _check_name(wanted: LoadLoRAAdapterRequest) -> None:
    """llm-d takes everything, even a nameless adapter, which then answers to requests without a model."""
    if not wanted.lora_name:
        raise ApiError("'lora_name' must be provided to load a LoRA adapter.")


def _check_load(replica: Replica, wanted: LoadLoRAAdapterRequest) -> None:
    compat = replica.prepared.compat
    name = wanted.lora_name
    if not name or not wanted.lora_path:
        raise _refusal(compat, "Both 'lora_name' and 'lora_path' must be provided.")
    if compat.lora_checks == "loaded":
        if name in replica.loras:
            raise _refusal(compat, f"The lora adapter '{name}' has already been loaded.")
        return
    if name in replica.prepared.served:
        raise _refusal(compat, f"The lora adapter '{name}' conflicts with a served base model.")
    if name in replica.loras and not wanted.load_inplace:
        raise _refusal(
            compat,
            f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, "
            "set 'load_inplace' to True.",
        )
    if replica.config.strict and not Path(wanted.lora_path).exists():
        # Adapters need no files here; --strict misses them as vLLM does.
        message = f"Loading lora {name} failed: No adapter found for {wanted.lora_path}"
        raise ApiError(message, 404, "NotFoundError")


@router.post("/v1/unload_lora_adapter", response_model=None)
async def unload_lora_adapter(replica: Asked, request: Request) -> Response:
    """Forget an adapter's name; ApiError for a name that is not loaded."""
    compat: Compat = replica.prepared.compat
    raw = parse_object(await read_body(request, replica), compat)
    wanted = validate(raw, UnloadLoRAAdapterRequest, compat)
    name = wanted.lora_name
    if compat.lora_checks != "name":
        if not name and not wanted.lora_int_id:
            raise _refusal(compat, "'lora_name' needs to be provided to unload a LoRA adapter.")
        if name not in replica.loras:
            message = f"The lora adapter '{name}' cannot be found."
            raise ApiError(message, 404, "NotFoundError")
    entry = replica.loras.remove(name)
    if entry is not None:
        replica.engine.remove_lora(entry.request.int_id)
    if not compat.lora_success_text:
        return Response(b"")
    return Response(f"Success: LoRA adapter '{name}' removed successfully.")
