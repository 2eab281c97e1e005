"""Rules about the picker's Service, flags, configuration, metrics, image and probes."""

from __future__ import annotations

import pytest

from gateway.errors import ManifestError
from tests.gateway.lint.world import WORLD, Case, Edit, findings, marked, world

EPP = "registry.k8s.io/gateway-api-inference-extension/epp"
IMAGE = f"        image: {EPP}:v1.5.0\n"
OLD = (IMAGE, f"        image: {EPP}:v1.2.0\n")
NAME = "        - --pool-name=pool\n"
NAMESPACE = "        - --pool-namespace=apps\n"
CONFIG = "        - --config-file=/config/plugins.yaml\n"
TRACING = "        - --tracing=false\n"
MOUNT = "        - {name: config, mountPath: /config}\n"
VOLUME = "        configMap: {name: epp-config}\n"
SERVICE_PORT = "  - {name: ext-proc, port: 9002, appProtocol: http2}\n"
METRICS_PORT = "  - {name: prom, port: 9090, targetPort: metrics}\n"
STARTUP = "        startupProbe: {grpc: {port: 9003}, failureThreshold: 60}\n"
LIVE = "          grpc: {port: 9003, service: liveness}\n"
LEADER = "        - --ha-enable-leader-election\n"
LEASES = '- apiGroups: [""]\n  resources: [pods]\n'
MAY_LEASE = (
    LEASES,
    "- apiGroups: [coordination.k8s.io]\n  resources: [leases]\n  verbs: ['*']\n" + LEASES,
)
REF = "    port:\n      number: 9002\n"
SPEC = "spec:\n  selector: {app: epp}\n  ports:\n"


IMPATIENT = {"initialDelaySeconds": 5, "periodSeconds": 9, "failureThreshold": 6}


def arg(line: str, flag: str) -> Edit:
    """The args with a further flag."""
    return line, f"{line}        - {flag}\n"


CASES = [
    Case(
        "picker-missing",
        (("    name: epp\n" + REF, "    name: epq\n" + REF), ("  endpointPickerRef:\n", "  endpointPickerRef: # <-\n")),
        "InferencePool apps/pool names the picker Service apps/epq, not there",
        (("    name: epp\n" + REF, "    kind: Service\n    group: ''\n    name: epp\n" + REF),),
    ),
    Case(
        "picker-port",
        ((REF, "    port: # <-\n      number: 9003\n"),),
        "InferencePool apps/pool names port 9003; Service apps/epp has [9002, 9090]",
        ((REF, "    port:\n      number: 9003\n"), (SERVICE_PORT, SERVICE_PORT.replace("9002", "9003"))),
    ),
    Case(
        "picker-port",
        ((REF, ""), ("  endpointPickerRef:\n", "  endpointPickerRef: # <-\n")),
        "InferencePool apps/pool names no port; Service apps/epp has [9002, 9090]",
        ((REF, "    port: {number: 9002}\n"),),
    ),
    Case(
        "picker-protocol",
        ((SERVICE_PORT, "  - {name: ext-proc, port: 9002} # <-\n"),),
        "port 9002 of Service apps/epp has neither appProtocol http2 or grpc nor a name that begins so",
        ((SERVICE_PORT, "  - {name: grpc-ext-proc, port: 9002}\n"),),
    ),
    Case(
        "picker-protocol",
        ((SERVICE_PORT, "  - {name: http2, port: 9002, appProtocol: tcp} # <-\n"),),
        "port 9002 of Service apps/epp has neither appProtocol http2 or grpc nor a name that begins so",
        ((SERVICE_PORT, "  - {name: tcp, port: 9002, appProtocol: kubernetes.io/h2c}\n"),),
    ),
    Case(
        "picker-selector",
        ((SPEC, "spec:\n  selector: {app: epq} # <-\n  ports:\n"),),
        "Service apps/epp selects {'app': 'epq'}, which no pod template carries",
        (("labels: {app: epp}", "labels: {app: epp, more: x}"),),
    ),
    Case(
        "picker-pool-flags",
        ((NAME, "        - --pool-name=other # <-\n"),),
        "Deployment apps/epp has --pool-name other; it picks for apps/pool",
        ((NAME, "        - --pool-name\n        - pool\n"),),
    ),
    Case(
        "picker-pool-flags",
        ((NAMESPACE, "        - --pool_namespace # <-\n        - default\n"),),
        "Deployment apps/epp has --pool-namespace default; it picks for apps/pool",
        ((NAMESPACE, ""),),
    ),
    Case(
        "picker-log-level",
        (arg(TRACING, "-v=4 # <-"),),
        "Deployment apps/epp logs at --v 4",
        (arg(TRACING, "-v=3"),),
    ),
    Case(
        "picker-log-level",
        ((TRACING, TRACING + "        - --v # <-\n        - '5'\n"),),
        "Deployment apps/epp logs at --v 5",
        ((TRACING, TRACING + "        - --v\n        - $(LEVEL)\n"),),
    ),
    Case(
        "dead-flag",
        (arg(TRACING, "--lora-info-metric=x # <-"),),
        "Deployment apps/epp sets --lora-info-metric, which gie-v1.5 no longer takes",
        (
            arg(TRACING, "--kv-cache-usage-percentage-metric=vllm:kv_cache_usage_perc"),
            (IMAGE, f"        image: {EPP}:v1.4.0\n"),
        ),
    ),
    Case(
        "picker-config",
        ((CONFIG, "        - --config-file=/config/other.yaml # <-\n"),),
        "Deployment apps/epp reads /config/other.yaml; ConfigMap apps/epp-config has plugins.yaml",
        ((CONFIG, "        - --config-file=/etc/other.yaml\n"),),
    ),
    Case(
        "picker-config",
        ((VOLUME, "        configMap: {name: no-config}\n"), (CONFIG, CONFIG.replace("\n", " # <-\n"))),
        "Deployment apps/epp mounts ConfigMap no-config, which is not there",
        ((VOLUME, "        secret: {secretName: no-config}\n"),),
    ),
    Case(
        "picker-config",
        (
            (VOLUME, "        configMap: {name: epp-config, items: [{key: plugins.yaml, path: renamed.yaml}]}\n"),
            (CONFIG, CONFIG.replace("\n", " # <-\n")),
        ),
        "Deployment apps/epp reads /config/plugins.yaml; ConfigMap apps/epp-config has plugins.yaml",
        (
            (VOLUME, "        configMap: {name: epp-config, items: [{key: plugins.yaml, path: a/b.yaml}]}\n"),
            (CONFIG, "        - --config-file=/config/a/b.yaml\n"),
        ),
    ),
    Case(
        "picker-config",
        (
            (MOUNT, "        - {name: config, mountPath: /config/plugins.yaml, subPath: other.yaml}\n"),
            (CONFIG, CONFIG.replace("\n", " # <-\n")),
        ),
        "Deployment apps/epp reads /config/plugins.yaml; ConfigMap apps/epp-config has plugins.yaml",
        ((MOUNT, "        - {name: config, mountPath: /config/plugins.yaml, subPath: plugins.yaml}\n"),),
    ),
    Case(
        "picker-metrics",
        ((METRICS_PORT, ""), (SPEC, SPEC.replace("ports:", "ports: # <-"))),
        "Service apps/epp does not expose the picker's metrics port 9090",
        ((METRICS_PORT, "  - {name: prom, port: 80, targetPort: 9090}\n"),),
    ),
    Case(
        "picker-metrics",
        (
            (METRICS_PORT, METRICS_PORT.replace("metrics", "9090")),
            (SPEC, SPEC.replace("ports:", "ports: # <-")),
            arg(TRACING, "--metrics-port=9999"),
        ),
        "Service apps/epp does not expose the picker's metrics port 9999",
        (
            (METRICS_PORT, METRICS_PORT.replace("metrics", "scrape")),
            ("{containerPort: 9090, name: metrics}", "{containerPort: 9999, name: scrape}"),
            arg(TRACING, "--metrics-port=9999"),
        ),
    ),
    Case(
        "picker-tracing",
        ((TRACING, ""), ("        args:\n        - --pool-name", "        args: # <-\n        - --pool-name")),
        "Deployment apps/epp does not turn --tracing off, which is on by default",
        ((TRACING, "        - --tracing\n        - 'false'\n"),),
    ),
    Case(
        "picker-image",
        ((IMAGE, f"        image: {EPP.replace('registry', 'us-central1-docker.pkg.dev/k8s-staging-images')}:v1.5.0 # <-\n"),),
        "the picker's image us-central1-docker.pkg.dev/k8s-staging-images.k8s.io/gateway-api-inference-extension/epp:"
        "v1.5.0 comes from a staging registry, whose images expire",
        ((IMAGE, f"        image: {EPP}:v1.4.0\n"),),
    ),
    Case(
        "picker-image",
        ((IMAGE, IMAGE.replace("\n", " # <-\n") + "        imagePullPolicy: Always\n"),),
        f"the picker's image {EPP}:v1.5.0 has a fixed tag and is pulled always",
        ((IMAGE, f"        image: {EPP}\n        imagePullPolicy: Always\n"),),
    ),
    Case(
        "picker-probes",
        ((STARTUP, ""), ("        livenessProbe:\n          grpc", "        livenessProbe: # <-\n          grpc")),
        "Deployment apps/epp is not live until it has synced its pool, and is restarted after about 30 s",
        ((STARTUP, ""), (LIVE, LIVE + "          initialDelaySeconds: 30\n")),
    ),
    Case(
        "picker-probes",
        (
            (STARTUP, ""),
            ("        livenessProbe:\n          grpc", "        livenessProbe: # <-\n          grpc"),
            (LIVE, LIVE + "".join(f"          {k}: {v}\n" for k, v in IMPATIENT.items())),
        ),
        "Deployment apps/epp is not live until it has synced its pool, and is restarted after about 59 s",
        ((STARTUP, ""), (LIVE, LIVE + "          periodSeconds: 20\n")),
    ),
    Case(
        "picker-probe-service",
        (
            (LIVE, LIVE.replace("liveness", "envoy.service.ext_proc.v3.ExternalProcessor")),
            ("        livenessProbe:\n          grpc", "        livenessProbe: # <-\n          grpc"),
            (TRACING, TRACING + LEADER),
            MAY_LEASE,
        ),
        "livenessProbe of Deployment apps/epp asks for gRPC service 'envoy.service.ext_proc.v3.ExternalProcessor' "
        "with leader election on",
        ((LIVE, LIVE.replace("liveness", "envoy.service.ext_proc.v3.ExternalProcessor")),),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_and_its_neighbour(case: Case) -> None:
    case.check()


def test_a_pool_without_a_picker() -> None:
    start = WORLD.index("  endpointPickerRef:")
    text = WORLD[:start] + WORLD[WORLD.index("---", start) :]
    text = text.replace("spec:\n  selector:\n    matchLabels", "spec: # <-\n  selector:\n    matchLabels")
    found = {f.rule.id: f for f in findings(text)}
    assert set(found) == {"picker-missing", "pool-failure-mode", "not-run"}
    assert found["picker-missing"].message == "InferencePool apps/pool has no endpointPickerRef"
    assert [found["picker-missing"].line] == marked(text)


def test_a_picker_in_another_namespace_is_named() -> None:
    text = world(("metadata: {name: epp, namespace: apps}\nspec:\n  selector: {app: epp}",
                  "metadata: {name: epp, namespace: other}\nspec:\n  selector: {app: epp}"))  # fmt: skip
    (found,) = [f for f in findings(text) if f.rule.id == "picker-missing"]
    assert found.message == (
        "InferencePool apps/pool names the picker Service apps/epp, not there; "
        "Service other/epp is in another namespace"
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    - type: queue-scorer\n", "    - typo: queue-scorer\n", "typo"),
        (
            "      - pluginRef: queue-scorer\n",
            "      - pluginRef: no-scorer\n",
            "no-scorer is a reference to an undefined Plugin",
        ),
        (
            "    - type: queue-scorer\n",
            "    - {name: a, type: queue-scorer}\n    - {name: a, type: x}\n",
            "plugin name 'a' used more than once",
        ),
        (
            "    - type: queue-scorer\n",
            "    - {name: q, type: queue-scorer}\n",
            "queue-scorer is a reference to an undefined Plugin",
        ),
        ("    kind: EndpointPickerConfig\n", "    kind: [\n", "plugins.yaml of ConfigMap apps/epp-config: "),
    ],
)
def test_a_configuration_that_the_picker_would_refuse(old: str, new: str, words: str) -> None:
    text = world((old, new), ("  plugins.yaml: |\n", "  plugins.yaml: | # <-\n"))
    found = [f for f in findings(text) if f.rule.id == "picker-config"]
    assert [f.message.startswith("plugins.yaml of ConfigMap apps/epp-config: ") for f in found] == [True]
    assert words in found[0].message
    assert [found[0].line] == marked(text)


def test_a_configuration_that_is_no_text() -> None:
    start = WORLD.index("data:\n  plugins.yaml")
    text = WORLD[:start] + "binaryData:\n  plugins.yaml: //4=\n" + WORLD[WORLD.index("---", start) :]
    (found,) = findings(text)
    assert found.rule.id == "picker-config"
    assert "codec can't decode byte 0xff" in found.message


def test_a_configuration_in_the_flags() -> None:
    whole = "apiVersion: inference.networking.x-k8s.io/v1alpha1\\nkind: EndpointPickerConfig\\n"
    assert findings(world((CONFIG, f'        - "--config-text={whole}"\n'))) == []
    text = world((CONFIG, f'        - "--config-text={whole}plugin: []" # <-\n'))
    (found,) = findings(text)
    assert found.rule.id == "picker-config"
    assert found.message.startswith("--config-text of Deployment apps/epp: ")
    assert "plugin" in found.message
    assert [found.line] == marked(text)


@pytest.mark.parametrize(
    ("server", "flag", "exported"),
    [
        ("vllm/vllm-openai:v0.11.0", None, "vllm:kv_cache_usage_perc"),
        ("ghcr.io/llm-d/llm-d-inference-sim:v0.7.1", None, "vllm:kv_cache_usage_perc"),
        ("ghcr.io/llm-d/llm-d-inference-sim:v0.6.0", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        ("vllm/vllm-openai:v0.8.5", "my:metric", "vllm:gpu_cache_usage_perc"),
    ],
)
def test_a_picker_that_reads_a_metric_the_server_does_not_have(
    server: str, flag: str | None, exported: str
) -> None:
    edits = [OLD, ("vllm/vllm-openai:v0.11.0", server)]
    named = f"--kv-cache-usage-percentage-metric={flag} # <-" if flag else ""
    edits.append(
        arg(TRACING, named)
        if flag
        else ("        args:\n        - --pool-name", "        args: # <-\n        - --pool-name")
    )
    text = world(*edits)
    (found,) = findings(text)
    reads = flag or "vllm:gpu_cache_usage_perc"
    assert found.rule.id == "picker-kv-metric"
    assert (
        found.message
        == f"Deployment apps/epp (gie-v1.2) reads {reads}; Deployment apps/server exports {exported}"
    )
    assert [found.line] == marked(text)
    right = world(OLD, edits[1], arg(TRACING, f"--kv-cache-usage-percentage-metric={exported}"))
    assert findings(right) == []


@pytest.mark.parametrize(
    "image", ["example.com/own-server:v3", "ghcr.io/x/vllm-simfleet:0.1.0", "vllm/vllm-openai:nightly"]
)
def test_a_server_whose_metrics_nobody_knows_is_left_alone(image: str) -> None:
    found = findings(world(OLD, ("vllm/vllm-openai:v0.11.0", image)))
    assert [f for f in found if f.rule.id != "container-note"] == []  # what its entrypoint is taken for


def test_a_picker_of_unknown_release_is_asked_less() -> None:
    """Without a release there are no names of metrics, no dead flags and no objectives to watch."""
    text = world(
        (IMAGE, "        image: example.com/own-picker:dev\n"),
        arg(TRACING, "--lora-info-metric=x"),
        (TRACING, ""),
    )
    assert findings(text.replace(METRICS_PORT, "")) == []


def test_flags_in_the_command_count_as_those_in_the_args() -> None:
    args = "        args:\n        - --pool-name=pool\n"
    text = world(
        (args, "        command:\n        - /epp\n        - --pool-name=other # <-\n        args:\n")
    )
    (found,) = findings(text)
    assert (found.rule.id, [found.line]) == ("picker-pool-flags", marked(text))


def test_the_value_of_a_flag_is_not_taken_for_a_flag() -> None:
    """A pool called v: the log level stands further down."""
    text = world(
        (NAME, "        - --pool-name\n        - v\n        - -v=9 # <-\n"),
        ("metadata: {name: pool, namespace: apps}", "metadata: {name: v, namespace: apps}"),
        ("      name: pool\n", "      name: v\n"),
    )
    (found,) = findings(text)
    assert (found.rule.id, [found.line]) == ("picker-log-level", marked(text))


@pytest.mark.parametrize("value", ["soon", "'5'", "[1]", "true"])
def test_a_probe_of_the_wrong_type_is_a_manifest_that_cannot_be_read(value: str) -> None:
    text = world((STARTUP, ""), (LIVE, f"{LIVE}          initialDelaySeconds: {value} # <-\n"))
    with pytest.raises(
        ManifestError, match=r"livenessProbe\.initialDelaySeconds: must be an integer"
    ) as caught:
        findings(text)
    assert f":{marked(text)[0]}:" in str(caught.value)


def test_a_metrics_port_that_is_no_number_is_no_port_of_the_service() -> None:
    (found,) = findings(world(arg(TRACING, "--metrics-port=$(PORT)")))
    assert (found.rule.id, found.message) == (
        "picker-metrics",
        "Service apps/epp does not expose the picker's metrics port $(PORT)",
    )


@pytest.mark.parametrize(
    "probe",
    ["startupProbe: {grpc: {port: 9003}}", "readinessProbe: {grpc: {port: 9003, service: readiness}}"],
)
def test_services_that_leader_election_has(probe: str) -> None:
    assert (
        findings(
            world(
                (STARTUP, f"        {probe}\n{'' if 'startup' in probe else STARTUP}"),
                (TRACING, TRACING + LEADER),
                MAY_LEASE,
            )
        )
        == []
    )
