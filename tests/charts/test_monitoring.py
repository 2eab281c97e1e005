"""Dashboards, rules and autoscalers as the charts render them; tests/observability asks their queries."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.charts.conftest import CHARTS, Helm

MADE = {
    "simulator": ("vllm-pods.json",),
    "gateway": ("gateway.json", "picker.json"),
    "loadgen": ("loadgen.json",),
}
TARGET = {"loadgen": ["--set", "target=http://gw:80"]}


def test_the_dashboards_are_what_their_table_makes() -> None:
    done = subprocess.run(
        [sys.executable, CHARTS / "dashboards.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.charts
@pytest.mark.parametrize("chart", sorted(MADE))
def test_dashboards_reach_grafana_whole(helm: Helm, chart: str) -> None:
    rendered = helm.template(chart, *TARGET.get(chart, ()), "--set", "grafanaDashboards.enabled=true")
    labelled = [r for r in rendered if r["metadata"]["labels"].get("grafana_dashboard") == "1"]
    held = {name: json.loads(text) for r in labelled for name, text in r["data"].items()}
    folder = CHARTS / chart / "files" / "dashboards"
    assert held == {name: json.loads((folder / name).read_text()) for name in MADE[chart]}


@pytest.mark.charts
@pytest.mark.parametrize("chart", ["simulator", "gateway"])
def test_rules_reach_the_operator_whole(helm: Helm, chart: str) -> None:
    (rule,) = _kind(helm.template(chart, "--set", "prometheusRule.enabled=true"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHARTS / chart / "files" / "rules.yaml").read_text())


@pytest.mark.charts
@pytest.mark.parametrize("chart", sorted(MADE))
def test_nothing_of_it_by_default(helm: Helm, chart: str) -> None:
    rendered = helm.template(chart, *TARGET.get(chart, ()))
    assert not _kind(rendered, "PrometheusRule", "ScaledObject", "HorizontalPodAutoscaler")
    assert not [r for r in rendered if "grafana_dashboard" in r["metadata"]["labels"]]


@pytest.mark.charts
def test_keda_scales_by_the_pods_own_queue(helm: Helm) -> None:
    address = "autoscaling.keda.serverAddress=http://prometheus:9090"
    rendered = helm.template(
        "simulator",
        "--set",
        f"autoscaling.enabled=true,autoscaling.keda.enabled=true,autoscaling.targetCPU=80,{address}",
    )
    assert not _kind(rendered, "HorizontalPodAutoscaler")
    (scaled,) = _kind(rendered, "ScaledObject")
    (workload,) = _kind(rendered, "Deployment")
    assert scaled["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]
    waiting, cpu = scaled["spec"]["triggers"]
    pods = f'{{namespace="lab",pod=~"{workload["metadata"]["name"]}-.+"}}'
    assert waiting["metadata"] == {
        "serverAddress": "http://prometheus:9090",
        "query": f"sum(vllm:num_requests_waiting{pods})",
        "threshold": "4",
    }
    assert cpu["metadata"] == {"value": "80"}


@pytest.mark.charts
def test_the_adapter_serves_the_metric_that_the_autoscaler_asks_for(helm: Helm) -> None:
    rendered = helm.template(
        "simulator", "--set", "autoscaling.enabled=true,autoscaling.adapterRule.enabled=true"
    )
    (hpa,) = _kind(rendered, "HorizontalPodAutoscaler")
    (rules,) = [yaml.safe_load(r["data"]["config.yaml"])["rules"] for r in _kind(rendered, "ConfigMap")
                if r["metadata"]["name"].endswith("-adapter")]  # fmt: skip
    assert rules[0]["name"]["as"] == hpa["spec"]["metrics"][0]["pods"]["metric"]["name"]


def _kind(resources: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [r for r in resources if r["kind"] in kinds]
