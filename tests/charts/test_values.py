"""Broken values: each is refused, with a message that names it."""

from __future__ import annotations

import pytest

from tests.charts.conftest import Helm

pytestmark = pytest.mark.charts

BROKEN: list[tuple[str, list[str], str]] = [
    ("simulator", ["--set", "replicas=3"], "replicas"),
    ("simulator", ["--set", "replicaCount=-1"], "replicaCount"),
    ("simulator", ["--set-string", "replicaCount=three"], "replicaCount"),
    ("simulator", ["--set", "kind=DaemonSet"], "kind"),
    ("simulator", ["--set", "port=0"], "port"),
    ("simulator", ["--set", "port=70000"], "port"),
    ("simulator", ["--set", "model="], "model"),
    ("simulator", ["--set", "maxLoras=0"], "maxLoras"),
    ("simulator", ["--set-json", 'loraModules=[{"path":"/x"}]'], "name"),
    ("simulator", ["--set", "profile=h100"], "profile"),
    ("simulator", ["--set", "compat=vllm-9"], "compat"),
    ("simulator", ["--set", "dataParallel=9"], "dataParallel"),
    ("simulator", ["--set", "image.digest=sha256:zz"], "digest"),
    ("simulator", ["--set", "image.pullPolicy=Sometimes"], "pullPolicy"),
    ("simulator", ["--set", "resources.requests.memory=lots"], "memory"),
    ("simulator", ["--set", "topologySpread.whenUnsatisfiable=Perhaps"], "whenUnsatisfiable"),
    ("simulator", ["--set", "podDisruptionBudget.maxUnavailable=half"], "maxUnavailable"),
    (
        "simulator",
        ["--set", "autoscaling.enabled=true,autoscaling.targetRequestsWaiting=0"],
        "targetRequestsWaiting",
    ),
    ("simulator", ["--set", "autoscaling.enabled=true,autoscaling.keda.enabled=true"], "serverAddress"),
    ("simulator", ["--set", "autoscaling.keda.serverAddress=prometheus"], "serverAddress"),
    ("simulator", ["--set", "autoscaling.keda.pollingInterval=0"], "pollingInterval"),
    ("simulator", ["--set", "grafanaDashboards.enabled=yes please"], "enabled"),
    ("simulator", ["--set", "prometheusRule.folder=x"], "folder"),
    ("simulator", ["--set", "podMonitor.interval=often"], "interval"),
    ("simulator", ["--set-json", 'env=[{"value":"x"}]'], "name"),
    ("gateway", ["--set", "crds.inferenceExtension=v2"], "inferenceExtension"),
    ("gateway", ["--set", "epp.release=gie-v9"], "release"),
    ("gateway", ["--set", "inferencePool.failureMode=FailMaybe"], "failureMode"),
    ("gateway", ["--set-json", "inferencePool.targetPorts=[]"], "targetPorts"),
    ("gateway", ["--set", "inferencePool.targetPorts={8000,8000}"], "targetPorts"),
    (
        "gateway",
        ["--set-json", 'inferencePool={"matchLabels":null}', "--set", "inferencePool.matchLabel.app=x"],
        "matchLabel",
    ),
    ("gateway", ["--set", "httpRoute.paths={v1}"], "paths"),
    ("gateway", ["--set", "httpRoute.timeouts.request=forever"], "request"),
    ("gateway", ["--set-json", 'objectives=[{"priority":1}]'], "name"),
    ("gateway", ["--set-json", 'objectives=[{"name":"a","priority":"high"}]'], "priority"),
    (
        "gateway",
        ["--set-json", 'objectives=[{"name":"a"}]', "--set", "crds.inferenceExtension=v1.6.0"],
        "objectives",
    ),
    ("gateway", ["--set", "crds.inferenceExtension=v1.0.1,inferencePool.targetPorts={1,2}"], "targetPorts"),
    ("gateway", ["--set", "crds.inferenceExtension=v1.0.1,inferencePool.appProtocol=http"], "appProtocol"),
    ("gateway", ["--set", "epp.release=llm-d-v0.10,epp.kvCacheMetric=x"], "kvCacheMetric"),
    ("gateway", ["--set-json", 'epp.config={"plugins":[{"name":"x"}]}'], "type"),
    ("gateway", ["--set-json", 'gateway.listeners=[{"name":"h","port":80,"protocol":"SMTP"}]'], "protocol"),
    ("gateway", ["--set", "gateway.serviceType=ExternalName"], "serviceType"),
    ("gateway", ["--set", "destinationRule.apiVersion=networking.istio.io/v3"], "apiVersion"),
    ("loadgen", [], "target"),
    ("loadgen", ["--set", "target=gateway:80"], "target"),
    ("loadgen", ["--set", "target=http://gw,schedule=whenever"], "schedule"),
    ("loadgen", ["--set", "target=http://gw,shards=0"], "shards"),
    ("loadgen", ["--set", "target=http://gw,results.accessMode=Mine"], "accessMode"),
    ("lab", ["--set", "simulator.replicas=2"], "replicas"),
    ("lab", ["--set", "page.exact=perhaps"], "exact"),
    ("lab", ["--set", "sim.replicaCount=2"], "sim"),
]


@pytest.mark.parametrize(
    ("chart", "values", "name"), BROKEN, ids=[f"{c}-{' '.join(v[1:])[:50]}" for c, v, _ in BROKEN]
)
def test_broken_values_are_refused_by_name(helm: Helm, chart: str, values: list[str], name: str) -> None:
    assert name in helm.refusal(chart, *values)
