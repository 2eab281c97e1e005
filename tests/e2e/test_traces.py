"""One trace a request, from the load generator through Envoy and the picker to the pod."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from gateway.commands.up import read_manifests
from loadgen.cli import main as loadgen
from loadgen.records.records import traceparent
from loadgen.records.rundata import load_run
from tests.collector import Collector, Span, collecting
from tests.e2e.labkit import Lab, Labs, completion
from tests.waiting import until

pytestmark = pytest.mark.slow

POD, PICKER, GATEWAY = "vllm", "endpoint-picker", "gateway-istio.lab"
REQUESTS = 20
PARTS = (
    "simfleet.latency.time_before_queue",
    "gen_ai.latency.time_in_queue",
    "gen_ai.latency.time_in_model_prefill",
    "gen_ai.latency.time_in_model_decode",
    "simfleet.latency.time_after_last_token",
)


@pytest.fixture(scope="module")
def collector() -> Collector:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def lab(labs: Labs, collector: Collector) -> Lab:
    """The lab preset with pods that take their time."""
    objects = [r.root.value for r in read_manifests([], "default").resources if not r.made_by]
    for found in objects:
        if found["kind"] == "Deployment" and "model-server" in found["metadata"]["name"]:
            found["spec"]["template"]["spec"]["containers"][0]["args"] += ["--profile", "llama-3.1-8b/h100"]
    return labs.up("-f", labs.manifests(yaml.safe_dump_all(objects)), "--otlp-endpoint", collector.url)


def _trace(collector: Collector, trace: str) -> dict[str, Span]:
    """The spans of a trace by service; the gateway's own for the picker as `egress`."""

    def whole() -> list[Span]:
        spans = [span for span in collector.spans if span.trace == trace]
        return spans if len(spans) >= 4 else []

    spans = until(whole, what=f"the spans of trace {trace}")
    found = {span.service: span for span in spans if "egress" not in span.name}
    found["egress"] = next(span for span in spans if "egress" in span.name)
    assert len(spans) == len(found) == 4, spans
    return found


def test_one_trace_a_request_and_its_parts_add_up(lab: Lab, collector: Collector, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["run", "--target", lab.url, "--model", "reviews-1", "--requests", str(REQUESTS),
               "--rate", "10", "--max-tokens", "12", "--traceparent"]  # fmt: skip
    assert loadgen([*command, "-q", "--no-selftest", "-o", str(run)]) == 0
    for service, count in ((POD, 1), (PICKER, 1), (GATEWAY, 2)):
        collector.wait(service, REQUESTS * count)
    data = load_run(run)
    (name,), records = data.meta.runs, data.records
    assert len(records) == REQUESTS
    for record in records:
        _, trace, client, _ = traceparent(name, record.id).split("-")
        spans = _trace(collector, trace)
        gateway, picker, pod, egress = (spans[key] for key in (GATEWAY, PICKER, POD, "egress"))
        assert gateway.parent == client
        assert egress.parent == pod.parent == gateway.id
        assert picker.parent == egress.id
        told = pod.attributes
        assert sum(told[name] for name in PARTS) == pytest.approx(told["gen_ai.latency.e2e"], abs=0.001)
        assert pod.seconds == pytest.approx(told["gen_ai.latency.e2e"], abs=0.001)
        assert gateway.start <= picker.start <= picker.end <= pod.start < pod.end <= gateway.end
        assert picker.attributes["picker.endpoint"] in picker.attributes["picker.candidates"]


def test_without_a_callers_trace_it_is_one_all_the_same(lab: Lab, collector: Collector, http: object) -> None:
    before = Counter(span.service for span in collector.spans)
    http.post(f"{lab.url}/v1/completions", json=completion())  # type: ignore[attr-defined]
    for service, more in ((POD, 1), (PICKER, 1), (GATEWAY, 2)):
        collector.wait(service, before[service] + more)
    spans = _trace(collector, [span for span in collector.spans if span.service == POD][-1].trace)
    assert spans[GATEWAY].parent == ""
