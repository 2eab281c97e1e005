"""Windows and rates on a virtual clock."""

from __future__ import annotations

from typing import Any

from gateway.autoscale.behavior import History, Limited
from gateway.autoscale.hpa import Hpa
from tests.gateway.autoscale.objects import hpa


def run(made: Hpa, current: int, wanted: list[int], period: float = 15.0) -> list[int]:
    """The replicas after each look, `period` seconds apart."""
    history, found = History(), []
    for i, number in enumerate(wanted):
        after = history.limited(made, current, number, i * period).replicas
        if after != current:
            history.changed(made, current, after, i * period)
        current = after
        found.append(current)
    return found


def behavior(**parts: Any) -> Hpa:
    return hpa(most=100, behavior=parts)


def test_without_behavior_it_doubles_at_most_and_goes_to_four_at_once() -> None:
    assert run(hpa(most=100), 1, [50] * 6) == [4, 8, 16, 32, 50, 50]


def test_without_behavior_it_shrinks_to_the_most_of_five_minutes() -> None:
    wanted = [4, *[1] * 19, 2, 2, 1]
    assert run(hpa(), 4, wanted) == [*[4] * 20, 2, 2, 2]


def test_the_defaults_of_a_behavior() -> None:
    """Up: four pods or all over again in 15 s, whichever is more; down: the most of five minutes."""
    made = behavior(scaleUp={})
    assert run(made, 1, [50] * 5) == [5, 10, 20, 40, 50]
    assert run(made, 5, [5, *[1] * 20, 1]) == [*[5] * 20, 1, 1]


def test_a_rate_counts_what_happened_within_its_period() -> None:
    made = behavior(scaleUp={"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]})
    assert run(made, 1, [9] * 9) == [3, 3, 3, 3, 5, 5, 5, 5, 7]
    slow = behavior(
        scaleDown={
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Percent", "value": 50, "periodSeconds": 30}],
        }
    )
    assert run(slow, 16, [1] * 7) == [8, 8, 4, 4, 2, 2, 1]


def test_which_policy() -> None:
    policies = [
        {"type": "Pods", "value": 1, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ]
    assert run(behavior(scaleUp={"policies": policies}), 4, [20]) == [8]
    assert run(behavior(scaleUp={"policies": policies, "selectPolicy": "Min"}), 4, [20]) == [5]
    assert run(behavior(scaleUp={"selectPolicy": "Disabled"}), 4, [20]) == [4]
    down = {"stabilizationWindowSeconds": 0, "policies": policies}
    assert run(behavior(scaleDown=down), 4, [1]) == [1]
    assert run(behavior(scaleDown={**down, "selectPolicy": "Min"}), 4, [1]) == [3]


def test_a_window_upward_takes_the_least() -> None:
    made = behavior(scaleUp={"stabilizationWindowSeconds": 30})
    assert run(made, 2, [2, 6, 5, 4, 7]) == [2, 2, 5, 5, 5]


def test_what_limits_is_named() -> None:
    made = hpa(least=2, most=3)
    assert History().limited(made, 2, 9, 0.0) == Limited(3, "TooManyReplicas")
    assert History().limited(made, 2, 0, 0.0) == Limited(2, "TooFewReplicas")
    assert History().limited(hpa(most=100), 2, 9, 0.0) == Limited(4, "ScaleUpLimit")
    none = {"stabilizationWindowSeconds": 0}
    limited = hpa(least=2, most=9, behavior={"scaleDown": none})
    assert History().limited(limited, 3, 1, 0.0) == Limited(2, "TooFewReplicas")
    assert History().limited(limited, 3, 12, 0.0) == Limited(7, "ScaleUpLimit")
    one = {"type": "Pods", "value": 1, "periodSeconds": 15}
    slow = hpa(behavior={"scaleDown": {**none, "policies": [one]}})
    assert History().limited(slow, 3, 1, 0.0) == Limited(2, "ScaleDownLimit")
