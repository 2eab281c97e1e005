"""Every chart over a matrix of values: core kinds by the API's schemas, custom ones by their CRDs and CEL rules."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import yaml

from tests.charts.conftest import ROOT, Helm
from tests.charts.crds import GENERATIONS, SHARED, Crds

pytestmark = pytest.mark.charts

KUBERNETES = ["1.28", "1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35"]
GATEWAY_API = ["gateway-api-v1.4.0", "gateway-api-v1.6.0"]

MATRIX: dict[str, list[list[str]]] = {
    "simulator": [
        [],
        ["--set", "kind=StatefulSet"],
        ["--set", "dataParallel=4"],
        ["--set", "profile=llama-3.1-8b/h100,compat=vllm-0.11"],
        ["--set", "config.max-num-seqs=8,config.seed=3"],
        ["--set", "autoscaling.enabled=true,autoscaling.targetCPU=80"],
        ["--set", "networkPolicy.enabled=true,podMonitor.enabled=true"],
        ["--set", "grafanaDashboards.enabled=true,prometheusRule.enabled=true"],
        ["--set", "autoscaling.enabled=true,autoscaling.adapterRule.enabled=true"],
        [
            "--set",
            "autoscaling.enabled=true,autoscaling.keda.enabled=true,autoscaling.keda.serverAddress=http://p:9090",
        ],
        ["--set", "serviceAccount.create=false,service.create=false,podDisruptionBudget.enabled=false"],
        ["--set", "args={--time-to-first-token=50,--inter-token-latency=5}"],
        ["--set-json", 'loraModules=[{"name":"a"},{"name":"b","path":"/b"}]'],
    ],
    "gateway": [
        [],
        *[
            ["--set", f"epp.release={r}"]
            for r in ("page", "gie-v1.2", "gie-v1.3", "gie-v1.4", "llm-d-v0.9", "llm-d-v0.10")
        ],
        *[["--set", f"crds.inferenceExtension={c}"] for c in GENERATIONS],
        ["--set", "inferencePool.targetPorts={8000,8001}"],
        ["--set", "inferencePool.failureMode=FailOpen,inferencePool.appProtocol=kubernetes.io/h2c"],
        ["--set", "epp.replicas=2,epp.metricsAuth=true,epp.podMonitor.enabled=true"],
        ["--set", "grafanaDashboards.enabled=true,prometheusRule.enabled=true"],
        ["--set", "epp.secureServing=false"],
        ["--set", "gateway.namespace=istio-ingress,gateway.serviceType=ClusterIP"],
        ["--set", "referenceGrant.fromNamespaces={other}"],
        ["--set-json", 'objectives=[{"name":"batch","priority":-1},{"name":"chat","priority":5}]'],
        ["--set-json", 'objectives=[{"name":"batch"}]', "--set", "crds.inferenceExtension=llm-d"],
        [
            "--set-json",
            'modelRewrites=[{"name":"r","rules":[{"matches":[{"model":{"type":"Exact","value":"a"}}],'
            '"targets":[{"modelRewrite":"b","weight":1}]}]}]',
        ],
        [
            "--set-json",
            'httpRoute={"hostnames":["llm.example.com"],"timeouts":{"request":"300s"},"weight":90,'
            '"extraBackends":[{"name":"canary","weight":10}]}',
        ],
    ],
    "loadgen": [
        ["--set", "target=http://gw:80"],
        ["--set", "target=http://gw:80,grafanaDashboards.enabled=true"],
        ["--set", "target=http://gw:80,shards=4,results.create=true,results.accessMode=ReadWriteMany"],
        ["--set", "target=http://gw:80,schedule=0 3 * * *"],
        ["--set", "target=http://gw:80,results.existingClaim=mine", "--set-string", "scenarioFile=name: x"],
    ],
    "lab": [
        [],
        ["--set", "simulator.replicaCount=8,gateway.epp.release=llm-d-v0.10"],
        ["--set", "loadgen.enabled=true,loadgen.target=http://gateway-istio:80"],
        ["--set", "page.exact=true"],
    ],
}
CASES = [(chart, values) for chart, rows in MATRIX.items() for values in rows]


def _generation(resources: list[dict[str, Any]], values: list[str]) -> str:
    for value in values:
        for generation in GENERATIONS:
            if f"crds.inferenceExtension={generation}" in value:
                return generation
    return "llm-d" if any("llm-d" in v for v in values) else "v1.5.0"


@cache
def _validate_core(resource: str) -> None:
    """A core resource against every Kubernetes version; cached, since most charts render most of it alike."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="make test-charts installs it")
    for version in KUBERNETES:
        kubernetes_validate.validate(json.loads(resource), version, strict=True)


@pytest.mark.parametrize(("chart", "values"), CASES, ids=[f"{c}-{' '.join(v[1:])[:60]}" for c, v in CASES])
def test_renders_what_the_api_takes(helm: Helm, chart: str, values: list[str]) -> None:
    resources = helm.template(chart, *values)
    assert resources
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not there: no CRDs to validate against")
    generation = _generation(resources, values)
    pools = "inference-extension-v1.6.0" if generation == "llm-d" else GENERATIONS[generation]
    for gateway_api in GATEWAY_API:
        crds = Crds(pools, GENERATIONS[generation], gateway_api, "istio")
        for resource in resources:
            if crds.covers(resource):
                assert crds.errors(resource) == [], f"{resource['kind']} under {generation}, {gateway_api}"
            elif resource["apiVersion"] not in ("monitoring.coreos.com/v1", "keda.sh/v1alpha1"):
                assert "." not in resource["apiVersion"].split("/")[0] or resource["apiVersion"].endswith(
                    "k8s.io/v1"
                ), resource
                _validate_core(json.dumps(resource, sort_keys=True))


@pytest.mark.parametrize("chart", sorted(MATRIX))
def test_lint(helm: Helm, chart: str) -> None:
    done = helm.run("lint", "--strict", str(ROOT / "charts" / chart), *MATRIX[chart][0])
    assert done.returncode == 0, done.stdout + done.stderr


def test_helm_3_and_4_render_the_same(helm: Helm) -> None:
    """Goldens: the default rendering of the lab, byte for byte, under every Helm."""
    golden = ROOT / "deploy" / "page" / "base" / "lab.yaml"
    resources = helm.template(
        "lab",
        "--skip-tests",
        "-f",
        str(ROOT / "deploy" / "page" / "values.yaml"),
        namespace="inference-model-server",
    )
    assert resources == [d for d in yaml.safe_load_all(golden.read_text()) if d]


def test_page_exact_is_the_page(helm: Helm) -> None:
    page = ROOT.parent / "shared" / "page"
    if not page.exists():
        pytest.skip(f"{page} is not there")
    want = [
        d
        for name in ("model-server.yaml", "endpoint-picker.yaml")
        for d in yaml.safe_load_all((page / name).read_text())
        if d
    ]
    have = helm.template("lab", "--set", "page.exact=true")
    key = lambda d: (d["kind"], d["metadata"]["name"])  # noqa: E731
    assert sorted(have, key=key) == sorted(want, key=key)


def test_no_namespace_but_the_releases(helm: Helm) -> None:
    for chart, values in CASES:
        if "page.exact=true" in values or any("gateway.namespace" in v for v in values):
            continue
        for resource in helm.template(chart, *values, namespace="elsewhere"):
            assert resource["metadata"].get("namespace", "elsewhere") == "elsewhere", resource["metadata"]


def test_the_packaged_lab_is_the_charts(helm: Helm) -> None:
    preset = ROOT / "gateway" / "presets" / "lab" / "lab.yaml"
    want = [d for d in yaml.safe_load_all(preset.read_text()) if d]
    assert helm.template("lab", "--skip-tests", namespace="lab") == want
