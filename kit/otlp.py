"""Spans for an OTLP collector. The SDK is the extra `otlp`, and is loaded where an endpoint is given only.

Times are monotonic seconds; a span has the wall clock's, by the difference at the moment it is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

Protocol = Literal["grpc", "http/protobuf"]
Value = str | bool | int | float | Sequence[str] | Sequence[float]
QUEUE = 8192  # spans that wait for the collector; more are dropped
DELAY_MS = 500  # between two exports
TIMEOUT_S = 5  # of one export

_MODULES: dict[Protocol, str] = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
}


def lacking(protocol: Protocol = "http/protobuf") -> str | None:
    """What is to be installed before spans can be exported; None: nothing."""
    for module in ("opentelemetry.sdk", _MODULES[protocol]):
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # not even its parent
            found = None
        if found is None:
            return f"OpenTelemetry is not installed ({module}): pip install 'vllm-simfleet[otlp]'"
    return None


def _exporter(endpoint: str, protocol: Protocol) -> SpanExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter as Grpc,
        )

        return Grpc(endpoint=endpoint, insecure=True, timeout=TIMEOUT_S)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter as Http,
    )

    return Http(endpoint=endpoint, timeout=TIMEOUT_S)


class Spans:
    """Spans of one service; close() sends what is left. The exporter's thread does the sending."""

    def __init__(self, processor: BatchSpanProcessor, resource: Mapping[str, str], scope: str) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.trace import SpanKind  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        provider = TracerProvider(resource=Resource.create(dict(resource)), shutdown_on_exit=False)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer(scope)
        self._context = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER

    def record(
        self, name: str, start: float, end: float, attributes: Mapping[str, Value], headers: Mapping[str, str]
    ) -> None:
        """One finished span, below the one that `traceparent` of `headers` names."""
        wall = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            name,
            context=self._context.extract(headers),
            kind=self._kind,
            attributes=dict(attributes),
            start_time=wall + round(start * 1e9),
        )
        span.end(wall + round(end * 1e9))


class Exporters:
    """The exporters of one process, one for each endpoint, whoever sends there."""

    def __init__(self) -> None:
        self._processors: dict[tuple[str, Protocol], BatchSpanProcessor] = {}

    def spans(self, endpoint: str, protocol: Protocol, resource: Mapping[str, str], scope: str) -> Spans:
        """The spans of a service that go to `endpoint`. ValueError where the extra is not installed."""
        if (words := lacking(protocol)) is not None:
            raise ValueError(words)
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        key = endpoint, protocol
        if (processor := self._processors.get(key)) is None:
            processor = self._processors[key] = BatchSpanProcessor(
                _exporter(*key), max_queue_size=QUEUE, schedule_delay_millis=DELAY_MS
            )
        return Spans(processor, resource, scope)

    def close(self) -> None:
        """Send what is left and stop; waits for the collector no longer than an export may take."""
        while self._processors:
            self._processors.popitem()[1].shutdown()  # type: ignore[no-untyped-call]
