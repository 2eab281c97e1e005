"""Whether a generating request is let in, and as what: faults, queues, pauses, model names, ranks.

Every refusal is an ApiError in the words of the imitated server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.engine.request import LoRARequest
from simulator.server.errors import ApiError, busy, paused, queue_full, unknown_model
from simulator.server.http.exchange import Exchange

if TYPE_CHECKING:
    from simulator.server.replica import Replica


def check_faults(exchange: Exchange, model: object) -> None:
    """X-Return-Error and failure injection; raises ApiError."""
    wanted = exchange.headers.get(b"x-return-error")
    if wanted is not None:
        raise _returned(wanted.decode("latin-1"))
    prepared = exchange.prepared
    if prepared.faults.rate:
        name = model if isinstance(model, str) and model else prepared.served[0]
        error = prepared.faults.injected(name, prepared.random_for(None))
        if error is not None:
            raise error


def _returned(value: str) -> ApiError:
    try:
        status = int(value)
    except ValueError:
        return ApiError(f'Invalid X-Return-Error header value "{value}": must be an integer')
    if not 400 <= status <= 599:
        return ApiError(f"Invalid X-Return-Error header value {status}: must be from 400 to 599")
    message = f"Simulated error triggered by X-Return-Error header (code {status})"
    return ApiError(message, status, _kind(status))


def _kind(status: int) -> str:
    kinds = {
        400: "BadRequestError",
        401: "AuthenticationError",
        403: "PermissionDeniedError",
        404: "NotFoundError",
        422: "UnprocessableEntityError",
        429: "RateLimitError",
    }
    return kinds.get(status, "InternalServerError" if status >= 500 else "APIConnectionError")


def resolve_model(replica: Replica, name: str | None) -> tuple[str, LoRARequest | None]:
    """The name that an answer carries, and the adapter; raises ApiError for a name that nobody serves."""
    prepared = replica.prepared
    if not name and prepared.compat.missing_model == "first-served":
        return prepared.served[0], None
    if name in prepared.served:
        return prepared.served[0], None
    entry = replica.loras.get(name or "")
    if entry is None:
        raise unknown_model(prepared.compat, name or "", prepared.served)
    return entry.request.name, entry.request


def check_open(replica: Replica) -> None:
    """Pause and queue limits; raises ApiError."""
    if replica.state.paused:
        raise paused()
    config = replica.config
    if config.max_num_queued_reqs is None and config.max_waiting_queue_length is None:
        return
    waiting = _num_waiting(replica)
    if config.max_num_queued_reqs is not None and waiting >= config.max_num_queued_reqs:
        replica.count_rejection("max_num_queued_reqs")
        raise busy()
    limit = config.max_waiting_queue_length
    if limit is not None and waiting >= limit and (limit or _is_busy(replica)):
        raise queue_full()


def check_queued_tokens(replica: Replica, prompt_tokens: int) -> None:
    """--max-num-queued-tokens; raises ApiError."""
    limit = replica.config.max_num_queued_tokens
    if limit is not None and _num_waiting_tokens(replica) + prompt_tokens > limit:
        replica.count_rejection("max_num_queued_tokens")
        raise busy()


def _is_busy(replica: Replica) -> bool:
    """Whether whoever comes now has to wait."""
    return replica.driver.num_unfinished >= replica.config.engine.max_num_seqs


def _num_waiting(replica: Replica) -> int:
    """Sequences without a slot, those counted that came since the last step."""
    stats = replica.engine.stats
    unfinished = replica.driver.num_unfinished
    if stats.num_requests_waiting:
        return unfinished - stats.num_requests_running
    return max(0, unfinished - replica.config.engine.max_num_seqs)


def _num_waiting_tokens(replica: Replica) -> int:
    return sum(
        len(sequence.request.prompt_token_ids)
        for generation in replica.prepared.active
        for sequence in generation.sequences
        if sequence.request.scheduled_time is None
    )


def pick_rank(exchange: Exchange, is_read: bool = True) -> Replica:
    """The rank that X-data-parallel-rank names, else one that the port picks.

    Beam search goes its own way in vLLM, where the header is not read.
    """
    replica: Replica = exchange.replica
    wanted = exchange.headers.get(b"x-data-parallel-rank")
    try:
        rank = int(wanted) if wanted is not None and is_read else None
    except ValueError:
        rank = None
    if rank is None:
        return replica if replica.balancer is None else replica.peers[replica.balancer.pick(replica.peers)]
    size = len(replica.peers)
    if not 0 <= rank < size:
        return replica  # until `check_rank`: vLLM finds it out in its engine
    return replica.peers[rank]


def check_rank(exchange: Exchange, is_read: bool = True) -> None:
    """Refuse a rank that there is not; raises ApiError."""
    wanted = exchange.headers.get(b"x-data-parallel-rank")
    size = len(exchange.replica.peers)
    try:
        rank = 0 if wanted is None or not is_read else int(wanted)
    except ValueError:
        return
    if not 0 <= rank < size:
        raise ApiError(f"data_parallel_rank {rank} is out of range [0, {size}).", streams=True)


def orca_header(exchange: Exchange) -> tuple[tuple[bytes, bytes], ...]:
    """endpoint-load-metrics in the format that the request asks for; nothing without."""
    wanted = exchange.headers.get(b"endpoint-load-metrics-format")
    if wanted is None:
        return ()
    stats = exchange.replica.engine.stats
    values: dict[str, Any] = {
        "num_requests_waiting": float(stats.num_requests_waiting),
        "kv_cache_usage_perc": float(stats.kv_cache_usage),
    }
    kind = wanted.strip().upper()
    if kind == b"TEXT":
        text = ", ".join(f"named_metrics.{name}={value}" for name, value in values.items())
        return ((b"endpoint-load-metrics", f"TEXT {text}".encode()),)
    if kind == b"JSON":
        inner = ", ".join(f'"{name}": {value}' for name, value in values.items())
        return ((b"endpoint-load-metrics", f'JSON {{"named_metrics": {{{inner}}}}}'.encode()),)
    return ()
