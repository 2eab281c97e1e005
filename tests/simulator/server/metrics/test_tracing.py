"""`--otlp-traces-endpoint`: a span of each sequence, as vLLM 0.33 has it, over HTTP and over gRPC."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from kit import otlp
from simulator.config.resolve import parse_args
from simulator.errors import ConfigError
from simulator.server.metrics.tracing import spans_of
from tests import collector
from tests.simulator.server.serving import serving
from tests.waiting import until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TIMED = ("--model", "m", "--time-to-first-token", "40ms", "--inter-token-latency", "3ms")
BODY: dict[str, Any] = {"model": "m", "prompt": "a b c", "max_tokens": 20, "ignore_eos": True, "top_p": 0.5}


def test_spans_add_up_to_the_whole_and_stand_below_the_callers() -> None:
    env = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    with collector.collecting() as spans:
        endpoint = f"{spans.url}/v1/traces"
        with serving(*TIMED, "--otlp-traces-endpoint", endpoint, env=env) as server:
            headers = {"traceparent": PARENT}
            reply = server.request("POST", "/v1/completions", {**BODY, "n": 2}, headers)
            found = spans.wait("vllm", 2)
    assert {span.name for span in found} == {"llm_request"}
    assert {(span.trace, span.parent) for span in found} == {tuple(PARENT.split("-")[1:3])}
    for span in found:
        told = span.attributes
        parts = [
            told[f"gen_ai.latency.{name}"]
            for name in ("time_in_queue", "time_in_model_prefill", "time_in_model_decode")
        ]
        assert sum(parts) == pytest.approx(told["gen_ai.latency.e2e"], abs=0.001)
        assert span.seconds == pytest.approx(told["gen_ai.latency.e2e"], abs=0.001)
        assert told["gen_ai.latency.time_in_model_inference"] == pytest.approx(sum(parts[1:]), abs=1e-9)
        assert told["gen_ai.latency.time_to_first_token"] >= 0.04
        assert told["gen_ai.usage.prompt_tokens"] == 3
        assert told["gen_ai.usage.completion_tokens"] == 20
        assert told["gen_ai.request.id"] == reply.json()["id"]
        assert told["gen_ai.request.max_tokens"] == 20
        assert (
            told["gen_ai.request.n"],
            told["gen_ai.request.top_p"],
            told["gen_ai.request.temperature"],
        ) == (2, 0.5, 1.0)


def test_grpc_is_the_protocol_unless_the_environment_says_otherwise() -> None:
    found: list[collector.Span] = []

    def export(request: bytes, _: object) -> bytes:
        found.extend(collector.spans_of(collector.ExportTraceServiceRequest.FromString(request)))
        return b""

    handler = grpc.unary_unary_rpc_method_handler(export)
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    port = server.add_insecure_port(f"127.0.0.1:{collector.free_port()}")
    server.start()
    try:
        with serving("--model", "m", "--otlp-traces-endpoint", f"http://127.0.0.1:{port}") as pod:
            pod.request("POST", "/v1/completions", BODY)
            until(lambda: found, what="a span over gRPC")
    finally:
        server.stop(0).wait()
    assert found[0].name == "llm_request"
    assert found[0].parent == ""


def test_a_protocol_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="Unsupported OTLP protocol 'smoke' is configured"):
        parse_args(["--model", "m"], {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "smoke"})


def test_without_the_extra_the_flag_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(otlp, "find_spec", not_there)
    config = parse_args(["--model", "m", "--otlp-traces-endpoint", "http://127.0.0.1:1"], {})
    with pytest.raises(ConfigError, match=r"--otlp-traces-endpoint: .* pip install 'vllm-simfleet\[otlp\]'"):
        spans_of(config, otlp.Exporters(), "pod")
    assert spans_of(parse_args(["--model", "m"], {}), otlp.Exporters(), "pod") is None
