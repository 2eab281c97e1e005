"""What newer releases of llm-d-inference-sim are asked and told at run time: /admin/config and its elders.

GET /admin/config tells the settings in force; POST changes those that may change. /fake_metrics is its older
form for the metrics alone, /query what Mooncake's proxies look engines up by.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from simulator.config.flags.flag import Kind
from simulator.config.flags.table import FLAGS
from simulator.config.flags.values import read
from simulator.config.serve import LatencyConfig
from simulator.engine.pace.latency import ConstantLatency
from simulator.errors import ConfigError
from simulator.server.errors import ApiError
from simulator.server.http.exchange import read_body
from simulator.server.metrics.fake_metrics import FakeStats
from simulator.server.requests.validation import parse_object
from simulator.server.routes.vllm_admin import Asked
from simulator.sources.parts import constant_times

if TYPE_CHECKING:
    from simulator.server.replica import Replica

router = APIRouter()
ROUTES = ("/admin/config", "/fake_metrics", "/query")
# flag -> field of LatencyConfig
_LATENCIES = {
    **{
        field.name.replace("_", "-"): field.name
        for field in fields(LatencyConfig)
        if field.name.replace("_", "-") in FLAGS
        and FLAGS[field.name.replace("_", "-")].group == FLAGS["latency-calculator"].group
    },
    "latency-calculator": "calculator",
}
_PICTURES = frozenset({"image-emission-rate", "time-to-generate-image", "time-to-generate-image-std-dev"})
_NO_FAKES = "the simulator is reporting real metrics; fake metrics cannot be updated"


@router.get("/admin/config")
async def show_config(replica: Asked) -> dict[str, Any]:
    """The settings in force; durations are text."""
    config, faults = replica.config, replica.prepared.faults
    shown: dict[str, Any] = {
        "port": replica.port,
        "model": config.model,
        "served-model-name": list(config.served_model_names),
        "max-model-len": config.engine.max_model_len,
        "max-num-seqs": config.engine.max_num_seqs,
        "max-waiting-queue-length": config.max_waiting_queue_length,
        "failure-injection-rate": faults.rate,
        "failure-types": list(faults.types),
        "data-parallel-size": config.data_parallel_size,
        "PodName": config.pod_name or "",
        "PodNamespace": config.pod_namespace or "",
    }
    if config.fake_metrics is not None:
        shown["fake-metrics"] = config.fake_metrics
    latency = _latency(replica)
    for name in sorted(_LATENCIES):
        value = getattr(latency, _LATENCIES[name])
        shown[name] = f"{value * 1e3:g}ms" if FLAGS[name].kind is Kind.DURATION else value
    return shown


@router.post("/admin/config")
async def change_config(replica: Asked, request: Request) -> dict[str, Any]:
    """All of the changes or none of them; ApiError for what may not change."""
    wanted = parse_object(await read_body(request, replica), replica.prepared.compat)
    for name in wanted:
        if name in _PICTURES:
            raise ApiError(f"field '{name}' has no effect here: pictures are not simulated")
        if name not in _LATENCIES and name not in ("failure-injection-rate", "failure-types", "fake-metrics"):
            raise ApiError(f"field '{name}' is not admin-configurable")
    try:
        _change(replica, wanted)
    except ConfigError as error:
        raise ApiError(str(error)) from None
    return await show_config(replica)


@router.post("/fake_metrics")
async def change_fake_metrics(replica: Asked, request: Request) -> dict[str, Any]:
    """Other fake metrics from now on; ApiError where the real ones are told."""
    wanted = parse_object(await read_body(request, replica), replica.prepared.compat)
    try:
        _change(replica, {"fake-metrics": wanted})
    except ConfigError as error:
        raise ApiError(str(error)) from None
    return {}


@router.get("/query")
async def query(replica: Asked) -> dict[str, dict[str, str]]:
    """Each rank's engine id, the same for as long as it lives."""
    return {str(peer.rank): {"engine_id": _engine_id(peer)} for peer in replica.peers}


def _engine_id(replica: Replica) -> str:
    transfers = replica.engine.transfers
    if not transfers.engine_id:
        transfers.engine_id = str(uuid.uuid4())
    return str(transfers.engine_id)


def _latency(replica: Replica) -> LatencyConfig:
    return replica.state.latency or replica.config.latency


def _change(replica: Replica, wanted: Mapping[str, Any]) -> None:
    """Everything is read before anything changes; raises ConfigError, or ApiError without a change."""
    faults, stats = replica.prepared.faults, replica.exposition.stats
    given = {name: read(FLAGS[name], value, name) for name, value in wanted.items() if name != "fake-metrics"}
    changes = {_LATENCIES[name]: given[name] for name in given if name in _LATENCIES}
    model = replica.engine.latency
    if changes and not isinstance(model, ConstantLatency):
        raise ApiError(
            "this simulator paces its batches together: start it with a latency of llm-d's, such as "
            "--inter-token-latency 1ms, to change latencies"
        )
    latency = replace(_latency(replica), **changes)
    times = constant_times(latency, replica.config.engine.max_num_seqs)
    if "fake-metrics" in wanted:
        if not isinstance(stats, FakeStats):
            raise ApiError(_NO_FAKES)
        if not isinstance(wanted["fake-metrics"], dict):
            raise ApiError("fake-metrics must be an object")
        stats.replace(wanted["fake-metrics"], tuple(stats.request_success))
    if "failure-injection-rate" in given or "failure-types" in given:
        types = tuple(given.get("failure-types", faults.types))
        faults.set_injection(given.get("failure-injection-rate", faults.rate), types)
    if changes and isinstance(model, ConstantLatency):
        replica.state.latency = latency
        model.change(times)


def _exists(replica: Replica) -> bool:
    return replica.prepared.compat.admin_config


EXISTS: dict[str, Callable[[Replica], bool]] = dict.fromkeys(ROUTES, _exists)
