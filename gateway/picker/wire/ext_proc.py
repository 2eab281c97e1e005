"""ext_proc messages: the only module that knows Envoy's protobuf types.

The proto packages have no type stubs, so messages are `Any` here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb  # type: ignore[import-untyped]

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
DESTINATION = "x-gateway-destination-endpoint"
SCORES = "x-gateway-destination-endpoint-scores"
LB_NAMESPACE = "envoy.lb"
# Some data planes take at most 64 KiB in one streamed chunk.
CHUNK = 62000
# What a client may not send on by itself where the release guards it (Compat.system_headers).
_OWNED = frozenset(
    {
        "content-length",
        DESTINATION,
        "x-gateway-destination-endpoint-served",
        "x-gateway-destination-endpoint-subset",
    }
)
# Headers that steer the picker and are not sent on.
_CONTROL = frozenset(
    {
        "x-gateway-model-name-rewrite",
        "x-llm-d-model-name-rewrite",
        *(
            f"x-{who}-inference-{what}"
            for who in ("gateway", "llm-d")
            for what in ("objective", "fairness-id")
        ),
    }
)

Message = Any
read_request = pb.ProcessingRequest.FromString
write_response = pb.ProcessingResponse.SerializeToString


def kind(message: Message) -> str | None:
    """request_headers, request_body, response_headers, ..."""
    name: str | None = message.WhichOneof("request")
    return name


def headers_of(http_headers: Message) -> dict[str, str]:
    """HttpHeaders as a mapping; of several with one name the last counts, as in the EPP."""
    return {
        header.key: header.raw_value.decode("utf-8", "surrogateescape") if header.raw_value else header.value
        for header in http_headers.headers.headers
    }


def metadata_of(message: Message) -> dict[str, Any]:
    """filter_metadata as plain values, by namespace."""
    if not message.HasField("metadata_context"):
        return {}
    return {name: _struct(value) for name, value in message.metadata_context.filter_metadata.items()}


def _struct(struct: Message) -> dict[str, Any]:
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: Message) -> Any:
    """A protobuf Value; json_format does the same at fifty times the cost."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    return None if kind is None or kind == "null_value" else getattr(value, kind)


def request_headers_response(
    destination: str,
    headers: Mapping[str, str],
    size: int,
    *,
    guard: bool = False,
    scores: Mapping[str, float] | None = None,
) -> Message:
    """Where to go: as a header, as metadata, and with every header of the request once more."""
    response = pb.ProcessingResponse()
    common = response.request_headers.response
    common.clear_route_cache = True
    mutation = common.header_mutation.set_headers
    _add(mutation, DESTINATION, destination)
    if size > 0:
        _add(mutation, "Content-Length", str(size))
    left_out = _CONTROL | _OWNED if guard else _CONTROL
    for name, value in headers.items():
        if name not in left_out:
            _add(mutation, name, value)
    lb = response.dynamic_metadata.fields[LB_NAMESPACE].struct_value.fields
    lb[DESTINATION].string_value = destination
    if scores is not None:
        by_endpoint = lb[SCORES].struct_value.fields
        for endpoint, score in scores.items():
            by_endpoint[endpoint].number_value = score
    return response


def response_headers_response(headers: Mapping[str, str]) -> Message:
    """Every header of the response once more, and the mark that the picker has seen it."""
    response = pb.ProcessingResponse()
    mutation = response.response_headers.response.header_mutation.set_headers
    _add(mutation, "x-went-into-resp-headers", "true")
    for name, value in headers.items():
        _add(mutation, name, value)
    return response


def request_body_responses(body: bytes) -> Iterator[Message]:
    """The body in chunks, the last one marked."""
    for chunk, end in _chunks(body, True):
        response = pb.ProcessingResponse()
        streamed = response.request_body.response.body_mutation.streamed_response
        streamed.body = chunk
        streamed.end_of_stream = end
        yield response


def response_body_responses(body: bytes, end_of_stream: bool) -> Iterator[Message]:
    """The body in chunks, the last one marked if the stream ends with it."""
    for chunk, end in _chunks(body, end_of_stream):
        response = pb.ProcessingResponse()
        streamed = response.response_body.response.body_mutation.streamed_response
        streamed.body = chunk
        streamed.end_of_stream = end
        yield response


def request_trailers_response() -> Message:
    return pb.ProcessingResponse(request_trailers=pb.TrailersResponse())


def response_trailers_response() -> Message:
    return pb.ProcessingResponse(response_trailers=pb.TrailersResponse())


def immediate_response(status: int, body: str, headers: Mapping[str, str]) -> Message:
    """The picker's own answer to the client."""
    response = pb.ProcessingResponse()
    response.immediate_response.status.code = status
    response.immediate_response.body = body.encode()
    for name, value in headers.items():
        _add(response.immediate_response.headers.set_headers, name, value)
    return response


def _add(mutation: Message, name: str, value: str) -> None:
    header = mutation.add().header
    header.key = name
    header.raw_value = value.encode("utf-8", "surrogateescape")


def _chunks(body: bytes, end_of_stream: bool) -> Iterator[tuple[bytes, bool]]:
    """Always at least one chunk, possibly empty."""
    for start in range(0, len(body) or 1, CHUNK):
        yield body[start : start + CHUNK], end_of_stream and start + CHUNK >= len(body)
