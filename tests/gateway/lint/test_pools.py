"""Rules about pools and model servers: each mistake beside its nearest legal neighbour."""

from __future__ import annotations

import pytest

from tests.gateway.lint.world import POOL, SERVER, WORLD, Case, findings, marked, world

ARGS = "        args: [--model, base]\n"
PORT = "  - number: 8000\n"
CONTAINER_PORT = "        - containerPort: 8000\n"
IMAGE = "        image: vllm/vllm-openai:v0.11.0\n"
ENV = "        resources: {requests"
LABELS = "    matchLabels: {app: server}\n"
SIM = "        image: ghcr.io/llm-d/llm-d-inference-sim:v0.7.1\n"

CASES = [
    Case(
        "pool-selector",
        (("  selector:\n" + LABELS, "  selector: # <-\n    matchLabels: {app: serve}\n"),),
        "InferencePool apps/pool selects {'app': 'serve'}, which no pod template in apps carries",
        (("labels: {app: server}", "labels: {app: server, tier: gpu}"),),
    ),
    Case(
        "pool-selector",
        (
            ("  selector:\n" + LABELS, "  selector: # <-\n" + LABELS),
            ("metadata: {name: server, namespace: apps}", "metadata: {name: server, namespace: other}"),
        ),
        "InferencePool apps/pool selects {'app': 'server'}, which no pod template in apps carries; Deployment "
        "other/server would match but is in another namespace",
        (("kind: Deployment\nmetadata: {name: server,", "kind: StatefulSet\nmetadata: {name: server,"),),
    ),
    Case(
        "pool-target-port",
        ((PORT, "  - number: 8001 # <-\n"),),
        "InferencePool apps/pool targets port 8001; pods of Deployment apps/server listen on 8000",
        (
            (PORT, "  - number: 8001\n"),
            (CONTAINER_PORT, "        - containerPort: 8001\n"),
            (ARGS, "        args: [--model, base, --port=8001]\n"),
        ),
    ),
    Case(
        "pool-target-port",
        ((PORT, PORT + "  - number: 8001 # <-\n"),),
        "InferencePool apps/pool targets port 8001; pods of Deployment apps/server listen on 8000",
        (
            (PORT, PORT + "  - number: 8001\n"),
            (CONTAINER_PORT, CONTAINER_PORT + "        - containerPort: 8001\n"),
            (ARGS, "        args: [--model, base, -dp, '2']\n"),
        ),
    ),
    Case(
        "pool-target-port",
        ((ARGS, "        args: [--model, base, --port, '8002']\n"), (PORT, "  - number: 8000 # <-\n")),
        "InferencePool apps/pool targets port 8000; pods of Deployment apps/server listen on 8002",
        (
            (
                ARGS,
                "        env: [{name: PORT, value: '8000'}]\n        args: [--model, base, --port, $(PORT)]\n",
            ),
        ),
    ),
    Case(
        "pool-target-port",
        (
            (ARGS, "        command: [vllm, serve, base, --port, '8002']\n"),
            (PORT, "  - number: 8000 # <-\n"),
        ),
        "InferencePool apps/pool targets port 8000; pods of Deployment apps/server listen on 8002",
        ((ARGS, "        command: [vllm, serve, base, --port, '8000']\n"),),
    ),
    Case(
        "pool-target-port",
        (
            (ARGS, "        args: [--model, base, --port=7999, --data_parallel_size=1]\n"),
            (PORT, "  - number: 8000 # <-\n"),
        ),
        "InferencePool apps/pool targets port 8000; pods of Deployment apps/server listen on 7999",
        ((ARGS, "        args: [--model, base, --port=8000, --data_parallel_size=2]\n"),),
    ),
    Case(
        "pool-failure-mode",
        (("    failureMode: FailClose\n", ""), ("  endpointPickerRef:\n", "  endpointPickerRef: # <-\n")),
        "InferencePool apps/pool does not set endpointPickerRef.failureMode",
        (("FailClose", "FailOpen"),),
    ),
    Case(
        "server-env",
        ((ENV, "        env: [{name: NAMESPACE, value: x}] # <-\n" + ENV), (IMAGE, SIM)),
        "Deployment apps/server sets NAMESPACE; llm-d-inference-sim v0.7.1 reads POD_NAME, POD_NAMESPACE and POD_IP",
        (
            (ENV, "        env: [{name: NAMESPACE, value: x}, {name: POD_NAMESPACE, value: x}]\n" + ENV),
            (IMAGE, SIM),
        ),
    ),
    Case(
        "server-image",
        ((IMAGE, IMAGE + "        imagePullPolicy: Always # <-\n"),),
        "Deployment apps/server pulls vllm/vllm-openai:v0.11.0 on every start",
        ((IMAGE, IMAGE + "        imagePullPolicy: IfNotPresent\n"),),
    ),
    Case(
        "server-image",
        ((IMAGE, "        image: vllm@sha256:0123\n        imagePullPolicy: Always # <-\n"),),
        "Deployment apps/server pulls vllm@sha256:0123 on every start",
        ((IMAGE, "        image: vllm\n        imagePullPolicy: Always\n"),),
    ),
    Case(
        "server-hardening",
        (
            ("      - name: vllm\n", "      - name: vllm # <-\n"),
            ("        readinessProbe: {httpGet: {path: /ready, port: 8000}}\n", ""),
        ),
        "container vllm of Deployment apps/server has no readinessProbe",
        (
            (
                "readinessProbe: {httpGet: {path: /ready, port: 8000}}",
                "readinessProbe: {tcpSocket: {port: 8000}}",
            ),
        ),
    ),
    Case(
        "server-hardening",
        (
            ("      - name: vllm\n", "      - name: vllm # <-\n"),
            ("        livenessProbe: {httpGet: {path: /health, port: 8000}}\n", ""),
            ("resources: {requests: {memory: 1Gi}}", "resources: {limits: {memory: 1Gi}}"),
            ("      securityContext: {runAsNonRoot: true}\n", ""),
        ),
        "container vllm of Deployment apps/server has no livenessProbe, no resources.requests.memory, no securityContext",
        (
            ("      securityContext: {runAsNonRoot: true}\n", ""),
            ("        resources:", "        securityContext: {runAsNonRoot: true}\n        resources:"),
        ),
    ),
    Case(
        "dead-flag",
        ((ENV, "        env:\n        - name: SD_QUEUE_DEPTH_THRESHOLD # <-\n          value: '5'\n" + ENV),),
        "Deployment apps/server sets SD_QUEUE_DEPTH_THRESHOLD",
        ((ENV, "        env: [{name: ENABLE_GATEWAY_API_INFERENCE_EXTENSION, value: 'true'}]\n" + ENV),),
    ),
]


def test_the_world_has_nothing_to_find() -> None:
    assert findings(WORLD) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_and_its_neighbour(case: Case) -> None:
    case.check()


@pytest.mark.parametrize(
    "image",
    ["vllm", "vllm:latest", "localhost:5000/vllm", "localhost:5000/vllm:latest", "ghcr.io/x/vllm:main"],
)
def test_an_image_that_moves_may_be_pulled_always(image: str) -> None:
    assert findings(world((IMAGE, f"        image: {image}\n        imagePullPolicy: Always\n"))) == []


@pytest.mark.parametrize("image", ["vllm:v1", "localhost:5000/vllm:v1", "vllm:latest@sha256:01"])
def test_an_image_that_stands_need_not(image: str) -> None:
    (found,) = findings(world((IMAGE, f"        image: {image}\n        imagePullPolicy: Always\n")))
    assert (found.rule.id, found.message) == (
        "server-image",
        f"Deployment apps/server pulls {image} on every start",
    )


@pytest.mark.parametrize(
    "variable",
    [
        "SUPPORT_GATEWAY_API_INFERENCE_EXTENSION",
        "ENABLE_EXPERIMENTAL_DATALAYER_V2",
        "ENABLE_EXPERIMENTAL_FLOW_CONTROL_LAYER",
        "SD_QUEUE_DEPTH_THRESHOLD",
        "SD_KV_CACHE_UTIL_THRESHOLD",
        "SD_METRICS_STALENESS_THRESHOLD",
    ],
)
def test_variables_that_once_did_something(variable: str) -> None:
    text = world(
        (ENV, f"        env: [{{name: A, value: b}}, {{name: {variable}, value: 'true'}}] # <-\n" + ENV)
    )
    (found,) = findings(text)
    assert (found.rule.id, found.message) == ("dead-flag", f"Deployment apps/server sets {variable}")
    assert found.mend.startswith("instead: ")
    assert [found.line] == marked(text)


def test_a_pool_of_the_old_api() -> None:
    old = "apiVersion: inference.networking.x-k8s.io/v1alpha2 # <-\nkind: InferencePool"
    text = world(("apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool", old))
    found = {f.rule.id: f for f in findings(text)}
    assert set(found) == {"pool-api-version", "not-run"}
    about = found["pool-api-version"]
    assert about.message == "InferencePool apps/pool is of inference.networking.x-k8s.io/v1alpha2"
    assert [about.line] == marked(text)


def test_a_pool_beside_the_same_one_of_the_old_api() -> None:
    """Both versions side by side is how a cluster is moved: the new one is read."""
    old = POOL.replace("inference.networking.k8s.io/v1", "inference.networking.x-k8s.io/v1alpha2")
    assert old != POOL
    assert findings(WORLD + "---" + old) == []


def test_the_server_is_the_container_with_a_model() -> None:
    sidecar = (
        "      - name: sidecar\n        image: proxy:v1\n        args: [--port, '9']\n      - name: vllm\n"
    )
    by_command = (ARGS, "        command: [vllm, serve, --model, base]\n")
    for more in ((), (by_command,)):
        (found,) = findings(world(("      - name: vllm\n", sidecar), *more))
        assert found.rule.id == "not-run"
        assert found.consequence == "container sidecar (proxy:v1) is not run: whatever it does is missing"


def test_every_workload_of_a_pool_is_looked_at() -> None:
    second = (
        SERVER.replace("name: server", "name: second")
        .replace("8000", "8009")
        .replace("base]", "base, --port=8009]")
    )
    found = findings(WORLD + "---" + second)
    assert [(f.rule.id, f.message) for f in found] == [
        (
            "pool-target-port",
            "InferencePool apps/pool targets port 8000; pods of Deployment apps/second listen on 8009",
        )
    ]


def test_a_workload_outside_of_every_pool_is_nobodys_server() -> None:
    other = SERVER.replace("server", "other").replace(
        "        livenessProbe: {httpGet: {path: /health, port: 8000}}\n", ""
    )
    assert findings(WORLD + "---" + other) == []
