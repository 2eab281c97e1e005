"""What is on the wire: content types, chunked bodies, limits, headers, attribution, who may ask."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator.server.serving import Server, serving

PAGE = {"model": "reviews-1", "prompt": "What do reviewers think about The Comedy of Errors?"}
PAGE_FLAGS = (
    *("--model", "meta-llama/Llama-3.1-8B-Instruct", "--max-loras", "2"),
    *("--lora-modules", '{"name": "reviews-1"}'),
)
POD = {"POD_NAME": "pod-a", "NAMESPACE": "ns1", "POD_IP": "127.0.0.1"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
ROUTES = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(*PAGE_FLAGS, "--max-request-body-size-mb", "1", env=POD) as running:
        yield running


def raw_exchange(server: Server, data: bytes, until: bytes | None = None) -> bytes:
    """Send bytes as they are; what comes back until the server closes, or until `until` is there."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(data)
        received = b""
        while until is None or until not in received:
            piece = sock.recv(65536)
            if not piece:
                break
            received += piece
        return received


def test_the_pages_curl(server: Server) -> None:
    """JSON under curl's default content type, as the page sends it; 200 with the page's keys."""
    body = {**PAGE, "max_tokens": 100, "temperature": 0}
    reply = server.request("POST", "/v1/completions", headers=FORM, raw=json.dumps(body).encode())
    assert reply.status == 200
    answer = reply.json()
    assert {"choices", "created", "id", "kv_transfer_params", "model", "object", "usage"} <= set(answer)
    assert answer["model"] == "reviews-1"
    assert answer["object"] == "text_completion"
    assert {"finish_reason", "index", "text"} <= set(answer["choices"][0])
    usage = answer["usage"]
    assert all(type(usage[k]) is int for k in ("prompt_tokens", "completion_tokens", "total_tokens"))
    assert usage["prompt_tokens"] == 10


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/tokenize"])
def test_any_content_type_is_json(server: Server, content_type: str | None, path: str) -> None:
    body = {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    headers = {"content-type": content_type} if content_type else {}
    assert server.request("POST", path, headers=headers, raw=json.dumps(body).encode()).status == 200


def test_chunked_without_content_length(server: Server) -> None:
    """As Envoy sends it."""
    body = json.dumps({**PAGE, "max_tokens": 3}).encode()
    chunks = b"".join(
        f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in (body[:7], body[7:30], body[30:])
    )
    request = (
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        + chunks
        + b"0\r\n\r\n"
    )
    answer = raw_exchange(server, request)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"text_completion"' in answer


def test_strict_content_type_is_asked_where_vllm_asks_for_it() -> None:
    """Its development routes read their bodies by themselves."""
    said, text = b'{"request_ids": []}', {"content-type": "text/plain"}
    with serving(*PAGE_FLAGS, "--strict-content-type", env={"VLLM_SERVER_DEV_MODE": "1"}) as strict:
        for headers in ({}, text):
            assert strict.request("POST", "/abort_requests", raw=said, headers=headers).status == 200
            rpc = strict.request("POST", "/collective_rpc", raw=b'{"method": "x"}', headers=headers)
            assert (rpc.status, rpc.json()) == (200, {"results": [None]})
            for path in ("/tokenize", "/v1/messages"):
                refused = strict.request("POST", path, raw=b"{}", headers=headers)
                assert refused.status == 400
                assert "Unsupported Media Type" in refused.body.decode()
        assert strict.request("POST", "/abort_requests", raw=b"{}").json() == {
            "status": "aborted",
            "aborted": 0,
        }


def test_strict_content_type() -> None:
    with serving(*PAGE_FLAGS, "--strict-content-type") as strict:
        reply = strict.request("POST", "/v1/completions", headers=FORM, raw=json.dumps(PAGE).encode())
        assert reply.status == 400
        assert reply.json()["error"]["message"].endswith("Only 'application/json' is allowed")
        assert strict.request("POST", "/v1/completions", PAGE).status == 200


@pytest.mark.parametrize("path", ROUTES)
def test_every_answer_is_attributable(server: Server, path: str) -> None:
    """Also those to nonsense: bad JSON, unknown models, wrong methods, bodies that are too large."""
    replies = [
        server.request("POST", path, raw=b"{", headers=FORM),
        server.request("POST", path, {"model": "nope", "max_tokens": 1, "messages": [], "input": "x"}),
        server.request("GET", path),
        server.request("POST", path, raw=b"x" * (1 << 21), headers=FORM),
    ]
    assert [reply.status for reply in replies][2:] == [405, 413]
    assert all(400 <= reply.status < 500 for reply in replies)
    for reply in replies:
        assert reply.headers["x-inference-pod"] == "pod-a"
        assert reply.headers["x-inference-port"] == str(server.port)
        assert reply.headers["x-inference-namespace"] == "ns1"


def test_streams_and_answers_are_attributable(server: Server) -> None:
    for stream in (False, True):
        reply = server.request("POST", "/v1/completions", {**PAGE, "max_tokens": 2, "stream": stream})
        assert reply.headers["x-inference-pod"] == "pod-a"
    assert "x-inference-pod" not in server.request("GET", "/v1/models").headers


def test_without_pod_nothing_is_said() -> None:
    with serving(*PAGE_FLAGS) as bare:
        headers = bare.request("POST", "/v1/completions", {**PAGE, "max_tokens": 1}).headers
        assert not [name for name in headers if name.startswith("x-inference")]


def test_too_large_is_413_by_length_and_by_count(server: Server) -> None:
    large = b'{"prompt":"' + b"x" * (1 << 20) + b'"}'
    assert server.request("POST", "/v1/completions", raw=large).status == 413
    chunked = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked += f"{len(large):x}\r\n".encode() + large + b"\r\n0\r\n\r\n"
    assert raw_exchange(server, chunked, b"}}").startswith(b"HTTP/1.1 413")
    assert server.request("POST", "/tokenize", raw=large).status == 413


@pytest.mark.parametrize(
    "garbage",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
    ],
)
def test_malformed_http_is_400(server: Server, garbage: bytes) -> None:
    assert raw_exchange(server, garbage).startswith(b"HTTP/1.1 400")


def test_usage_and_end_leave_in_one_write(server: Server) -> None:
    """Pickers read usage only from the piece that holds [DONE]."""
    body = {**PAGE, "max_tokens": 4, "stream": True, "stream_options": {"include_usage": True}}
    data = json.dumps(body).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    answer = raw_exchange(server, head + b"content-length: %d\r\n\r\n" % len(data) + data)
    chunks = http_chunks(answer.split(b"\r\n\r\n", 1)[1])
    last = chunks[-1]
    assert b'"usage":{"prompt_tokens":' in last
    assert last.endswith(b"data: [DONE]\n\n")


def http_chunks(body: bytes) -> list[bytes]:
    chunks = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        chunks.append(rest[:length])
        body = rest[length + 2 :]
    return chunks


def test_request_ids() -> None:
    with serving(*PAGE_FLAGS, "--enable-request-id-headers") as named:
        reply = named.request("POST", "/v1/completions", {**PAGE, "max_tokens": 1}, {"x-request-id": "abc"})
        assert reply.headers["x-request-id"] == "abc"
        assert reply.json()["id"] == "cmpl-abc"
        assert len(named.request("GET", "/health").headers["x-request-id"]) == 32
        refused = named.request(
            "POST", "/v1/completions", {"model": "nope", "prompt": "x"}, {"x-request-id": "abc"}
        )
        assert (refused.status, refused.headers["x-request-id"]) == (404, "abc")


def test_no_request_id_header_without_the_flag(server: Server) -> None:
    reply = server.request("POST", "/v1/completions", {**PAGE, "max_tokens": 1}, {"x-request-id": "abc"})
    assert "x-request-id" not in reply.headers
    assert reply.json()["id"] == "cmpl-abc"


def test_metrics_answers_head(server: Server) -> None:
    head, get = server.request("HEAD", "/metrics"), server.request("GET", "/metrics")
    assert (head.status, head.body) == (200, b"")
    assert get.status == 200
    assert b"# TYPE vllm:num_requests_running gauge" in get.body
    assert server.request("POST", "/metrics", {}).status == 405


def test_keys_guard_v1_only() -> None:
    with serving(*PAGE_FLAGS, "--api-key", "one", "two") as guarded:
        body = {**PAGE, "max_tokens": 1}
        assert guarded.request("POST", "/v1/completions", body).status == 401
        for key in ("one", "two"):
            headers = {"authorization": f"Bearer {key}"}
            assert guarded.request("POST", "/v1/completions", body, headers).status == 200
        assert (
            guarded.request("POST", "/v1/completions", body, {"authorization": "Bearer three"}).status == 401
        )
        for path in ("/health", "/metrics", "/version"):
            assert guarded.request("GET", path).status == 200


def test_orca(server: Server) -> None:
    for kind, begins in (
        ("TEXT", "TEXT named_metrics.num_requests_waiting="),
        ("JSON", 'JSON {"named_metrics"'),
    ):
        headers = {"endpoint-load-metrics-format": kind}
        reply = server.request("POST", "/v1/completions", {**PAGE, "max_tokens": 1}, headers)
        assert reply.headers["endpoint-load-metrics"].startswith(begins)


def test_readiness_routes(server: Server) -> None:
    for path in ("/health", "/health/ready", "/ready", "/ping"):
        assert server.request("GET", path).status == 200


def test_startup_duration_holds_readiness_back() -> None:
    with serving(*PAGE_FLAGS, "--startup-duration", "1h") as starting:
        assert starting.request("GET", "/health/ready").status == 503
        assert starting.request("GET", "/ready").status == 503
        assert starting.request("POST", "/v1/completions", {**PAGE, "max_tokens": 1}).status == 200


def test_return_error_header(server: Server) -> None:
    for code in (429, 503):
        reply = server.request("POST", "/v1/completions", PAGE, {"x-return-error": str(code)})
        assert reply.status == code
        assert reply.json()["error"]["code"] == code
    for wrong in ("abc", "999999"):
        assert server.request("POST", "/v1/completions", PAGE, {"x-return-error": wrong}).status == 400


def test_cache_threshold_header(server: Server) -> None:
    reply = server.request("POST", "/v1/completions", PAGE, {"x-cache-threshold-finish-reason": "true"})
    assert reply.json()["choices"][0]["finish_reason"] == "cache_threshold"
    assert reply.json()["usage"]["completion_tokens"] == 0


def finish_of(server: Server, body: dict[str, Any]) -> tuple[str, int]:
    reply = server.request("POST", "/v1/completions", body).json()
    return reply["choices"][0]["finish_reason"], reply["usage"]["completion_tokens"]


def test_cache_hit_threshold_of_a_request() -> None:
    prompt = list(range(40))  # two full blocks of 16 of 40 tokens: 0.8 of it can be cached
    with serving(*PAGE_FLAGS, "--block-size", "16") as server:
        body = {**PAGE, "prompt": prompt, "max_tokens": 1, "ignore_eos": True}
        too_cold, served = ("cache_threshold", 0), ("length", 1)
        assert finish_of(server, {**body, "cache_hit_threshold": 0.8}) == too_cold
        assert finish_of(server, {**body, "cache_hit_threshold": 0.8}) == too_cold  # refusing caches nothing
        assert finish_of(server, {**body, "cache_hit_threshold": 0.0}) == served
        assert finish_of(server, {**body, "cache_hit_threshold": 0.8}) == served
        assert finish_of(server, {**body, "cache_hit_threshold": 0.81}) == too_cold
        assert finish_of(server, {**body, "cache_hit_threshold": 1.5}) == served  # out of range: the flag's


def test_cache_hit_threshold_of_the_server_and_in_a_stream() -> None:
    body = {**PAGE, "prompt": list(range(40)), "max_tokens": 1, "ignore_eos": True}
    with serving(*PAGE_FLAGS, "--block-size", "16", "--global-cache-hit-threshold", "0.5") as server:
        assert finish_of(server, body) == ("cache_threshold", 0)
        stream = server.request("POST", "/v1/completions", {**body, "stream": True}).body
        assert b'"finish_reason":"cache_threshold"' in stream
        assert stream.endswith(b"data: [DONE]\n\n")
        assert finish_of(server, {**body, "cache_hit_threshold": 0}) == ("length", 1)
        assert finish_of(server, body) == ("length", 1)
    with serving(*PAGE_FLAGS, "--global-cache-hit-threshold", "0.5", "--no-enable-prefix-caching") as server:
        assert finish_of(server, body) == ("length", 1)


def test_repetition_ends_an_answer() -> None:
    with serving(*PAGE_FLAGS, "--mode", "echo") as server:
        body = {**PAGE, "prompt": "no no no no no no no no", "max_tokens": 100}
        limits = {"max_pattern_size": 4, "min_count": 3}
        reply = server.request("POST", "/v1/completions", {**body, "repetition_detection": limits}).json()
        (choice,) = reply["choices"]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("repetition", "repetition_detected")
        assert reply["usage"]["completion_tokens"] < 8
        metrics = server.request("GET", "/metrics").body.decode()
        counted = next(line for line in metrics.splitlines() if 'finished_reason="repetition"' in line)
        assert counted.endswith(" 1.0")
        odd = {"max_pattern_size": 4, "min_count": "3", "another": [1]}  # converted, and ignored
        assert finish_of(server, {**body, "repetition_detection": odd})[0] == "repetition"
        wrong = server.request(
            "POST", "/v1/completions", {**body, "repetition_detection": {"max_pattern_size": 2}}
        )
        assert wrong.status == 400
        assert "min_count must be >= 2" in wrong.json()["error"]["message"]


def test_cors() -> None:
    with serving(*PAGE_FLAGS, "--allowed-origins", '["http://good"]') as cross:
        origin = {"origin": "http://good"}
        assert (
            cross.request("GET", "/version", headers=origin).headers["access-control-allow-origin"]
            == "http://good"
        )
        reply = cross.request("POST", "/v1/completions", {**PAGE, "max_tokens": 1}, origin)
        assert reply.headers["access-control-allow-origin"] == "http://good"
        preflight = {
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-a",
        }
        assert cross.request("OPTIONS", "/v1/completions", headers=preflight).status == 200
        bad = cross.request("GET", "/version", headers={"origin": "http://bad"})
        assert "access-control-allow-origin" not in bad.headers
