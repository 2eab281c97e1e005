"""Scores that llm-d-router emits (--emit-endpoint-scores) beside those of the reference picker.

EPP_BIN names the binary. It takes its endpoints from a file and its metrics from the same scripted model
servers. The reference picker, dressed up as such a binary, stands in for it in the default suite, so that the
comparison itself is tested.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import struct
import sys
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.machine.readiness import grpc_is_serving
from gateway.picker.app import Picker
from gateway.stack.pickers.go import inspect, with_file_discovery
from tests.gateway.picker.real_epp import CHART, HOSTS, binaries, model_servers, page
from tests.gateway.picker.running import (
    ModelServer,
    body,
    data_plane,
    endpoints_text,
    headers,
    picker,
)
from tests.gateway.picker.test_against_epp import prompt_of
from tests.ports import free_port
from tests.waiting import until_async

SCORES = "x-gateway-destination-endpoint-scores"
ROUNDS = 3
"""Scrapes by each of the pickers after which it has new metrics."""
Scores = dict[str, float]
THRESHOLD = ", parameters: {queueThresholdTokens: 20000}"  # of which a few prompts are a part that shows
# Every scorer that needs no predictor, no labels and no tokens of the engine's own.
MORE = {
    "running-requests-size-scorer": 2,
    "load-aware-scorer": 1,
    "active-request-scorer": 2,
    "token-load-scorer": 3,
    "no-hit-lru-scorer": 1,
}
ROUTER_CHART = CHART.replace(
    "schedulingProfiles:\n",
    "- {type: inflight-load-producer}\n"
    + "".join(f"- {{type: {name}{THRESHOLD if name == 'token-load-scorer' else ''}}}\n" for name in MORE)
    + "schedulingProfiles:\n",
) + "".join(f"  - {{pluginRef: {name}, weight: {weight}}}\n" for name, weight in MORE.items())
Asked = dict[str, Any]
# Endpoints that no request was sent to yet have no order among them: in Go it is a map's.
UNUSED = 20
HELD = 6  # streams that are left open while the next ones are decided


def dressed_up(directory: Path) -> Path:
    """The reference picker as an executable: its flags and its configuration are llm-d-router's."""
    path = directory / "epp"
    root = Path(__file__).parents[3]
    path.write_text(
        f"#!{sys.executable}\nimport runpy, sys\nsys.path.insert(0, {str(root)!r})\n"
        "runpy.run_module('gateway.picker', run_name='__main__')\n"
    )
    path.chmod(0o755)
    return path


@contextlib.asynccontextmanager
async def router(binary: Path, directory: Path, places: Sequence[tuple[str, str, int]]) -> AsyncIterator[int]:
    """ext_proc port of a picker that finds these places in a file."""
    endpoints, config = directory / "router-endpoints.yaml", directory / "router.yaml"
    endpoints.write_text(endpoints_text(*places))
    config.write_text(with_file_discovery(ROUTER_CHART, endpoints))
    grpc_port, health_port = free_port(), free_port()
    log = directory / "router.log"
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *(str(binary), "--pool-name=pool", "--pool-namespace=ns", "--secure-serving=false"),
            *("--tracing=false", "--metrics-endpoint-auth=false", "--emit-endpoint-scores=true"),
            *(f"--config-file={config}", f"--grpc-port={grpc_port}", f"--grpc-health-port={health_port}"),
            f"--metrics-port={free_port()}",
            stdout=sink,
            stderr=sink,
        )
    try:
        async with asyncio.timeout(30):
            while not await grpc_is_serving("127.0.0.1", health_port):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield grpc_port
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


@dataclass(frozen=True)
class Decision:
    """What a picker chose, and the total score of every endpoint."""

    pick: str
    scores: Scores

    @property
    def best(self) -> frozenset[str]:
        top = max(self.scores.values())
        return frozenset(place for place, score in self.scores.items() if score == top)


def png(width: int, height: int) -> str:
    """As much of a picture as tells its size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return "data:image/png;base64," + base64.b64encode(data).decode()


def with_media(rng: random.Random, asked: dict[str, Any]) -> dict[str, Any]:
    """Some chats have pictures, of known sizes or elsewhere, and sounds in their first message."""
    if "messages" not in asked or rng.random() < 0.6:
        return asked
    first, *rest = asked["messages"]
    parts: list[dict[str, Any]] = [{"type": "text", "text": first["content"]}]
    for _ in range(rng.randrange(1, 3)):
        url = rng.choice([png(rng.choice([32, 640, 1024]), 512), "https://example.com/a.png"])
        parts.append({"type": "image_url", "image_url": {"url": url}})
    if rng.random() < 0.3:
        parts.append({"type": "input_audio", "input_audio": {"data": "QUJDREVG" * 30, "format": "wav"}})
    rng.shuffle(parts)
    return {**asked, "messages": [{"role": first["role"], "content": parts}, *rest]}


async def decide(
    connect: Callable[[], Any], number: int, asked: dict[str, Any], held: deque[Any]
) -> Decision:
    while len(held) >= HELD:
        await held.popleft().close()
    stream = connect()
    held.append(stream)
    path = "/v1/chat/completions" if "messages" in asked else "/v1/completions"
    pseudo = {":method": "POST", ":path": path, "x-request-id": f"r-{number}"}
    payload = json.dumps(asked).encode()
    await stream.send(headers("request_headers", pseudo), body("request_body", payload, True))
    reply = await stream.next()
    metadata = reply.dynamic_metadata["envoy.lb"]
    await stream.body("request_body")
    return Decision(metadata["x-gateway-destination-endpoint"], dict(metadata[SCORES].items()))


async def settle(servers: Sequence[ModelServer], rng: random.Random, ours: Picker) -> None:
    """Other metrics for every endpoint, scraped often enough that both pickers have them."""
    waiting = rng.sample(range(12), len(servers))
    for server, queue in zip(servers, waiting, strict=True):
        server.page = page(queue, round(rng.randrange(1, 77) / 77, 6), rng.choice(["a", "b", "a,b", "c"]))
    before = [dict(server.by_connection) for server in servers]

    def scraped(server: ModelServer, old: dict[int, int]) -> bool:
        more = [count - old.get(number, 0) for number, count in server.by_connection.items()]
        return sum(count >= ROUNDS for count in more) >= 2

    await until_async(lambda: all(map(scraped, servers, before)), what="scrapes by both pickers")
    known = sorted(place.metrics.waiting for place in ours.datastore.endpoints)
    assert known == sorted(waiting)


async def compare(binary: Path, directory: Path, requests: int) -> list[tuple[Decision, Decision]]:
    """Theirs and ours, for the same requests in the same order."""
    rng = random.Random(21)
    prefixes = ["".join(rng.choices("abcdefgh ", k=4000)) for _ in range(12)]
    async with contextlib.AsyncExitStack() as stack:
        servers, port = await stack.enter_async_context(model_servers())
        places = [(f"sim-{number}", host, port) for number, host in enumerate(HOSTS)]
        grpc_port = await stack.enter_async_context(router(binary, directory, places))
        flags = ("--compat", "llm-d-v0.10", "--emit-endpoint-scores=true")
        ours = await stack.enter_async_context(picker(directory, *flags, text=ROUTER_CHART, endpoints=places))
        theirs_connect = await stack.enter_async_context(data_plane(grpc_port))
        ours_connect = await stack.enter_async_context(data_plane(ours.options.grpc_port))
        decided: list[tuple[Decision, Decision]] = []
        held: tuple[deque[Any], deque[Any]] = (deque(), deque())
        for number in range(requests + UNUSED):
            if number % 100 == 0:
                await settle(servers, rng, ours)
            asked = with_media(rng, prompt_of(rng, prefixes))
            theirs = await decide(theirs_connect, number, asked, held[0])
            ours_now = await decide(ours_connect, number, asked, held[1])
            if number >= UNUSED:
                decided.append((theirs, ours_now))
            if ours_now.pick != theirs.pick:  # the loads in flight are no longer the same
                break
        for stream in (*held[0], *held[1]):
            await stream.close()
        return decided


def check(name: str, decided: list[tuple[Decision, Decision]], figure: Callable[[str], None]) -> None:
    pairs = [
        (score, ours.scores.get(place)) for theirs, ours in decided for place, score in theirs.scores.items()
    ]
    scores = sum(one == other for one, other in pairs)
    argmax = sum(theirs.best == ours.best for theirs, ours in decided)
    figure(
        f"{name} beside the reference picker: {scores} of {len(pairs)} emitted scores, {argmax} of "
        f"{len(decided)} argmax sets equal"
    )
    differing = [(n, *both) for n, both in enumerate(decided) if both[0].scores != both[1].scores]
    for number, theirs, ours in differing[:5]:
        figure(f"  request {number}: {theirs.scores} there, {ours.scores} here")
    assert all(theirs.pick in theirs.best and ours.pick in ours.best for theirs, ours in decided)
    assert scores / len(pairs) > 0.99
    assert argmax / len(decided) > 0.99


def test_the_comparison_itself(tmp_path: Path) -> None:
    """The reference picker beside itself."""
    said: list[str] = []
    binary = dressed_up(tmp_path)
    assert inspect(binary).is_router
    check("itself", asyncio.run(compare(binary, tmp_path, 40)), said.append)
    assert said == [
        "itself beside the reference picker: 160 of 160 emitted scores, 40 of 40 argmax sets equal"
    ]


@pytest.mark.epp
@pytest.mark.parametrize("binary", binaries() or [None], ids=str)
def test_emitted_scores_agree(binary: Path | None, tmp_path: Path, figure: Callable[[str], None]) -> None:
    if binary is None:
        pytest.skip("no endpoint picker: set EPP_BIN or put `epp` on the PATH")
    if "emit-endpoint-scores" not in inspect(binary).flags:
        pytest.skip(
            f"{binary} does not emit scores (llm-d-router from v0.10.0 on does); its log is read instead"
        )
    check(str(binary), asyncio.run(compare(binary, tmp_path, 2000)), figure)
