"""How many pods a metric asks for; the cases are those of Kubernetes' replica calculator."""

from __future__ import annotations

import pytest

from gateway.autoscale.compute import NoMetricError, Seen, replicas_for
from tests.gateway.autoscale.objects import external, hpa, pods_metric


def of_pods(target: str, running: int, values: list[int], current: int | None = None) -> tuple[int, int]:
    made = hpa(pods_metric(target))
    names = [f"p{i}" for i in range(running)]
    seen = Seen(frozenset(names), running, dict(zip(names, values, strict=False)))
    return replicas_for(made, made.metrics[0], running if current is None else current, seen)


@pytest.mark.parametrize(
    ("target", "running", "values", "wanted", "average"),
    [
        ("15", 3, [20_000, 10_000, 30_000], 4, 20_000),  # 20 of 15: 1.33 times 3
        ("10", 1, [39_000], 4, 39_000),
        ("20", 3, [20_000, 21_000, 22_000], 3, 21_000),  # 5 % are within the tolerance
        ("20", 3, [22_000, 22_000, 22_000], 3, 22_000),  # 10 % too
        ("20", 3, [22_100, 22_100, 22_100], 4, 22_100),
        ("20", 5, [10_000] * 5, 3, 10_000),
        ("2", 4, [0, 0, 0, 0], 0, 0),
        ("2", 3, [1, 1, 0], 0, 0),  # thousandths are divided as whole numbers
    ],
)
def test_pods(target: str, running: int, values: list[int], wanted: int, average: int) -> None:
    assert of_pods(target, running, values) == (wanted, average)


@pytest.mark.parametrize(
    ("running", "values", "wanted"),
    [
        (4, [20_000, 20_000, 20_000], 6),  # the fourth counts as idle: 15 of 10
        (4, [11_500, 11_500, 11_500], 4),  # and turns the direction: 8.6 of 10
        (4, [2_000, 2_000, 2_000], 2),  # it counts as at its target: 4 of 10
        (4, [9_500, 9_500, 9_500], 4),
        (2, [5_000], 2),  # 7.5 of 10: two pods
    ],
)
def test_pods_without_a_value(running: int, values: list[int], wanted: int) -> None:
    assert of_pods("10", running, values)[0] == wanted


def test_no_pods_and_no_values() -> None:
    with pytest.raises(NoMetricError, match="no pods returned by selector"):
        of_pods("1", 0, [])
    with pytest.raises(NoMetricError, match="did not receive metrics"):
        of_pods("1", 2, [])


@pytest.mark.parametrize(
    ("target", "total", "current", "ready", "wanted"),
    [
        ({"averageValue": "10"}, 35_000, 2, 2, 4),
        ({"averageValue": "10"}, 21_000, 2, 1, 2),  # 5 % above
        ({"averageValue": "10"}, 5_000, 3, 3, 1),
        ({"averageValue": "10"}, 0, 3, 3, 0),
        ({"averageValue": "10"}, 15_000, 0, 0, 2),
        ({"value": "10"}, 20_000, 3, 2, 4),  # twice the ready ones
        ({"value": "10"}, 10_900, 3, 2, 3),
        ({"value": "10"}, 25_000, 0, 0, 3),
    ],
)
def test_external(target: dict[str, str], total: int, current: int, ready: int, wanted: int) -> None:
    made = hpa(external(**target))
    assert replicas_for(made, made.metrics[0], current, Seen(frozenset(), ready, {}, total))[0] == wanted


def test_an_external_metric_that_is_not_there() -> None:
    made = hpa(external(value="1"))
    with pytest.raises(NoMetricError, match="no series of queue was found"):
        replicas_for(made, made.metrics[0], 1, Seen(frozenset(), 1, {}, None))


def test_a_tolerance_of_its_own() -> None:
    exact = hpa(pods_metric("10"), behavior={"scaleUp": {"tolerance": "10m"}})
    seen = Seen(frozenset({"a"}), 1, {"a": 10_200})
    assert replicas_for(exact, exact.metrics[0], 1, seen) == (2, 10_200)
    down = Seen(frozenset({"a", "b"}), 2, {"a": 9_500, "b": 9_500})
    assert replicas_for(exact, exact.metrics[0], 2, down) == (2, 9_500)
