"""Each rule: a mistake made in sound manifests is found at its line, and sound manifests give nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.lint import run
from gateway.lint.facts import flags, kv_metrics_of, release_of
from gateway.lint.finding import RULES, Finding, Severity
from tests.gateway.lint import world

ROOT = Path(__file__).parents[3]
PAGE = ROOT.parent / "shared" / "page"
CRDS = ROOT.parent / "shared" / "data" / "crds"

SOUND = (ROOT / "deploy" / "page" / "base" / "lab.yaml").read_text()


def findings(text: str, crds: str | None = None) -> list[Finding]:
    return world.findings(text, crds, "lab.yaml")


def test_the_rendered_lab_has_nothing_to_find() -> None:
    assert findings(SOUND) == []


# What is replaced in the sound manifests by what, the rule that finds it, and a word of the message.
MISTAKES = [
    ("      app: inference-model-server\n  targetPorts", "      app: nobody\n  targetPorts", "pool-selector", "nobody"),
    ("    - number: 8000", "    - number: 8001", "pool-target-port", "8001"),
    ('            - "8000"', '            - "8002"', "pool-target-port", "8002"),
    ("apiVersion: inference.networking.k8s.io/v1\n", "apiVersion: inference.networking.x-k8s.io/v1alpha2\n",
     "pool-api-version", "v1alpha2"),
    ("    failureMode: FailClose\n", "", "pool-failure-mode", "failureMode"),
    ("    kind: Service\n    name: inference-epp\n", "    kind: Service\n    name: other-epp\n", "picker-missing", "other-epp"),
    ("    port:\n      number: 9002", "    port:\n      number: 9009", "picker-port", "9009"),
    ("appProtocol: http2", "appProtocol: tcp", "picker-protocol", "9002"),
    ("- --pool-name\n            - \"inference-model-server-pool\"", "- --pool-name\n            - \"another\"",
     "picker-pool-flags", "another"),
    ("- type: queue-scorer", "- typo: queue-scorer", "picker-config", "typo"),
    ("- type: prefix-cache-scorer", "- type: prefix-cache-scorer\n      parameters: {prefixMatchInfoProducerName: x}",
     "picker-inert-setting", "prefixMatchInfoProducerName"),
    ("- /config/plugins.yaml", "- /config/other.yaml", "picker-config", "other.yaml"),
    ("mode: SIMPLE", "mode: DISABLE", "picker-tls", "TLS"),
    ("insecureSkipVerify: true", "sni: x", "picker-tls", "verifies"),
    ("insecureSkipVerify: true", "caCertificates: /ca.pem", "picker-tls", "gives none"),
    ("mode: SIMPLE", "mode: ISTIO_MUTUAL", "picker-tls", "ISTIO_MUTUAL"),
    ("--secure-serving=true", "--secure-serving=false", "picker-tls", "plain text"),
    ("host: inference-epp.inference-model-server.svc.cluster.local", "host: inference-epp.other.svc.cluster.local",
     "picker-tls", "inference-epp.other"),
    ("host: inference-epp.inference-model-server.svc.cluster.local", "host: inference-epp", "destination-rule-host", "inference-epp"),
    ("resources: [inferenceobjectives, inferencemodelrewrites]", "resources: [inferenceobjectives]", "picker-rbac", "rewrites"),
    ("resources: [pods]\n    verbs: [get, list, watch]", "resources: [pods]\n    verbs: [get]", "picker-rbac", "pods"),
    ("image: registry.k8s.io/gateway", "image: gcr.io/k8s-staging-images/gateway", "picker-image", "staging"),
    ("              service: inference-extension\n", "              service: inference-extension\n", "", ""),
    ("- --tracing=false", "- --ha-enable-leader-election", "picker-probe-service", "SERVICE_UNKNOWN"),
    ("- --tracing=false", "- --tracing=true", "picker-tracing", "tracing"),
    ('            - "1"\n            - --zap-encoder', '            - "5"\n            - --zap-encoder', "picker-log-level", "5"),
    ("--metrics-endpoint-auth=false", "--metrics-endpoint-auth=true", "picker-metrics", "tokens"),
    ("      targetPort: metrics", "      targetPort: 1", "picker-metrics", "9090"),
    ("      serviceAccountName: inference-epp\n", "", "picker-rbac", "default"),
    ("            - name: POD_IP", "            - name: SD_QUEUE_DEPTH_THRESHOLD\n              value: x\n            - name: POD_IP",
     "dead-flag", "SD_QUEUE"),
    ("- --tracing=false", "- --tracing=false\n            - --lora-info-metric=x", "dead-flag", "lora-info-metric"),
    ("          readinessProbe:\n            httpGet", "          otherProbe:\n            httpGet", "server-hardening", "readinessProbe"),
    ("      sectionName: http", "      sectionName: https", "route-parent", "listener"),
    ("          from: All", "          from: Same", "route-parent", "allows no HTTPRoute of namespace"),
    ("          name: inference-model-server-pool\n          weight", "          name: no-pool\n          weight", "route-backend", "no-pool"),
    ("- group: inference.networking.k8s.io\n          kind: InferencePool", "- group: inference.networking.x-k8s.io\n          kind: InferencePool",
     "route-backend", "x-k8s.io"),
    ("          weight: 1", "          weight: 1\n        - {name: inference-epp, port: 1}", "route-backend", "names port 1 of"),
    ("          weight: 1", "          weight: 1\n          namespace: other", "route-grant", "other"),
    ("          weight: 1", "          weight: 1\n          port: 8000", "route-port", "8000"),
    ("          weight: 1", "          weight: 1\n        - {group: inference.networking.k8s.io, kind: InferencePool, name: two}",
     "route-pools", "2 pools"),
    ("            value: \"/v1/models\"", "            value: \"/v2/models\"", "route-paths", "/v1/models"),
]  # fmt: skip
CASES = [m for m in MISTAKES if m[2]]


@pytest.mark.parametrize(("old", "new", "rule", "word"), CASES, ids=[f"{m[2]}-{m[3]}" for m in CASES])
def test_a_mistake_is_found_where_it_stands(old: str, new: str, rule: str, word: str) -> None:
    assert old in SOUND, "the chart's rendering has changed: mend this table"
    found = [f for f in findings(SOUND.replace(old, new, 1)) if f.rule.id == rule]
    assert found, f"{rule} not found"
    text = " ".join(f"{f.message} {f.consequence}" for f in found)
    assert word in text, text
    assert all(f.line > 0 and f.file == "lab.yaml" and f.mend and f.consequence for f in found)


def test_every_rule_is_tried_here() -> None:
    elsewhere = {
        "picker-kv-metric",
        "schema",
        "picker-selector",
        "picker-service-account",
        "picker-probes",
        "server-env",
        "server-image",
        "route-filter",
        *("up-refuses", "container-note", "not-simulated", "not-read", "not-run", "gateway-class"),
    }
    assert set(RULES) == {m[2] for m in CASES} | elsewhere


def test_a_route_whose_hostnames_no_listener_has() -> None:
    text = SOUND.replace(
        "      sectionName: http", "      sectionName: http\n  hostnames: [other.example]", 1
    )
    assert [f for f in findings(text) if f.rule.id == "route-parent"] == []
    text = text.replace("      protocol: HTTP\n", "      protocol: HTTP\n      hostname: lab.example\n", 1)
    assert "lab.example" in text
    (found,) = [f for f in findings(text) if f.rule.id == "route-parent"]
    assert "no hostname of the route fits" in found.message


def test_a_picker_service_that_selects_nothing() -> None:
    text = SOUND.replace(
        "    app.kubernetes.io/component: endpoint-picker\n  ports",
        "    app.kubernetes.io/component: x\n  ports",
        1,
    )
    assert "picker-selector" in {f.rule.id for f in findings(text)}


def test_a_picker_that_reads_another_kv_metric() -> None:
    old_picker = SOUND.replace("epp:v1.5.0", "epp:v1.2.0", 1)
    assert findings(old_picker) == [], "this simulator exports both names"
    text = old_picker.replace("ghcr.io/vllm-simfleet/vllm-simfleet:0.1.0", "vllm/vllm-openai:v0.11.0")
    assert [f.rule.id for f in findings(text)] == ["picker-kv-metric"]


def test_a_cors_filter_on_a_pool() -> None:
    text = SOUND.replace(
        "      backendRefs:",
        "      filters: [{type: CORS, cors: {allowOrigins: ['*']}}]\n      backendRefs:",
        1,
    )
    assert "route-filter" in {f.rule.id for f in findings(text)}


def test_a_replaced_root() -> None:
    def rules_of(new: str) -> set[str]:
        return {f.rule.id for f in findings(SOUND.replace('value: "/v1/models"', 'value: "/"').replace(
            "      backendRefs:",
            "      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, "
            f"replacePrefixMatch: {new}}}}}}}]\n      backendRefs:",
            1,
        ))}  # fmt: skip

    assert "route-filter" in rules_of("/pre")
    assert "route-filter" not in rules_of("/")


def test_the_page_has_the_defects_that_manifests_can_show(capsys: pytest.CaptureFixture[str]) -> None:
    if not PAGE.exists():
        pytest.skip(f"{PAGE} is not there")
    args = [
        "-f",
        str(PAGE / "model-server.yaml"),
        "-f",
        str(PAGE / "endpoint-picker.yaml"),
        "--format",
        "json",
    ]
    assert run(args) == 1
    found = json.loads(capsys.readouterr().out)
    # 4, 5, 6 and 8 are about the page's commands and links, not its manifests.
    assert {f["defect"] for f in found} - {None} == {1, 2, 3, 7, 9, 10, 11, 12, 13, 14, 16, 17}
    assert {f["rule"] for f in found if f["severity"] == "error"} == {"picker-rbac", "picker-kv-metric"}


def test_crds_of_a_generation(capsys: pytest.CaptureFixture[str]) -> None:
    if not CRDS.exists():
        pytest.skip(f"{CRDS} is not there")
    two_ports = SOUND.replace(
        "    - number: 8000", "    - number: 8000\n    - number: 8001\n  appProtocol: http", 1
    )
    old = [
        f.message
        for f in findings(two_ports, str(CRDS / "inference-extension-v1.0.1"))
        if f.rule.id == "schema"
    ]
    assert any("appProtocol" in m for m in old), old
    assert any("1 items" in m for m in old), old
    new = findings(two_ports, str(CRDS / "inference-extension-v1.5.0"))
    assert [f for f in new if f.rule.id == "schema"] == []
    assert run(["-f", str(ROOT / "deploy/page/base"), "--crds", str(ROOT / "deploy")]) == 2
    assert "no CustomResourceDefinition" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json", "sarif", "github"])
def test_formats(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(SOUND.replace("mode: SIMPLE", "mode: DISABLE", 1))
    assert run(["-f", str(file), "--format", form]) == 1
    out = capsys.readouterr().out
    assert "picker-tls" in out
    if form == "sarif":
        log = json.loads(out)
        assert log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] > 0
    if form == "github":
        assert out.startswith("::error file=")


def test_what_cannot_be_read_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("kind: [\n")
    assert run(["-f", str(file)]) == 2
    assert f"{file}:" in capsys.readouterr().err
    assert run(["-f", str(tmp_path / "nothing.yaml")]) == 2


def test_files_may_stand_without_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(ROOT / "deploy/page/base")]) == 0
    assert run([]) == 2
    assert "name the manifests" in capsys.readouterr().err


def test_strict_counts_warnings(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(
        SOUND.replace("image: registry.k8s.io/gateway", "image: gcr.io/k8s-staging-images/gateway", 1)
    )
    assert run(["-f", str(file)]) == 0
    assert run(["-f", str(file), "--strict"]) == 1


def test_flags_of_a_command_line() -> None:
    assert flags(["-v", "4", "--a=b", "--c_d", "--e", "x y"]) == {
        "v": "4",
        "a": "b",
        "c-d": "true",
        "e": "x y",
    }


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("us-central1-docker.pkg.dev/x/gateway-api-inference-extension/epp:v20251119-2aaf2a6", "gie-v1.2"),
        ("registry.k8s.io/gateway-api-inference-extension/epp:v1.5.0", "gie-v1.5"),
        ("ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0", "llm-d-v0.10"),
        ("example.com/my-epp:dev", None),
    ],
)
def test_release_by_image(image: str, name: str | None) -> None:
    release = release_of(image)
    assert (release.name if release else None) == name


def test_kv_metrics_by_image() -> None:
    assert kv_metrics_of("ghcr.io/llm-d/llm-d-inference-sim:v0.7.1") == {"vllm:kv_cache_usage_perc"}
    assert kv_metrics_of("vllm/vllm-openai:v0.8.5") == {"vllm:gpu_cache_usage_perc"}
    assert kv_metrics_of("ghcr.io/vllm-simfleet/vllm-simfleet:0.1.0") is not None
    assert kv_metrics_of("example.com/server:latest") is None


def test_rules_have_severities() -> None:
    assert {r.severity for r in RULES.values()} == set(Severity)
