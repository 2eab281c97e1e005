"""The faults of `simfleet fault` by name: what each sets in a replica, and those in force in words.

The keys are those of the simulator's control API (simulator/server/faultcontrol.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import ControlError, UsageError
from gateway.stack.pods import Pod

Read = Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class Fault:
    """`read` turns what stands behind the `=` into changes; `default` is meant without one (None: needed)."""

    about: str
    read: Read
    default: str | None = ""
    value: str = ""


@dataclass
class Wanted:
    """What a command line asks for; a ControlServer's arguments."""

    changes: dict[str, Any] = field(default_factory=dict)
    clear: bool = False
    stall_s: float = 0.0


def _number(text: str, low: float, high: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise UsageError(f"{what} must be a number from {low:g} to {high:g}, not {text!r}")
    return value


def _setting(
    key: str, low: float, high: float, kind: Callable[[float], Any] = float
) -> Callable[[str], dict[str, Any]]:
    return lambda text: {key: kind(_number(text, low, high, key))}


def _switch(key: str) -> Read:
    def read(text: str) -> dict[str, Any]:
        if text not in ("on", "off"):
            raise UsageError(f"{key} is on or off, not {text!r}")
        return {key: text == "on"}

    return read


def _errors(text: str) -> dict[str, Any]:
    share = int(_number(text, 0, 100, "errors"))
    return {"failure_injection_rate": share, "failure_types": ["server_error"]}


def _usage(text: str) -> dict[str, Any]:
    if text not in ("missing", "malformed"):
        raise UsageError(f"usage is missing or malformed, not {text!r}")
    return {"usage": text}


def _metrics(text: str) -> dict[str, Any]:
    override = {}
    for item in text.split(","):
        family, colon, value = item.rpartition(":")
        if not colon or not family:
            raise UsageError(f"metrics wants FAMILY:VALUE, such as vllm:num_requests_waiting:0, not {item!r}")
        override[family] = _number(value, float("-inf"), float("inf"), f"metrics {family}")
    return {"metrics_override": override}


FAULTS: dict[str, Fault] = {
    "stall": Fault("the next engine step comes so much later", lambda _: {}, "2", "SECONDS"),
    "slow": Fault("times of the engine, as a multiple", _setting("latency_factor", 0, 1e6), "2", "FACTOR"),
    "cut": Fault(
        "streams are reset after so many tokens", _setting("cut_stream_after", 1, 1e9, int), "10", "TOKENS"
    ),
    "hang": Fault("requests are taken and never answered", _switch("hang_requests"), "on"),
    "refuse": Fault("connections are refused; the pod lives and stays an endpoint", _switch("refuse"), "on"),
    "errors": Fault("so many percent of requests are answered 503", _errors, "20", "PERCENT"),
    "metrics-hang": Fault("/metrics is never answered", _switch("metrics_hang"), "on"),
    "metrics-status": Fault(
        "/metrics answers a status", _setting("metrics_status", 200, 599, int), "503", "STATUS"
    ),
    "metrics": Fault("/metrics tells another value", _metrics, None, "FAMILY:VALUE[,...]"),
    "unready": Fault("readiness fails: the pod is no endpoint", _switch("unready"), "on"),
    "unhealthy": Fault("/health answers 503", _switch("unhealthy"), "on"),
    "usage": Fault("answers' usage", _usage, "missing", "missing|malformed"),
    "truncate": Fault("answers end in the middle of their JSON", _switch("truncate"), "on"),
    "content-type": Fault(
        "answers name another content type", lambda text: {"content_type": text}, "text/html", "TYPE"
    ),
    "slow-headers": Fault("answers begin so much later", _setting("slow_headers", 0, 3600), "5", "SECONDS"),
}


def read_faults(words: Sequence[str]) -> Wanted:
    """What `NAME`, `NAME=VALUE` and `off` ask for; a UsageError for anything else."""
    wanted = Wanted()
    for word in words:
        name, equals, value = word.partition("=")
        if word == "off":
            wanted = Wanted(clear=True)
            continue
        fault = FAULTS.get(name)
        if fault is None:
            raise UsageError(f"there is no fault {name!r}; there are {', '.join(FAULTS)}, and off ends all")
        if not equals:
            if fault.default is None:
                raise UsageError(f"{name} wants a value: {name}={fault.value}")
            value = fault.default
        if name == "stall":
            wanted.stall_s = _number(value, 0, 3600, "stall")
        wanted.changes |= fault.read(value)
    return wanted


def in_words(faults: Mapping[str, Any]) -> str:
    """The faults in force, `none` where there are none."""
    shown = []
    for key, value in faults.items():
        usual = 1.0 if key == "latency_factor" else None
        if value and value != usual and (key != "failure_types" or faults["failure_injection_rate"]):
            shown.append(key if value is True else f"{key} {value}")
    return ", ".join(shown) or "none"


async def change(fault: Callable[[str], Awaitable[Mapping[str, Any]]], pods: Sequence[Pod]) -> str:
    """Have `fault` done to each of the pods by name; those in force, a line a pod.

    Raises ControlError for a pod that does not run.
    """
    for pod in pods:
        if not pod.is_running:
            raise ControlError(f"pod {pod.name} is {pod.state}: it has no faults")
    lines = [f"pod {pod.name}: {in_words(await fault(pod.name))}" for pod in pods]
    return "\n".join(lines) or "no pod is running"
