"""HorizontalPodAutoscalers as they are written: quantities, defaults, and what an API server refuses."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.autoscale.hpa import DOWN, UP, Policy, Selector
from gateway.errors import ManifestError
from tests.gateway.autoscale.objects import external, hpa, pods_metric


@pytest.mark.parametrize(
    ("text", "thousandths"),
    [
        ("2", 2000),
        ("500m", 500),
        ("1.5", 1500),
        ("0.0001", 1),
        ("1k", 1_000_000),
        ("1Ki", 1_024_000),
        ("2e1", 20_000),
    ],
)
def test_quantities(text: str, thousandths: int) -> None:
    assert hpa(pods_metric(text)).metrics[0].target_average == thousandths


def test_defaults() -> None:
    plain = hpa()
    assert (plain.up, plain.down, plain.has_behavior) == (UP, DOWN, False)
    partly = hpa(behavior={"scaleDown": {"stabilizationWindowSeconds": 0}, "scaleUp": {"tolerance": "50m"}})
    assert partly.has_behavior
    assert (partly.down.window_s, partly.down.policies) == (0.0, DOWN.policies)
    assert (partly.up.tolerance, partly.down.tolerance) == (0.05, 0.1)
    slow = hpa(
        behavior={
            "scaleUp": {
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                "selectPolicy": "Min",
            }
        }
    )
    assert (slow.up.policies, slow.up.select) == ((Policy("Pods", 1, 60.0),), "Min")
    exact = hpa(behavior={"scaleUp": {"tolerance": 0}})
    assert exact.up.tolerance == 0.0


def test_without_metrics_it_is_the_cpu() -> None:
    (metric,) = hpa(metrics=[]).metrics
    assert (metric.kind, metric.name, metric.is_simulated) == ("Resource", "cpu", False)


def test_selectors_of_series() -> None:
    selector = Selector({"a": "1"}, (("b", "In", ("x", "y")), ("c", "DoesNotExist", ())))
    assert selector.matches({"a": "1", "b": "x"})
    assert not selector.matches({"a": "1", "b": "z"})
    assert not selector.matches({"a": "1", "b": "x", "c": ""})
    (metric,) = hpa(pods_metric(selector={"matchLabels": {"m": "v"}})).metrics
    assert (metric.selector.matches({"m": "v"}), metric.selector.matches({})) == (True, False)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"maxReplicas": 0}, "maxReplicas: must be minReplicas (1) or more, and 1 or more, is 0"),
        ({"least": 3, "most": 2}, "must be minReplicas (3) or more"),
        ({"least": -1}, "minReplicas: must be 0 or more, is -1"),
        (
            {"metrics": [{"type": "Custom"}]},
            "must be one of ContainerResource, External, Object, Pods, Resource",
        ),
        ({"metrics": [pods_metric("x")]}, "must be a quantity such as 2 or 500m, is 'x'"),
        ({"metrics": [pods_metric("0")]}, "must be above 0"),
        ({"metrics": [external()]}, "exactly one of value and averageValue must be set"),
        ({"metrics": [external(value="1", averageValue="1")]}, "exactly one of"),
        ({"behavior": {"scaleUp": {"selectPolicy": "Most"}}}, "must be Max, Min or Disabled"),
        ({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601}}}, "must be 0 to 3600"),
        (
            {"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1}]}}},
            "must be above 0",
        ),
        (
            {"behavior": {"scaleUp": {"policies": [{"type": "x", "value": 1, "periodSeconds": 1}]}}},
            "Pods or Percent",
        ),
        (
            {"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 0}]}}},
            "1 to 1800",
        ),
    ],
)
def test_what_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError) as refused:
        hpa(**spec)
    assert words in str(refused.value)
