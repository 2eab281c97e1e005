"""The ext_proc conversation as a data plane has it, through the official gRPC client."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.picker import conversation
from gateway.picker.app import Picker
from tests.gateway.picker.factories import config
from tests.gateway.picker.running import (
    POST,
    Stream,
    ask,
    body,
    converse,
    headers,
    prompt,
    set_headers,
)
from tests.waiting import until_async

LLMD = config("{type: queue-scorer}", api="llm-d")
OBJECTIVES = """\
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceObjective
metadata: {name: batch, namespace: ns}
spec: {priority: -1, poolRef: {name: pool}}
"""


def test_request_headers_then_body_chunks_then_their_end(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        whole = prompt(max_tokens=5)
        await stream.send(
            headers("request_headers", {**POST, "x-gateway-inference-objective": "o", "x-custom": "1"}),
            body("request_body", whole[:10]),
            body("request_body", whole[10:]),
            body("request_body", b"", True),
        )
        reply = await stream.next()
        assert reply.WhichOneof("response") == "request_headers"
        common = reply.request_headers.response
        assert common.clear_route_cache
        sent = set_headers(common.header_mutation)
        destination = sent.pop("x-gateway-destination-endpoint")
        assert destination in ("127.0.0.2:9", "127.0.0.3:9")
        expected = b'{"max_tokens":5,"model":"m","prompt":"x"}'
        # Every header once more, pseudo headers too, but not those that steer the picker.
        assert sent == {**POST, "x-custom": "1", "Content-Length": str(len(expected))}
        lb = reply.dynamic_metadata.fields["envoy.lb"].struct_value.fields
        assert lb["x-gateway-destination-endpoint"].string_value == destination
        assert await stream.body("request_body") == (expected, 1)
        await stream.close()

    converse(tmp_path, talk)


def test_nothing_is_said_before_the_body_has_ended(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await stream.send(headers("request_headers", POST), body("request_body", prompt()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await stream._call.read()

    converse(tmp_path, talk)


def test_bodies_of_many_megabytes(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        whole = prompt(prompt="y" * 5_000_000)
        pieces = [whole[at : at + 65536] for at in range(0, len(whole), 65536)]
        await stream.send(
            headers("request_headers", POST), *(body("request_body", piece) for piece in pieces)
        )
        await stream.send(body("request_body", b"", True))
        await stream.next()
        received, chunks = await stream.body("request_body")
        assert json.loads(received) == json.loads(whole)
        assert chunks == -(-len(received) // 62000)
        answer = json.dumps({"text": "z" * 3_000_000}).encode()
        await stream.send(headers("response_headers", {":status": "200", "content-type": "application/json"}))
        await stream.next()
        await stream.send(body("response_body", answer, True))
        returned, _ = await stream.body("response_body")
        assert json.loads(returned) == json.loads(answer)
        await stream.close()

    converse(tmp_path, talk)


def test_json_responses_are_held_back_and_encoded_anew(tmp_path: Path) -> None:
    async def talk(running: Picker, stream: Stream) -> None:
        await ask(stream, prompt())
        await stream.next()
        await stream.body("request_body")
        assert [row["inflight_requests"] for row in _rows(running)].count(1) == 1
        await stream.send(headers("response_headers", {":status": "200", "content-type": "application/json"}))
        reply = await stream.next()
        assert set_headers(reply.response_headers.response.header_mutation) == {
            "x-went-into-resp-headers": "true",
            ":status": "200",
            "content-type": "application/json",
        }
        usage = {"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17}
        answer = json.dumps({"usage": usage, "id": "1", "z": 1.0}).encode()
        await stream.send(body("response_body", answer[:9]), body("response_body", answer[9:], True))
        returned, _ = await stream.body("response_body")
        assert returned == (
            b'{"id":"1","usage":{"completion_tokens":10,"prompt_tokens":7,"total_tokens":17},"z":1}'
        )
        await stream.close()

    running = converse(tmp_path, talk)
    page = running.metrics.registry.render()
    assert 'inference_objective_request_total{model_name="m",target_model_name="m",priority="0"} 1' in page
    assert 'inference_objective_input_tokens_sum{model_name="m",target_model_name="m"} 7' in page
    assert 'inference_objective_output_tokens_sum{model_name="m",target_model_name="m"} 10' in page
    assert (
        'inference_objective_request_duration_seconds_count{model_name="m",target_model_name="m"} 1' in page
    )
    assert 'inference_objective_running_requests{model_name="m"} 0' in page
    assert [row["inflight_requests"] for row in _rows(running)] == [0, 0]


def _rows(running: Picker) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(running._endpoints_page())["endpoints"]
    return rows


def test_responses_that_are_no_json_pass_unchanged(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await ask(stream, prompt())
        await stream.next()
        await stream.body("request_body")
        await stream.send(headers("response_headers", {":status": "500", "content-type": "text/plain"}))
        await stream.next()
        await stream.send(body("response_body", b"Internal Server Error", True))
        assert await stream.body("response_body") == (b"Internal Server Error", 1)
        await stream.close()

    converse(tmp_path, talk)


EVENTS = [
    b'data: {"text":"a"}\n\n',
    b'data: {"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n',
    b"data: [DONE]\n\n",
]


async def stream_events(stream: Stream) -> None:
    await ask(stream, prompt(stream=True))
    await stream.next()
    await stream.body("request_body")
    await stream.send(
        headers("response_headers", {":status": "200", "content-type": "text/event-stream; charset=utf-8"})
    )
    await stream.next()
    for event in EVENTS:
        await stream.send(body("response_body", event))
        reply = await stream.next()
        streamed = reply.response_body.response.body_mutation.streamed_response
        assert (streamed.body, streamed.end_of_stream) == (event, False)
    await stream.send(body("response_body", b"", True))
    assert await stream.body("response_body") == (b"", 1)
    await stream.close()


def test_server_sent_events_pass_one_by_one(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await stream_events(stream)

    page = converse(tmp_path, talk).metrics.registry.render()
    # Up to v1.3 usage counts only in the chunk that has [DONE] as well.
    assert "inference_objective_output_tokens" not in page
    assert "inference_objective_request_duration_seconds_count" in page


def test_usage_of_any_chunk_counts_from_v14_on(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await stream_events(stream)

    page = converse(tmp_path, talk, "--compat", "llm-d-v0.10", text=LLMD).metrics.registry.render()
    assert 'llm_d_epp_request_output_tokens_sum{model_name="m",target_model_name="m"} 4' in page
    assert 'inference_objective_output_tokens_sum{model_name="m",target_model_name="m"} 4' in page


def test_requests_without_a_body_go_anywhere(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await stream.send(headers("request_headers", {":method": "GET", ":path": "/v1/models"}, True))
        reply = await stream.next()
        sent = set_headers(reply.request_headers.response.header_mutation)
        assert sent.pop("x-gateway-destination-endpoint") in ("127.0.0.2:9", "127.0.0.3:9")
        assert list(sent) == ["x-request-id"]  # made, because the request had none
        await stream.send(headers("response_headers", {":status": "200", "content-type": "application/json"}))
        await stream.next()
        await stream.send(body("response_body", b'{"object":"list","data":[]}', True))
        assert await stream.body("response_body") == (b'{"data":[],"object":"list"}', 1)
        await stream.close()

    converse(tmp_path, talk)


async def refusal(stream: Stream) -> tuple[int, str, dict[str, str]]:
    reply = await stream.next()
    assert reply.WhichOneof("response") == "immediate_response"
    immediate = reply.immediate_response
    assert await stream.next() is None  # the stream ends with it
    return immediate.status.code, immediate.body.decode(), set_headers(immediate.headers)


@pytest.mark.parametrize(
    "payload",
    [
        b"{bad",
        b"\xff\xfe",
        b'{"model":"m","prompt":"x","deep":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"model":"m","prompt":"x","seed":' + b"1" * 400 + b"}",
        b'{"model":"m","prompt":"x","seed":' + b"1" * 5000 + b"}",
    ],
    ids=["no JSON", "no UTF-8", "deep", "no float64", "5000 digits"],
)
def test_bad_bodies(tmp_path: Path, payload: bytes) -> None:
    async def talk(running: Picker, stream: Stream) -> None:
        await ask(stream, payload)
        assert await refusal(stream) == (
            400,
            "inference gateway: BadRequest - Error unmarshaling request body",
            {},
        )
        assert [row["inflight_requests"] for row in _rows(running)] == [0, 0]

    page = converse(tmp_path, talk).metrics.registry.render()
    assert 'error_code="BadRequest"} 1' in page


def test_a_deep_answer_passes_unread(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await ask(stream, prompt())
        await stream.next()
        await stream.body("request_body")
        await stream.send(headers("response_headers", {":status": "200"}))
        await stream.next()
        answer = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
        await stream.send(body("response_body", answer, True))
        assert await stream.body("response_body") == (answer, 1)
        await stream.close()

    converse(tmp_path, talk)


def test_no_endpoints(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await ask(stream, prompt())
        assert await refusal(stream) == (
            503,
            "inference gateway: ServiceUnavailable - failed to find candidate pods for serving the request",
            {},
        )

    converse(tmp_path, talk, endpoints=())


def test_no_endpoints_without_a_body(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await stream.send(headers("request_headers", {":method": "GET"}, True))
        status, text, _ = await refusal(stream)
        assert (status, text) == (500, "inference gateway: Internal - no pods available in datastore")

    converse(tmp_path, talk, endpoints=())


@pytest.mark.parametrize(
    ("text", "flags", "expected"),
    [
        (
            None,
            (),
            (
                429,
                "inference gateway: InferencePoolResourceExhausted - "
                "system saturated, sheddable request dropped",
                {},
            ),
        ),
        (
            LLMD,
            (),
            (
                429,
                "inference error: ResourceExhausted - system saturated, sheddable request dropped",
                {"x-llm-d-request-dropped-reason": "rejected-saturated"},
            ),
        ),
    ],
)
def test_shedding(tmp_path: Path, text: str | None, flags: tuple[str, ...], expected: object) -> None:
    """Nothing listens at the endpoints, so their metrics are stale and the pool counts as saturated."""
    objectives = tmp_path / "objectives.yaml"
    objectives.write_text(OBJECTIVES)

    async def talk(_: Picker, stream: Stream) -> None:
        await ask(stream, prompt(), **{"x-gateway-inference-objective": "batch"})
        assert await refusal(stream) == expected

    converse(tmp_path, talk, "--objectives-file", str(objectives), *flags, text=text)


def test_flow_control_makes_requests_wait(tmp_path: Path) -> None:
    rest = "featureGates: [flowControl]\nflowControl: {defaultRequestTTL: 50ms}\n"
    text = config("{type: queue-scorer}", api="llm-d", rest=rest)

    async def talk(running: Picker, stream: Stream) -> None:
        await ask(stream, prompt())
        assert await refusal(stream) == (
            429,
            "inference error: ResourceExhausted - request timed out in queue: request evicted from queue: "
            "request TTL expired",
            {"x-llm-d-request-dropped-reason": "rejected-ttl-expired"},
        )

    converse(tmp_path, talk, text=text)


def test_flow_control_lets_requests_through_when_there_is_room(tmp_path: Path) -> None:
    rest = "featureGates: [flowControl]\nsaturationDetector: {pluginRef: concurrency-detector}\n"
    text = config("{type: queue-scorer}", "{type: concurrency-detector}", api="llm-d", rest=rest)

    async def talk(_: Picker, stream: Stream) -> None:
        await ask(stream, prompt())
        assert (await stream.next()).WhichOneof("response") == "request_headers"
        assert await stream.body("request_body") == (b'{"model":"m","prompt":"x"}', 1)
        await stream.close()

    converse(tmp_path, talk, text=text)


def test_a_client_that_leaves_ends_its_request(tmp_path: Path) -> None:
    async def talk(running: Picker, stream: Stream) -> None:
        await ask(stream, prompt())
        await stream.next()
        await stream.body("request_body")
        assert sum(int(str(row["inflight_requests"])) for row in _rows(running)) == 1
        stream.cancel()
        await until_async(
            lambda: all(row["inflight_requests"] == 0 for row in _rows(running)), what="the count to fall"
        )

    page = converse(tmp_path, talk).metrics.registry.render()
    assert 'inference_objective_running_requests{model_name="m"} 0' in page


def test_rewritten_models_are_called_back_by_their_name(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await ask(stream, prompt(stream=True), **{"x-llm-d-model-name-rewrite": "m-v2"})
        reply = await stream.next()
        assert "x-llm-d-model-name-rewrite" not in set_headers(reply.request_headers.response.header_mutation)
        sent, _ = await stream.body("request_body")
        assert json.loads(sent)["model"] == "m-v2"
        await stream.send(headers("response_headers", {"content-type": "text/event-stream"}))
        await stream.next()
        await stream.send(body("response_body", b'data: {"model":"m-v2"}\n\n', True))
        assert await stream.body("response_body") == (b'data: {"model":"m"}\n\n', 1)
        await stream.close()

    converse(tmp_path, talk, text=LLMD)


def test_trailers(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

        trailers = pb.ProcessingRequest(request_trailers=pb.HttpTrailers())
        await stream.send(headers("request_headers", POST), body("request_body", prompt()), trailers)
        await stream.next()
        await stream.body("request_body")
        assert (await stream.next()).WhichOneof("response") == "request_trailers"
        await stream.send(headers("response_headers", {":status": "200"}), body("response_body", b"{}"))
        await stream.next()
        await stream.send(pb.ProcessingRequest(response_trailers=pb.HttpTrailers()))
        reply = await stream.next()
        assert reply.response_body.response.body_mutation.streamed_response.body == b"{}"
        assert (await stream.next()).WhichOneof("response") == "response_trailers"
        await stream.close()

    converse(tmp_path, talk, text=LLMD)


def test_scores_as_metadata(tmp_path: Path) -> None:
    async def talk(_: Picker, stream: Stream) -> None:
        await ask(stream, prompt())
        lb = (await stream.next()).dynamic_metadata.fields["envoy.lb"].struct_value.fields
        scores = lb["x-gateway-destination-endpoint-scores"].struct_value.fields
        assert {name: value.number_value for name, value in scores.items()} == {
            "127.0.0.2:9": 1.0,
            "127.0.0.3:9": 1.0,
        }

    converse(tmp_path, talk, "--emit-endpoint-scores")


def test_a_body_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "BODY", 1000)

    async def talk(_: Picker, stream: Stream) -> None:
        await stream.send(headers("request_headers", POST), body("request_body", b"x" * 600))
        await stream.send(body("request_body", b"x" * 401))
        reply = await stream.next()
        assert reply.immediate_response.status.code == 413
        assert "larger than 1000 bytes" in reply.immediate_response.body.decode()

    converse(tmp_path, talk)
