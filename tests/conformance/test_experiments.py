"""The recorded experiments: streams, answers and counters on SIGTERM, on preemption, on leaving.

Recordings: shutdown_abort.txt, shutdown_drain.txt, preempt_exp.txt, lora_exp.txt. Times differ by machine;
words, statuses and counts are compared.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.masking import normalise_body
from tests.conformance.recorded import COMMON, DATA, recorded_text
from tests.simulator.server.serving import Server, serving
from tests.simulator.steps import flat_flag
from tests.waiting import until

PROMPT_50 = [7] * 50
LONG = {"model": "tiny", "prompt": PROMPT_50, "max_tokens": 400, "temperature": 0}
STREAM = {**LONG, "stream": True, "stream_options": {"include_usage": True}}
CONTINUOUS = {**STREAM, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


class Asking(threading.Thread):
    """One request in the background; `begun` is set with the first piece of the answer."""

    def __init__(self, server: Server, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._body = body
        self.begun = threading.Event()
        self.status = 0
        self.text = ""
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)
        data = json.dumps(self._body)
        connection.request("POST", "/v1/completions", data, {"content-type": "application/json"})
        response = connection.getresponse()
        self.status = response.status
        pieces = []
        while piece := response.read1(65536):
            self.begun.set()
            pieces.append(piece)
        self.begun.set()
        self.text = b"".join(pieces).decode()
        connection.close()

    def ended(self) -> Asking:
        self.join(30)
        assert not self.is_alive()
        return self


def flags(folder: Path, *more: str, step_us: int = 10_000) -> tuple[str, ...]:
    """As recorded, with steps so long that a busy machine does not miss what happens between two of them."""
    text = str(recorded_text(folder))
    return (
        *COMMON,
        "--step-model",
        flat_flag(step_us),
        "--max-model-len",
        "512",
        "--dataset-path",
        text,
        *more,
    )


def refuses(server: Server) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", server.port)) != 0


def unready(server: Server) -> bool:
    """Not ready, or already gone."""
    try:
        return server.request("GET", "/ready").status == 503
    except OSError:
        return refuses(server)


def tail_of(name: str, who: str) -> list[str]:
    """What a recording kept of one client's answer."""
    recorded = (DATA / name).read_text()
    begin = recorded.index(f"\n{who} " if not recorded.startswith(f"{who} ") else f"{who} ")
    kept = recorded[begin:].split(" tail: ", 1)[1].split("\n\n\n")[0]
    return kept.split("\n\n")


def test_sigterm_aborts(tmp_path: Path) -> None:
    """--shutdown-timeout 0: streams read an error event, answers are 500, nobody gets in, exit soon."""
    with serving(*flags(tmp_path)) as server:
        stream, unary = Asking(server, CONTINUOUS), Asking(server, LONG)
        stream.begun.wait(20)
        until(lambda: server.metric("vllm:num_requests_running") == 2, what="two running")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(server), what="connections refused")
        assert stream.ended().status == 200
        recorded = tail_of("shutdown_abort.txt", "stream")
        assert stream.text.rstrip("\n").split("\n\n")[-2:] == [recorded[1], recorded[2].strip()]
        assert unary.ended().status == 500
        assert unary.text == tail_of("shutdown_abort.txt", "unary")[0].split("\n")[0]
        server.process.wait(10)


def test_sigterm_drains(tmp_path: Path) -> None:
    """--shutdown-timeout N: health stays 200, what runs finishes, who comes gets finish_reason abort."""
    with serving(*flags(tmp_path, "--shutdown-timeout", "30")) as server:
        stream, unary = Asking(server, STREAM), Asking(server, LONG)
        stream.begun.wait(20)
        until(lambda: server.metric("vllm:num_requests_running") == 2, what="two running")
        server.process.send_signal(signal.SIGTERM)
        brief = {**STREAM, "max_tokens": 1}
        until(lambda: '"abort"' in Asking(server, brief).ended().text, what="an abort")
        late = Asking(server, brief).ended()
        assert server.request("GET", "/health").status == 200
        assert late.status == 200
        events = late.text.rstrip("\n").split("\n\n")
        assert len(events) == 3
        recorded = tail_of("shutdown_drain.txt", "new-after-term")
        assert normalise_body(events[1]) == normalise_body(recorded[1])
        assert '"text":"","logprobs":null,"finish_reason":"abort","stop_reason":null' in events[0]
        assert (stream.ended().status, unary.ended().status) == (200, 200)
        assert stream.text.count("data: {") == 401
        kept = tail_of("shutdown_drain.txt", "stream")
        assert normalise_body(stream.text.rstrip("\n").split("\n\n")[-2]) == normalise_body(kept[1])
        assert json.loads(unary.text)["usage"]["completion_tokens"] == 400
        server.process.wait(20)
        assert server.process.returncode == 0


def test_sigterm_kubernetes(tmp_path: Path) -> None:
    """Readiness first, every accepted request completes, exit 0."""
    with serving(*flags(tmp_path, "--shutdown-mode", "kubernetes", "--shutdown-timeout", "30")) as server:
        running = [Asking(server, STREAM if i % 2 else LONG) for i in range(8)]
        until(lambda: server.metric("vllm:num_requests_running") == 8, what="eight running")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: unready(server), what="not ready")
        for asked in running:
            assert asked.ended().status == 200
            assert '"completion_tokens":400' in asked.text
        server.process.wait(20)
        assert server.process.returncode == 0


def test_preemption_and_a_bounded_queue(tmp_path: Path) -> None:
    """preempt_exp.txt: blocks for less than four such requests, eight of them, a queue of few."""
    bodies = [
        {"model": "tiny", "prompt": [9 + i] * 120, "max_tokens": 200, "ignore_eos": True} for i in range(8)
    ]
    more = ("--block-size", "32", "--num-gpu-blocks-override", "21", "--max-num-seqs", "4")
    with serving(*flags(tmp_path, *more, "--max-num-queued-reqs", "3", step_us=20_000)) as server:
        asked = [Asking(server, body) for body in bodies[:7]]
        until(lambda: server.in_flight == 7, what="seven in flight")
        refused = Asking(server, bodies[7]).ended()
        assert refused.status == 503
        assert refused.text == (
            '{"error":{"message":"The engine is currently busy and cannot accept new requests. '
            'Please try again later or on a different instance.",'
            '"type":"Service Unavailable","param":null,"code":503}}'
        )
        for one in asked:
            assert one.ended().status == 200
        counts = {
            "vllm:generation_tokens_total": 1400,
            "vllm:inter_token_latency_seconds_count": 1393,
            "vllm:prompt_tokens_total": 840,
            "vllm:prefix_cache_queries_total": 840,
            "vllm:request_prompt_tokens_sum": 840,
            "vllm:request_generation_tokens_sum": 1400,
            "vllm:request_params_n_sum": 7,
            "vllm:time_to_first_token_seconds_count": 7,
            "vllm:e2e_request_latency_seconds_count": 7,
            "vllm:request_success_total": 7,
            "vllm:admission_rejections_total": 1,
        }
        assert {name: server.metric(name) for name in counts} == counts
        assert server.metric("vllm:num_preemptions_total") > 0
        assert server.metric("vllm:request_num_preemptions_sum") == server.metric(
            "vllm:num_preemptions_total"
        )


def test_leaving_counts_what_was_delivered(tmp_path: Path) -> None:
    """The disconnect of preempt_exp.txt: tokens, prompt and TTFT are counted, no request histogram is."""
    with serving(*flags(tmp_path)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(
            "POST", "/v1/completions", json.dumps(STREAM), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        received = b""
        while received.count(b"data: ") < 100:
            received += response.read1(65536)
        connection.sock.close()
        response.close()
        until(lambda: server.metric("vllm:num_requests_running") == 0, what="the engine is empty")
        generated = server.metric("vllm:generation_tokens_total")
        assert 100 <= generated < 400
        assert server.metric("vllm:inter_token_latency_seconds_count") == generated - 1
        assert server.metric("vllm:iteration_tokens_total_count") == generated
        assert server.metric("vllm:iteration_tokens_total_sum") == generated + 50
        assert server.metric("vllm:prompt_tokens_total") == 50
        assert server.metric("vllm:time_to_first_token_seconds_count") == 1
        for name in (
            "request_success_total",
            "e2e_request_latency_seconds_count",
            "request_prompt_tokens_count",
        ):
            assert server.metric(f"vllm:{name}") == 0


@pytest.mark.parametrize("mode", ["0.33", "epp"])
def test_lora_gauge(tmp_path: Path, mode: str) -> None:
    """lora_exp.txt: two adapters run, a third waits. vLLM shows the running ones in both labels."""
    for name in "abc":
        (tmp_path / f"lora-{name}").mkdir()
    modules = [f"lora-{name}={tmp_path}/lora-{name}" for name in "abc"]
    common = flags(tmp_path, "--enable-lora", "--max-loras", "2", "--lora-modules", *modules)
    used = common if mode == "0.33" else tuple(flag for flag in common if flag != "--strict")
    with serving(*used) as server:
        asked = []
        for name in ("lora-a", "lora-b", "lora-c"):
            asked.append(Asking(server, {**STREAM, "model": name}))
            until(lambda: server.in_flight == len(asked), what="it is in")
        labels = 'max_lora="2",running_lora_adapters="lora-a,lora-b",waiting_lora_adapters='
        wanted = labels + ('"lora-a,lora-b"' if mode == "0.33" else '"lora-c"')
        until(lambda: wanted in server.request("GET", "/metrics").body.decode(), what=wanted)
        assert server.metric("vllm:num_requests_waiting_by_reason") == 1
        for one in asked:
            assert one.ended().status == 200
