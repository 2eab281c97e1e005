"""Faults as state: injection by chance, its limits, and what the control API may set."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from simulator.config.serve import FaultConfig
from simulator.errors import ConfigError
from simulator.server.errors import ApiError
from simulator.server.faultcontrol import clear_faults, faults_in_force, set_faults
from simulator.server.faults import FAILURE_TYPES, Faults
from simulator.server.routes.lab_control import ControlAPI
from tests.simulator.server.pods import Answer, Pod, ask, pod

STATUSES = {
    "rate_limit": (429, "RateLimitError", None),
    "invalid_api_key": (401, "AuthenticationError", None),
    "context_length": (400, "BadRequestError", "messages"),
    "server_error": (503, "InternalServerError", None),
    "invalid_request": (400, "BadRequestError", "model"),
    "model_not_found": (404, "NotFoundError", "model"),
}


@pytest.mark.parametrize("kind", FAILURE_TYPES)
def test_each_type_of_failure(kind: str) -> None:
    faults = Faults.from_config(FaultConfig(100, (kind,)))
    error = faults.injected("the-model", random.Random(1))
    assert error is not None
    assert (error.status, error.kind, error.param) == STATUSES[kind]
    assert ("the-model" in error.message) == (kind in ("rate_limit", "model_not_found"))


@pytest.mark.parametrize(("rate", "low", "high"), [(0, 0, 0), (1, 2, 40), (30, 520, 680), (100, 2000, 2000)])
def test_the_rate_is_in_percent(rate: int, low: int, high: int) -> None:
    faults = Faults(rate=rate)
    rng = random.Random(1)
    count = sum(faults.injected("m", rng) is not None for _ in range(2000))
    assert low <= count <= high


def test_all_types_come_where_none_is_named() -> None:
    faults = Faults.from_config(FaultConfig(100, ()))
    assert faults.types == FAILURE_TYPES
    rng = random.Random(1)
    seen = Counter(error.status for _ in range(200) if (error := faults.injected("m", rng)))
    assert set(seen) == {429, 401, 400, 503, 404}


@pytest.mark.parametrize(
    ("rate", "types", "words"),
    [
        (101, (), "failure injection rate should be between 0 and 100, got 101"),
        (-1, (), "failure injection rate should be between 0 and 100, got -1"),
        (5, ("rate_limit", "meteor"), "invalid failure type 'meteor', valid types are: rate_limit, "),
    ],
)
def test_injection_that_cannot_be(rate: int, types: tuple[str, ...], words: str) -> None:
    faults = Faults(rate=7)
    with pytest.raises(ConfigError, match=words):
        faults.set_injection(rate, types)
    assert faults == Faults(rate=7)


EVERY: dict[str, Any] = {
    "failure_injection_rate": 5,
    "failure_types": ["rate_limit"],
    "latency_factor": 2.5,
    "cut_stream_after": 3,
    "hang_requests": True,
    "metrics_hang": True,
    "metrics_status": 503,
    "metrics_override": {"a": 1.0},
    "unready": True,
    "unhealthy": True,
    "refuse": True,
    "usage": "malformed",
    "truncate": True,
    "content_type": "text/html",
    "slow_headers": 0.5,
}


def test_every_fault_can_be_set_told_and_cleared() -> None:
    with pod("--failure-injection-rate", "9", "--failure-types", "server_error") as one:
        before = faults_in_force(one.replica)
        assert (before["failure_injection_rate"], before["failure_types"]) == (9, ["server_error"])
        set_faults(one.replica, EVERY)
        assert faults_in_force(one.replica) == EVERY
        clear_faults(one.replica)
        assert faults_in_force(one.replica) == before


def test_faults_that_are_not_named_stay() -> None:
    with pod() as one:
        set_faults(one.replica, {"unready": True})
        set_faults(one.replica, {"metrics_status": 404})
        told = faults_in_force(one.replica)
        assert (told["unready"], told["metrics_status"], told["unhealthy"]) == (True, 404, False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("meteor", 1),
        ("unready", 1),
        ("unhealthy", "yes"),
        ("hang_requests", None),
        ("metrics_hang", 0),
        ("cut_stream_after", 0),
        ("cut_stream_after", 1.5),
        ("cut_stream_after", True),
        ("metrics_status", 199),
        ("metrics_status", 600),
        ("metrics_status", "500"),
        ("metrics_override", []),
        ("metrics_override", {"a": "1"}),
        ("failure_types", "rate_limit"),
        ("failure_types", [1]),
        ("failure_injection_rate", 101),
        ("failure_injection_rate", True),
        ("failure_injection_rate", None),
        ("latency_factor", -0.1),
        ("latency_factor", 1e7),
        ("latency_factor", float("nan")),
        ("latency_factor", "2"),
        ("usage", "wrong"),
        ("content_type", "a\r\nb: c"),
        ("content_type", 1),
        ("slow_headers", -1),
        ("slow_headers", None),
        ("truncate", 1),
        ("refuse", "x"),
    ],
)
def test_a_fault_that_cannot_be_changes_nothing(key: str, value: Any) -> None:
    with pod() as one:
        before = faults_in_force(one.replica)
        with pytest.raises(ApiError) as caught:
            set_faults(one.replica, {"unready": True, key: value})
        assert (caught.value.status, caught.value.param) == (400, key)
        assert key in caught.value.message
        assert faults_in_force(one.replica) == before


class Operator:
    """A fleet of one pod that writes down what is asked of it."""

    def __init__(self, one: Pod) -> None:
        self.replicas = {"pod": one.replica}
        self.asked: list[Any] = []

    def is_listening(self, name: str) -> bool:
        return name == "pod"

    def kill(self, name: str, after_tokens: int | None = None) -> None:
        self.asked.append(("kill", name, after_tokens))

    async def restart(self, name: str) -> Any:
        self.asked.append(("restart", name))

    async def apply_faults(self, name: str) -> None:
        """Its sockets are another's."""

    async def drain(self, name: str, timeout_s: float) -> bool:
        self.asked.append(("drain", name, timeout_s))
        return True


def control(
    one: Pod, operator: Operator, method: str, path: str, raw: bytes = b"", token: str = ""
) -> Answer:
    served = ControlAPI(operator, "secret" if token else None)
    headers = {"authorization": token} if token else {}
    headers |= {"content-type": "application/json"} if raw else {}
    return one.run(ask(one.replica, method, path, raw, headers, served))


@pytest.mark.parametrize(
    ("action", "raw", "status", "asked"),
    [
        ("kill", b"", 200, [("kill", "pod", None)]),
        ("kill", b'{"after_tokens": 5}', 200, [("kill", "pod", 5)]),
        ("kill", b'{"after_tokens": -1}', 400, []),
        ("kill", b'{"after_tokens": "5"}', 400, []),
        ("restart", b" ", 200, [("restart", "pod")]),
        ("drain", b"", 200, [("drain", "pod", 30.0)]),
        ("drain", b'{"timeout": 0}', 200, [("drain", "pod", 0.0)]),
        ("drain", b'{"timeout": true}', 400, []),
        ("drain", b'{"timeout": 86401}', 400, []),
        ("stall", b"{}", 400, []),
        ("stall", b'{"seconds": -1}', 400, []),
        ("stall", b"[]", 400, []),
        ("stall", b"{", 400, []),
        ("faults", b'{"latency_factor": 1e400}', 400, []),
        ("reset_prefix_cache", b"", 200, []),
        ("abort_requests", b"", 200, []),
        ("explode", b"", 404, []),
    ],
)
def test_operations(action: str, raw: bytes, status: int, asked: list[Any]) -> None:
    with pod() as one:
        for name in ("pod", "all"):
            operator = Operator(one)
            answer = control(one, operator, "POST", f"/replicas/{name}/{action}", raw)
            assert (answer.status, operator.asked) == (status, asked)
            if status == 200:
                assert list(answer.json()) == ["pod"]
            else:
                assert answer.message


def test_replicas_that_there_are_not() -> None:
    with pod() as one:
        answer = control(one, Operator(one), "GET", "/replicas/other")
        assert (answer.status, answer.message) == (404, "there is no replica 'other'; there are pod")


@pytest.mark.parametrize(
    ("token", "status"), [("Bearer secret", 200), ("Bearer other", 401), ("secret", 401)]
)
def test_a_token(token: str, status: int) -> None:
    with pod() as one:
        assert control(one, Operator(one), "GET", "/replicas", token=token).status == status


def test_a_summary() -> None:
    with pod(ranks=2) as one:
        (told,) = control(one, Operator(one), "GET", "/replicas").json()
        assert (told["name"], told["ports"], told["listening"], told["ready"]) == (
            "pod",
            [8000, 8001],
            True,
            True,
        )
        assert (told["running"], told["waiting"], told["kv_cache_usage"]) == (0, 0, 0.0)
        shown = control(one, Operator(one), "GET", "/replicas/pod").json()
        assert len(shown["ranks"]) == 2
