"""SIGTERM in the three ways: every accepted request is answered, in the words of the mode."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest

from tests.simulator.server.serving import Server, serving
from tests.simulator.steps import FLAT_20_MS
from tests.waiting import until

STEP = ["--step-model", FLAT_20_MS]


def completion(port: int, tokens: int, stream: bool = False) -> tuple[int, bytes]:
    """(status, body) on a connection of its own."""
    body = {"prompt": "hello", "max_tokens": tokens, "ignore_eos": True, "stream": stream}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Asked(threading.Thread):
    """A completion in a thread; `result` is the answer, or the exception that came instead."""

    def __init__(self, server: Server, tokens: int, stream: bool = False) -> None:
        super().__init__(daemon=True)
        self._ask = lambda: completion(server.port, tokens, stream)
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._ask()
        except Exception as error:  # noqa: BLE001 - what came is what the test looks at
            self.result = error

    def answer(self) -> tuple[int, bytes]:
        self.join(timeout=30)
        assert isinstance(self.result, tuple), self.result
        return self.result


def until_running(server: Server, count: int) -> None:
    """Until that many sequences run."""
    until(lambda: server.metric("vllm:num_requests_running") == count, what=f"{count} requests that run")


def shut_down(server: Server) -> None:
    """SIGTERM, and wait until the process says that it has it."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stdout is not None
    while "shutting down" not in (line := server.process.stdout.readline()):
        assert line, "it ended without a word"
    time.sleep(0.1)  # the next rounds of its loop


def exit_code(server: Server, timeout_s: float = 20) -> int:
    return server.process.wait(timeout=timeout_s)


def test_abort_is_the_default_and_speaks_as_vllm() -> None:
    with serving(*STEP) as server:
        stream, unary = Asked(server, 1000, stream=True), Asked(server, 1000)
        until_running(server, 2)
        server.process.send_signal(signal.SIGTERM)
        status, body = stream.answer()
        assert status == 200
        error = (
            '{"error": {"message": "The server had an error while processing your request.", '
            '"type": "InternalServerError", "param": null, "code": 500}}'
        )
        assert body.decode().endswith(f"data: {error}\n\ndata: [DONE]\n\n")
        status, body = unary.answer()
        assert status == 500
        assert json.loads(body)["error"]["type"] == "InternalServerError"
        assert exit_code(server) == 0


def test_drain_finishes_and_ends_new_requests_with_abort() -> None:
    with serving(*STEP, "--shutdown-timeout", "20") as server:
        stream, unary = Asked(server, 200, stream=True), Asked(server, 200)
        until_running(server, 2)
        shut_down(server)
        assert server.request("GET", "/health").status == 200
        status, body = completion(server.port, 5)
        assert status == 200
        late = json.loads(body)
        assert late["choices"][0]["finish_reason"] == "abort"
        assert late["usage"]["completion_tokens"] == 0
        assert stream.answer()[1].endswith(b"data: [DONE]\n\n")
        assert json.loads(unary.answer()[1])["usage"]["completion_tokens"] == 200
        assert exit_code(server) == 0


def test_drain_ends_when_its_time_is_up() -> None:
    with serving(*STEP, "--shutdown-timeout", "1") as server:
        unary = Asked(server, 1000)
        until_running(server, 1)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert unary.answer()[0] == 500
        assert exit_code(server) == 0
        assert time.monotonic() - began < 15, "the request alone takes 20 s"


def test_kubernetes_is_unready_first_then_finishes() -> None:
    with serving(*STEP, "--shutdown-mode", "kubernetes") as server:
        asked = [Asked(server, 250, stream=i % 2 == 0) for i in range(10)]
        until_running(server, 10)
        # Connected before: the socket closes once nobody has come for half a second.
        probes = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(3)]
        for probe in probes:
            probe.connect()
        shut_down(server)
        statuses = []
        for probe, path in zip(probes, ("/health/ready", "/ready", "/health"), strict=True):
            probe.request("GET", path)
            statuses.append(probe.getresponse().status)
            probe.close()
        assert statuses == [503, 503, 200]
        for one in asked:
            assert one.answer()[0] == 200
        assert exit_code(server) == 0


def test_kubernetes_under_load_loses_nothing() -> None:
    """Clients come all the time; whoever was connected is answered in full, the rest is refused."""
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def client(server: Server, number: int) -> None:
        while not stop.is_set():
            try:
                status, body = completion(server.port, 10 + number % 7, stream=number % 2 == 0)
            except ConnectionRefusedError:
                outcomes["refused"] += 1
                return
            except Exception as error:  # noqa: BLE001 - counted, and none may come
                outcomes[repr(error)] += 1
                return
            whole = body.endswith(b"data: [DONE]\n\n") if number % 2 == 0 else body.endswith(b"}")
            outcomes["whole" if status == 200 and whole else f"{status} {body[-80:]!r}"] += 1

    with serving(
        "--time-to-first-token", "5ms", "--inter-token-latency", "5ms", "--shutdown-mode", "kubernetes"
    ) as server:
        clients = [threading.Thread(target=client, args=(server, i), daemon=True) for i in range(24)]
        for one in clients:
            one.start()
        time.sleep(1.0)  # load
        server.process.send_signal(signal.SIGTERM)
        assert exit_code(server) == 0
        stop.set()
        for one in clients:
            one.join(timeout=10)
    assert outcomes["whole"] > 100
    assert set(outcomes) == {"whole", "refused"}, outcomes


@pytest.mark.parametrize("mode", ["drain", "kubernetes"])
def test_a_second_signal_ends_it(mode: str) -> None:
    with serving(*STEP, "--shutdown-mode", mode) as server:
        Asked(server, 1000)
        until_running(server, 1)
        shut_down(server)  # two signals at once are one
        server.process.send_signal(signal.SIGTERM)
        assert exit_code(server, 15) == 1, "before the request's 20 s"
