"""The small manifests of cases/, as they are: `up` and `lint` do what the first comment of each says.

Three stacks have them all: the page with what may stand beside each other, the page with another class and a
policy, and those that stand alone.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.lint import lint
from gateway.lint.finding import Severity
from gateway.manifests.expand.presets import picker_config
from gateway.manifests.load import load
from tests.e2e import worlds
from tests.e2e.labkit import Lab, Labs, completion
from tests.e2e.test_kinds import COMMAND
from tests.ports import free_port

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "cases" / "manifests"
SERVERS, PICKER = (
    ROOT / "deploy" / "page" / "exact" / f"{name}.yaml" for name in ("model-server", "endpoint-picker")
)
ANY = worlds.FOLLOW_HEADER.replace("- type: header-based-testing-filter\n", "").replace(
    "  - pluginRef: header-based-testing-filter\n", ""
)
DECODED = "Decode the prompt after somebody else has read it. " * 20


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda p: p.stem)
def test_these_are_the_files(path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared folder is not beside the repository; its files are these")
    assert path.read_text() == (SHARED / path.name).read_text()
    assert {p.name for p in SHARED.glob("*.yaml")} == {p.name for p in CASES.glob("*.yaml")}


def files(*names: str) -> list[str]:
    return [word for name in names for word in ("-f", str(CASES / f"{name}.yaml"))]


def findings(*names: str, beside: tuple[Path | str, ...] = ()) -> list[str]:
    """What lint says of these files, "severity rule: message; consequence" each."""
    found = lint(load([*map(str, beside), *(str(CASES / f"{name}.yaml") for name in names)]))
    return [f"{f.rule.severity} {f.rule.id}: {f.message}; {f.consequence}" for f in found]


def shown(lab: Lab) -> str:
    argv = [*COMMAND, "ps", "--name", lab.name, "--wide"]
    done = subprocess.run(argv, capture_output=True, text=True, env=lab.env, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# the page, with what may stand beside each other


@pytest.fixture(scope="module")
def page(labs: Labs) -> Lab:
    names = ("ignored-kinds", "two-gateways-one-port", "hpa")
    beside = ("-f", str(SERVERS), "-f", str(PICKER))
    return labs.up(*beside, *files(*names), "--port", str(free_port()), name="page")


@pytest.mark.parametrize(
    "told",
    [
        "EnvoyFilter istio-ingress/tweak",
        "VirtualService inference-model-server/fault",
        "Telemetry istio-ingress/t",
        "InferencePoolImport inference-model-server/far",
    ],
)
def test_ignored_kinds_are_each_named_once(page: Lab, told: str) -> None:
    assert page.text.count(f"not simulated: {told}:") == 1
    (found,) = [f for f in findings("ignored-kinds", beside=(SERVERS, PICKER)) if told in f]
    assert "not-simulated" in found


def test_the_page_s_request_still_answers(page: Lab, http: httpx.Client) -> None:
    assert http.post(f"{page.url}/v1/completions", json=completion()).status_code == 200


def test_two_gateways_share_no_port(page: Lab) -> None:
    first, second = (g["url"].rpartition(":")[2] for g in page.status["gateways"])
    assert first != second
    assert f"--port {first} is that of" in page.text


def test_the_autoscaler_is_a_loop_between_its_bounds(page: Lab) -> None:
    (hpa,) = page.status["autoscalers"]
    assert (hpa["name"], hpa["min_replicas"], hpa["max_replicas"]) == ("models", 1, 4)
    assert not [f for f in findings("hpa", beside=(SERVERS, PICKER)) if "HorizontalPodAutoscaler" in f]
    assert "hpa      models" in shown(page)


# the page with another class, and a policy


@pytest.fixture(scope="module")
def denied(labs: Labs) -> Lab:
    objects = [o for path in (SERVERS, PICKER) for o in yaml.safe_load_all(path.read_text()) if o]
    text = worlds.dump([o for o in objects if o["kind"] != "Gateway"])  # other-class has another
    return labs.up(
        "-f", labs.manifests(text, "denied.yaml"), *files("other-class", "policy-deny"), name="denied"
    )


def test_another_class_is_told(denied: Lab, labs: Labs) -> None:
    words = "class nginx is not Istio's; the gateway is run as Istio would run it"
    assert denied.text.count(words) == 1
    (found,) = [f for f in findings("other-class", beside=(labs.state / "denied.yaml",)) if "nginx" in f]
    assert words in found


def test_the_policy_denies(denied: Lab, http: httpx.Client) -> None:
    answer = http.post(f"{denied.url}/v1/completions", json=completion())
    assert (answer.status_code, answer.text) == (403, "RBAC: access denied")
    assert http.get(f"{denied.url}/v1/models").status_code == 404  # no route: the policy is for one path


# those that stand alone


def _alone() -> list[Any]:
    """A gateway, and for each file a pool of its own; prefill pods and a picker that names them."""
    prefill = worlds.servers(
        "prefill", 1, args=["--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_both"}']
    )
    meta = prefill["spec"]["template"]["metadata"]
    meta["labels"] = {"app": "pd", "llm-d.ai/role": "prefill"}
    prefill["spec"]["selector"] = {"matchLabels": meta["labels"]}
    prefill["spec"]["template"]["spec"]["containers"][0]["args"] += ["--served-model-name", MODEL]
    objects = [
        prefill,
        worlds.pool("pd", "pd", "pd-epp"),
        *worlds.picker("pd-epp", "pd", picker_config(apart=True, adapters=False)),
        worlds.pool("bare", "bare", "bare-epp"),
        *worlds.picker("bare-epp", "bare", ANY),
        worlds.service("tools", "tools", 8000),
        worlds.gateway("g"),
        worlds.route(
            "r",
            "g",
            *(
                worlds.rule(backend, matches=[worlds.prefix(f"/{name}")], filters=[worlds.rewrite_to("/")])
                for name, backend in (
                    ("pd", worlds.to_pool("pd")),
                    ("bare", worlds.to_pool("bare")),
                    ("tools", worlds.to_service("tools", 8000)),
                )
            ),
        ),
    ]
    for made in objects:
        if made["metadata"]["namespace"] == worlds.NAMESPACE:
            made["metadata"]["namespace"] = "default"
    return objects


MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture(scope="module")
def alone(labs: Labs) -> Lab:
    text = worlds.dump(*_alone()).replace(f"- {worlds.NAMESPACE}\n", "- default\n")
    made = labs.manifests(text, "alone.yaml")
    return labs.up("-f", made, *files("bare-pod", "file-of-the-image", "pd-pod"), name="alone")


def test_bare_pods_are_the_servers_of_a_pool(alone: Lab, labs: Labs, http: httpx.Client) -> None:
    served = set()
    for _ in range(20):
        answer = http.post(f"{alone.url}/bare/v1/completions", json=completion(model="meta/X"))
        assert answer.status_code == 200
        served.add(answer.headers["x-inference-pod"])
    assert served == {"bare-0", "bare-1"}
    found = findings("bare-pod", beside=(labs.state / "alone.yaml",))
    of_pods = {f.split(":")[0] for f in found if "bare-" in f and "bare-epp" not in f}
    assert of_pods <= {"warning server-hardening"}  # that they have no probes, as of any server


def test_a_file_of_the_image_has_a_stand_in(alone: Lab, http: httpx.Client) -> None:
    (note,) = [n for n in alone.status["notes"] if "tool_chat_template_hermes" in n]
    assert "examples/tool_chat_template_hermes.jinja" in note
    body = {"model": "meta/X", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    assert http.post(f"{alone.url}/tools/v1/chat/completions", json=body).status_code == 200


def test_lint_finds_nothing_wrong_with_a_pd_pod(labs: Labs) -> None:
    assert [
        f
        for f in findings("pd-pod", "bare-pod", beside=(labs.state / "alone.yaml",))
        if f.startswith(Severity.ERROR)
    ] == []


def test_a_request_is_prefilled_first_and_counted_on_both(alone: Lab, http: httpx.Client) -> None:
    """Pods, their metrics and `ps` count it: once at the prefill pod, once at one that decodes."""
    before = _counts(alone)
    for i in range(4):
        body = completion(model=MODEL, prompt=f"{i} {DECODED}", max_tokens=5, ignore_eos=True)
        answer = http.post(f"{alone.url}/pd/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-inference-pod"].startswith("decode-")
        assert answer.json()["usage"]["completion_tokens"] == 5
    after = _counts(alone)
    assert after["prefill"] - before["prefill"] == after["decode"] - before["decode"] == 4
    assert _sum(alone, "decode", "vllm:nixl_xfer_time_seconds_count") == 4
    assert _sum(alone, "decode", "vllm:nixl_bytes_transferred_sum") > 0
    assert _sum(alone, "prefill", "vllm:nixl_xfer_time_seconds_count") == 0
    rows = {
        line.split()[0].rpartition("-")[0].split("-")[0]: line
        for line in shown(alone).splitlines()
        if line.split()
    }
    assert {"prefill", "decode"} <= rows.keys()


def _counts(lab: Lab) -> dict[str, float]:
    return {
        name: sum(p["requests"] for p in lab.pods if p["workload"] == name) for name in ("prefill", "decode")
    }


def _sum(lab: Lab, workload: str, series: str) -> float:
    pages = [httpx.get(p["metrics_urls"][0]).text for p in lab.pods if p["workload"] == workload]
    lines = [line for page in pages for line in page.splitlines() if line.startswith(f"{series}{{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
