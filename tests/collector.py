"""A stand-in for an OTLP collector: takes spans over HTTP as OpenTelemetry's SDK and Envoy post them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.ports import free_port
from tests.waiting import until

# The messages of opentelemetry-proto as far as they are read, in a pool of their own: the package's modules
# and those of xds-protos have the same names. Field: number and type.
_SCHEMA: dict[str, dict[str, tuple[int, str]]] = {
    "ArrayValue": {"values": (1, "[AnyValue]")},
    "AnyValue": {"string_value": (1, "?string"), "bool_value": (2, "?bool"), "int_value": (3, "?int64"),
                 "double_value": (4, "?double"), "array_value": (5, "?ArrayValue")},
    "KeyValue": {"key": (1, "string"), "value": (2, "AnyValue")},
    "Resource": {"attributes": (1, "[KeyValue]")},
    "Scope": {"name": (1, "string")},
    "Span": {"trace_id": (1, "bytes"), "span_id": (2, "bytes"), "parent_span_id": (4, "bytes"),
             "name": (5, "string"), "kind": (6, "int32"), "start_time_unix_nano": (7, "fixed64"),
             "end_time_unix_nano": (8, "fixed64"), "attributes": (9, "[KeyValue]")},
    "ScopeSpans": {"scope": (1, "Scope"), "spans": (2, "[Span]")},
    "ResourceSpans": {"resource": (1, "Resource"), "scope_spans": (2, "[ScopeSpans]")},
    "Export": {"resource_spans": (1, "[ResourceSpans]")},
}  # fmt: skip


def _export_request() -> Any:
    """The class of the message that a collector takes."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="otlp.proto", package="otlp", syntax="proto3")
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        if any(kind.startswith("?") for _, kind in fields.values()):
            message.oneof_decl.add(name="value")
        for field, (number, kind) in fields.items():
            plain = kind.strip("?[]")
            made = message.field.add(name=field, number=number)
            made.label = kinds.LABEL_REPEATED if kind[0] == "[" else kinds.LABEL_OPTIONAL
            if plain in _SCHEMA:
                made.type, made.type_name = kinds.TYPE_MESSAGE, f".otlp.{plain}"
            else:
                made.type = getattr(kinds, f"TYPE_{plain.upper()}")
            if kind[0] == "?":
                made.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("otlp.Export"))


ExportTraceServiceRequest = _export_request()


@dataclass(frozen=True)
class Span:
    """One span; times are nanoseconds of the wall clock, ids hexadecimal."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / 1e9


def spans_of(request: Any) -> Iterator[Span]:
    """The spans of one export."""
    for group in request.resource_spans:
        resource = {a.key: _value(a.value) for a in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Span(
                    resource["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {a.key: _value(a.value) for a in span.attributes},
                )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


class Collector:
    """Keeps what comes to `url`/v1/traces."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        kept = self.spans

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = _body(self)
                if self.path == "/v1/traces":
                    kept.extend(spans_of(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def wait(self, service: str, count: int = 1) -> list[Span]:
        """The first spans of a service, once there are so many."""
        return until(lambda: self._of(service, count), what=f"{count} spans of {service}")

    def _of(self, service: str, count: int) -> list[Span]:
        found = [span for span in self.spans if span.service == service]
        return found if len(found) >= count else []


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "content-length" in handler.headers:
        body = handler.rfile.read(int(handler.headers["content-length"]))
    else:  # Envoy sends chunks
        body = b""
        while size := int(handler.rfile.readline(), 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
    return gzip.decompress(body) if handler.headers.get("content-encoding") == "gzip" else body


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens meanwhile."""
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        collector.server.server_close()
        thread.join()
