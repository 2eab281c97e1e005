"""Spans for an OTLP collector. The SDK is the extra `otlp`, and is loaded where an endpoint is given only.

Times are monotonic seconds; a span has the wall clock's, by the difference at the moment it is recorded.
The export is written here: OpenTelemetry's own exporters need opentelemetry-proto, whose modules xds-protos
(Envoy's messages, of the extra `gateway`) overwrites with old ones of the same names. Source of the numbers:
opentelemetry-proto 1.7, trace.proto, common.proto, resource.proto.
"""

from __future__ import annotations

import logging
import struct
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

Protocol = Literal["grpc", "http/protobuf"]
Value = str | bool | int | float | Sequence[str] | Sequence[float]
QUEUE = 8192  # spans that wait for the collector; more are dropped
DELAY_MS = 500  # between two exports
TIMEOUT_S = 5  # of one export

_MODULES: dict[Protocol, tuple[str, ...]] = {
    "grpc": ("opentelemetry.sdk", "grpc"),
    "http/protobuf": ("opentelemetry.sdk",),
}
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_KIND_OFFSET = 1  # the SDK counts kinds of spans from 0, the protocol from 1
_log = logging.getLogger(__name__)


def lacking(protocol: Protocol = "http/protobuf") -> str | None:
    """What is to be installed before spans can be exported; None: nothing."""
    for module in _MODULES[protocol]:
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # not even its parent
            found = None
        if found is None:
            return f"OpenTelemetry is not installed ({module}): pip install 'vllm-simfleet[otlp]'"
    return None


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _part(number: int, payload: bytes) -> bytes:
    """A field of bytes, of a string or of a message."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _any(value: Any) -> bytes:
    """AnyValue."""
    if isinstance(value, bool):
        return b"\x10" + _varint(value)
    if isinstance(value, int):
        return b"\x18" + _varint(value)
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    if isinstance(value, str):
        return _part(1, value.encode())
    return _part(5, b"".join(_part(1, _any(item)) for item in value))


def _attributes(number: int, values: Mapping[str, Any] | None) -> bytes:
    pairs = (values or {}).items()
    return b"".join(_part(number, _part(1, key.encode()) + _part(2, _any(value))) for key, value in pairs)


def _span(span: ReadableSpan) -> bytes:
    context, parent = span.context, span.parent
    return b"".join((
        _part(1, context.trace_id.to_bytes(16, "big")),
        _part(2, context.span_id.to_bytes(8, "big")),
        _part(4, parent.span_id.to_bytes(8, "big")) if parent is not None else b"",
        _part(5, span.name.encode()),
        b"\x30" + _varint(span.kind.value + _KIND_OFFSET),
        b"\x39" + struct.pack("<Q", span.start_time or 0),
        b"\x41" + struct.pack("<Q", span.end_time or 0),
        _attributes(9, span.attributes),
    ))  # fmt: skip


def encoded(spans: Iterable[ReadableSpan]) -> bytes:
    """An ExportTraceServiceRequest of these spans."""
    groups: dict[tuple[int, str], tuple[ReadableSpan, list[bytes]]] = {}
    for span in spans:
        scope = span.instrumentation_scope
        key = id(span.resource), scope.name if scope is not None else ""
        groups.setdefault(key, (span, []))[1].append(_part(2, _span(span)))
    whole = b""
    for (_, scope_name), (first, made) in groups.items():
        scoped = _part(1, _part(1, scope_name.encode())) + b"".join(made)
        whole += _part(1, _part(1, _attributes(1, first.resource.attributes)) + _part(2, scoped))
    return whole


def _over_http(endpoint: str) -> Callable[[bytes], None]:
    headers = {"content-type": "application/x-protobuf"}

    def send(body: bytes) -> None:
        request = urllib.request.Request(endpoint, body, headers)
        urllib.request.urlopen(request, timeout=TIMEOUT_S).close()

    return send


def _over_grpc(endpoint: str) -> Callable[[bytes], None]:
    import grpc  # noqa: PLC0415

    place = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    secure = place.scheme == "https"
    channel = (
        grpc.secure_channel(place.netloc, grpc.ssl_channel_credentials())
        if secure
        else grpc.insecure_channel(place.netloc)
    )
    export = channel.unary_unary(_EXPORT, None, None)  # bytes go out and come back as they are
    return lambda body: export(body, timeout=TIMEOUT_S) and None


def _exporter(endpoint: str, protocol: Protocol) -> SpanExporter:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    send = _over_grpc(endpoint) if protocol == "grpc" else _over_http(endpoint)

    class Exporter(SpanExporter):
        """Sends a batch once; a batch that is not taken is dropped and told."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                send(encoded(spans))
            except Exception as error:  # noqa: BLE001 - gRPC's and urllib's have no common parent
                _log.warning("%d spans were not taken by %s: %s", len(spans), endpoint, error)
                return SpanExportResult.FAILURE
            return SpanExportResult.SUCCESS

    return Exporter()


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
