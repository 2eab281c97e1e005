"""Faults of a replica set, told and cleared while it runs; who asks is the control API or a stack.

failure_injection_rate, failure_types   percent of requests that fail, and how
latency_factor                          times of the engine, as a multiple
cut_stream_after                        tokens after which a stream's connection is reset
hang_requests, slow_headers             no answer at all; the answer begins so many seconds later
usage                                   missing or malformed in answers
truncate, content_type                  half of the JSON; another content type
metrics_hang, metrics_status, metrics_override   /metrics silent, with a status, with false values
unready, unhealthy                      readiness routes, /health answer 503
refuse                                  connections are refused; the engine runs on
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simulator.errors import ConfigError, FleetError
from simulator.server.errors import ApiError
from simulator.server.faults import USAGES

if TYPE_CHECKING:
    from simulator.server.replica import Replica

_HEADER = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,200}")


def number(body: Mapping[str, Any], key: str, low: float, high: float) -> float:
    """A number of a body; an ApiError for anything else."""
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ApiError(f"{key} must be a number from {low:g} to {high:g}, not {value!r}", param=key)
    return float(value)


def faults_in_force(replica: Replica) -> dict[str, Any]:
    """The faults of a replica, with the keys that `set_faults` takes."""
    faults = replica.prepared.faults
    return {
        "failure_injection_rate": faults.rate,
        "failure_types": list(faults.types),
        "latency_factor": replica.engine.latency.factor,
        "cut_stream_after": faults.cut_stream_after,
        "hang_requests": faults.hang_requests,
        "metrics_hang": faults.metrics_hang,
        "metrics_status": faults.metrics_status,
        "metrics_override": dict(faults.metrics_override),
        "unready": faults.unready,
        "unhealthy": faults.unhealthy,
        "refuse": faults.refuse,
        "usage": faults.usage,
        "truncate": faults.truncate,
        "content_type": faults.content_type,
        "slow_headers": faults.slow_headers,
    }


def clear_faults(replica: Replica) -> None:
    """As if none had been set; failure injection goes back to the flags."""
    config = replica.config.faults
    none: dict[str, Any] = {
        "latency_factor": 1.0,
        "cut_stream_after": None,
        "metrics_status": None,
        "metrics_override": {},
        "usage": None,
        "content_type": None,
        "slow_headers": 0.0,
        **dict.fromkeys(_SWITCHES, False),
    }
    set_faults(replica, {**none, "failure_injection_rate": config.rate, "failure_types": list(config.types)})


_SWITCHES = ("hang_requests", "metrics_hang", "unready", "unhealthy", "refuse", "truncate")


def set_faults(replica: Replica, body: Mapping[str, Any]) -> None:
    """Change the faults that `body` names; raises ApiError, and changes nothing, where one cannot be."""
    known = faults_in_force(replica)
    unknown = [key for key in body if key not in known]
    if unknown:
        raise ApiError(f"there is no fault {unknown[0]!r}; there are {', '.join(known)}", param=unknown[0])
    wanted = {**known, **body}
    for key, (is_right, what) in _FAULT_VALUES.items():
        if not is_right(wanted[key]):
            raise ApiError(f"{key} must be {what}, not {wanted[key]!r}", param=key)
    rate = number(wanted, "failure_injection_rate", 0, 100)
    factor = number(wanted, "latency_factor", 0.0, 1e6)
    slow = number(wanted, "slow_headers", 0.0, 3600.0)
    faults = replica.prepared.faults
    faults.set_injection(int(rate), tuple(wanted["failure_types"]))
    replica.engine.latency.factor = factor
    faults.cut_stream_after = wanted["cut_stream_after"]
    faults.metrics_status = wanted["metrics_status"]
    faults.usage = wanted["usage"]
    faults.content_type = wanted["content_type"]
    faults.slow_headers = slow
    faults.metrics_override = {name: float(value) for name, value in wanted["metrics_override"].items()}
    for key in _SWITCHES:
        setattr(faults, key, wanted[key])


def _is_integer(value: Any, low: int, high: float) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


# Whether a fault may have a value, and the words for what it may be.
_FAULT_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(_SWITCHES, (lambda value: isinstance(value, bool), "true or false")),
    "cut_stream_after": (
        lambda value: value is None or _is_integer(value, 1, math.inf),
        "null or a number of tokens, at least 1",
    ),
    "metrics_status": (
        lambda value: value is None or _is_integer(value, 200, 599),
        "null or a status from 200 to 599",
    ),
    "metrics_override": (
        lambda value: isinstance(value, dict) and all(isinstance(v, int | float) for v in value.values()),
        "an object of family names and numbers",
    ),
    "usage": (lambda value: value in (None, *USAGES), f"null or one of {', '.join(USAGES)}"),
    "content_type": (
        lambda value: value is None or (isinstance(value, str) and _HEADER.fullmatch(value) is not None),
        "null or a content type",
    ),
    "failure_types": (
        lambda value: isinstance(value, list) and all(isinstance(kind, str) for kind in value),
        "a list of names",
    ),
}


def stall(replica: Replica, seconds: float) -> None:
    """The next engine step comes that much later."""
    replica.engine.stall(seconds, time.monotonic())
    replica.driver.schedule()


def change_faults(
    replicas: Sequence[Replica], changes: Mapping[str, Any], *, clear: bool, stall_s: float
) -> dict[str, Any]:
    """Change the faults of the ranks of one pod; those in force. Raises FleetError where one cannot be."""
    try:
        for replica in replicas:
            if clear:
                clear_faults(replica)
            set_faults(replica, changes)
            if stall_s:
                stall(replica, stall_s)
    except (ApiError, ConfigError) as error:
        raise FleetError(str(error)) from error
    return faults_in_force(replicas[0])
