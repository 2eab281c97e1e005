"""ext_proc messages, read and written."""

from __future__ import annotations

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from gateway.picker.wire import ext_proc


def test_metadata_as_plain_values() -> None:
    lb = {"a": "x", "b": [1.0, True, None, {"c": "y"}], "d": {}}
    message = pb.ProcessingRequest()
    message.metadata_context.filter_metadata["envoy.lb"].CopyFrom(ParseDict(lb, Struct()))
    assert ext_proc.metadata_of(message) == {"envoy.lb": lb}
    assert ext_proc.metadata_of(pb.ProcessingRequest()) == {}


def test_headers_that_are_no_text_survive() -> None:
    message = pb.ProcessingRequest()
    for name, raw in (("x-raw", b"\xff\xfe"), ("x-twice", b"1"), ("x-twice", b"2")):
        header = message.request_headers.headers.headers.add()
        header.key, header.raw_value = name, raw
    header = message.request_headers.headers.headers.add()
    header.key, header.value = "x-text", "t"
    headers = ext_proc.headers_of(message.request_headers)
    assert headers["x-twice"] == "2"  # the last counts
    assert headers["x-text"] == "t"
    reply = ext_proc.request_headers_response("127.0.0.2:8000", headers, 0)
    sent = {
        o.header.key: o.header.raw_value for o in reply.request_headers.response.header_mutation.set_headers
    }
    assert sent["x-raw"] == b"\xff\xfe"
    assert "Content-Length" not in sent


def test_guarded_and_steering_headers_are_not_sent_on() -> None:
    headers = {
        "content-length": "5",
        "x-gateway-destination-endpoint": "1.2.3.4:5",
        "x-llm-d-inference-fairness-id": "f",
        "x-gateway-inference-objective": "o",
        "x-gateway-inference-other": "kept",
        "x-gateway-model-name-rewrite": "m",
    }

    def sent(guard: bool) -> set[str]:
        reply = ext_proc.request_headers_response("d", headers, 0, guard=guard)
        return {o.header.key for o in reply.request_headers.response.header_mutation.set_headers}

    assert sent(True) == {"x-gateway-destination-endpoint", "x-gateway-inference-other"}
    assert sent(False) == {"x-gateway-destination-endpoint", "x-gateway-inference-other", "content-length"}


def test_bodies_are_cut_and_marked() -> None:
    def parts(body: bytes, end: bool) -> list[tuple[int, bool]]:
        replies = ext_proc.response_body_responses(body, end)
        found = [reply.response_body.response.body_mutation.streamed_response for reply in replies]
        return [(len(part.body), part.end_of_stream) for part in found]

    assert parts(b"", True) == [(0, True)]
    assert parts(b"", False) == [(0, False)]
    assert parts(b"x" * 62000, True) == [(62000, True)]
    assert parts(b"x" * 124001, True) == [(62000, False), (62000, False), (1, True)]
    assert parts(b"x" * 62001, False) == [(62000, False), (1, False)]
