"""`--otlp-traces-endpoint`: a span of every finished sequence, named and described as vLLM does it.

vLLM 0.33, v1/engine/output_processor.py: one span `llm_request` from arrival to the last output, below the
caller's `traceparent`; how long it waited, was prefilled and decoded are attributes in seconds, no spans.
"""

from __future__ import annotations

from collections.abc import Mapping

from kit.otlp import Exporters, Spans, Value
from simulator.config.serve import ServeConfig
from simulator.engine.outputs import RequestOutput
from simulator.errors import ConfigError
from simulator.server.driver import Sink

_TRACE_HEADERS = (b"traceparent", b"tracestate")


def spans_of(config: ServeConfig, exporters: Exporters, name: str) -> Spans | None:
    """Where the spans of a replica go; None: nowhere. ConfigError where the extra is not installed."""
    if config.otlp_traces_endpoint is None:
        return None
    resource = {
        "service.name": "vllm",
        "service.instance.id": name,
        "vllm.instrumenting_module_name": "vllm.llm_engine",
        **({"k8s.pod.name": config.pod_name} if config.pod_name else {}),
        **({"k8s.namespace.name": config.pod_namespace} if config.pod_namespace else {}),
    }
    try:
        return exporters.spans(
            config.otlp_traces_endpoint, config.otlp_traces_protocol, resource, "vllm.llm_engine"
        )
    except ValueError as error:
        raise ConfigError(f"--otlp-traces-endpoint: {error}") from None


class TracingSink:
    """Passes outputs on, and records the span with the last one."""

    __slots__ = ("_headers", "_name", "_sink", "_spans")

    def __init__(self, sink: Sink, spans: Spans, headers: Mapping[bytes, bytes], name: str) -> None:
        """`name` is the request's id as the client is told."""
        self._sink = sink
        self._spans = spans
        self._name = name
        self._headers = {
            key.decode(): headers[key].decode("latin-1") for key in _TRACE_HEADERS if key in headers
        }

    def on_output(self, output: RequestOutput) -> None:
        if output.finish_reason is not None:
            start = output.request.arrival_time
            self._spans.record(
                "llm_request", start, output.time, attributes(output, self._name), self._headers
            )
        self._sink.on_output(output)


def attributes(output: RequestOutput, name: str) -> dict[str, Value]:
    """vLLM's attributes of a finished sequence; times in seconds, absent where it never came so far.

    The two of ours are what vLLM's leave out of the whole: the API before the engine has the request, and the
    last output on its way. With them queue, prefill and decode add up to e2e.
    """
    request, now = output.request, output.time
    scheduled, first, last = request.scheduled_time, request.first_token_time, request.last_token_time
    found: dict[str, Value] = {
        "gen_ai.latency.e2e": now - request.arrival_time,
        "gen_ai.usage.prompt_tokens": request.num_prompt_tokens,
        "gen_ai.usage.completion_tokens": request.num_output_tokens,
        "gen_ai.request.id": name,
    }
    if scheduled is not None:
        found["gen_ai.latency.time_in_queue"] = scheduled - request.queued_time
        if first is not None and last is not None:
            found["gen_ai.latency.time_to_first_token"] = first - request.arrival_time
            found["gen_ai.latency.time_in_model_prefill"] = first - scheduled
            found["gen_ai.latency.time_in_model_decode"] = last - first
            found["gen_ai.latency.time_in_model_inference"] = last - scheduled
            found["simfleet.latency.time_before_queue"] = request.queued_time - request.arrival_time
            found["simfleet.latency.time_after_last_token"] = now - last
    sampling = request.sampling
    asked: dict[str, float | int | None] = {
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.n": sampling.n,
    }
    return found | {key: value for key, value in asked.items() if value}
