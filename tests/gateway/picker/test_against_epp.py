"""The reference picker beside real ones: same requests, same metrics; are scores, picks and words the same?

EPP_BIN names one or several binaries of GIE's endpoint picker (os.pathsep between them). Their scores are
read from their log. Metrics differ from endpoint to endpoint, so that no pick depends on a die.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.picker.real_epp import HOSTS, binaries, chart, model_servers, real, release_of, settle
from tests.gateway.picker.running import (
    Stream,
    body,
    data_plane,
    headers,
    picker,
    set_headers,
)
from tests.waiting import until_async

pytestmark = pytest.mark.epp
REQUESTS = 2000
PHASES = 20
IN_FLIGHT = 16


@pytest.fixture(params=binaries() or [None], ids=lambda path: str(path) if path else "none")
def epp(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip("no endpoint picker: set EPP_BIN or put `epp` on the PATH")
    binary: Path = request.param
    return binary


def prompt_of(rng: random.Random, prefixes: Sequence[str]) -> dict[str, Any]:
    """Distinct and shared prefixes, completions and chat, with characters that JSON escapes."""
    text = rng.choice(prefixes)[: rng.randrange(20, 4000)] + "".join(
        rng.choices("xyz <&>é\n", k=rng.randrange(400))
    )
    model = rng.choice(["base", "a", "b"])
    if rng.random() < 0.5:
        return {"model": model, "prompt": text, "max_tokens": 5, "temperature": 0.5}
    halves = [
        {"role": "user", "content": text[: len(text) // 2]},
        {"role": "assistant", "content": text[len(text) // 2 :]},
    ]
    return {"model": model, "messages": halves}


async def route(stream: Stream, number: int, payload: bytes, chat: bool) -> tuple[Any, ...]:
    """(destination, body sent on) or (status, words); the stream stays open."""
    path = "/v1/chat/completions" if chat else "/v1/completions"
    asked = {":method": "POST", ":path": path, "x-request-id": f"r-{number}"}
    await stream.send(headers("request_headers", asked), body("request_body", payload, True))
    reply = await stream.next()
    if reply.WhichOneof("response") == "immediate_response":
        return reply.immediate_response.status.code, reply.immediate_response.body
    sent, _ = await stream.body("request_body")
    mutation = set_headers(reply.request_headers.response.header_mutation)
    return mutation["x-gateway-destination-endpoint"], sent


def logged_scores(log: Path) -> dict[str, dict[tuple[str, str], float]]:
    """request id -> (plugin, pod) -> score, from a real picker's log."""
    scores: dict[str, dict[tuple[str, str], float]] = {}
    for line in log.read_text(errors="replace").splitlines():
        if '"Calculated score"' not in line:
            continue
        entry = json.loads(line)
        plugin = str(entry["plugin"]).split("/")[0]
        place = entry["endpoint"]
        name = place["name"] if isinstance(place, dict) else str(place).split("/")[-1]
        scores.setdefault(entry["x-request-id"], {})[plugin, name.removesuffix("-rank-0")] = entry["score"]
    return scores


def our_scores(log: Path) -> dict[str, dict[tuple[str, str], float]]:
    scores = {}
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        scores[entry["request_id"]] = {
            (plugin, candidate["name"].split("/")[1]): score
            for candidate in entry["candidates"]
            for plugin, score in candidate["scores"].items()
        }
    return scores


def test_scores_and_picks_agree(epp: Path, tmp_path: Path, figure: Callable[[str], None]) -> None:
    ours_log = tmp_path / "decisions.jsonl"

    async def scenario() -> tuple[Path, list[tuple[Any, Any]]]:
        rng = random.Random(20)
        prefixes = ["".join(rng.choices("abcdefgh ", k=4000)) for _ in range(12)]
        async with contextlib.AsyncExitStack() as stack:
            servers, port = await stack.enter_async_context(model_servers())
            places = [(f"sim-{number}", host, port) for number, host in enumerate(HOSTS)]
            flags = ("--compat", release_of(epp), "--decision-log", str(ours_log))
            grpc_port, metrics_port, log = await stack.enter_async_context(real(epp, tmp_path, port))
            ours = await stack.enter_async_context(
                picker(tmp_path, *flags, text=chart(release_of(epp)), endpoints=places)
            )
            theirs_connect = await stack.enter_async_context(data_plane(grpc_port))
            ours_connect = await stack.enter_async_context(data_plane(ours.options.grpc_port))
            routed = []
            running: list[tuple[Stream, Stream]] = []  # what a pod has in flight counts, too
            for number in range(REQUESTS):
                if number % (REQUESTS // PHASES) == 0:
                    await settle(servers, rng, metrics_port, ours)
                asked = prompt_of(rng, prefixes)
                payload, chat = json.dumps(asked).encode(), "messages" in asked
                streams = theirs_connect(), ours_connect()
                routed.append(tuple([await route(stream, number, payload, chat) for stream in streams]))
                running.append(streams)
                while len(running) > rng.randrange(IN_FLIGHT):
                    for stream in running.pop(rng.randrange(len(running))):
                        await stream.close()
            for pair in running:
                for stream in pair:
                    await stream.close()
            return log, routed

    log, routed = asyncio.run(scenario())
    theirs, ours = logged_scores(log), our_scores(ours_log)
    assert len(theirs) == len(ours) == REQUESTS
    pairs = [
        (score, ours[request][key]) for request, scores in theirs.items() for key, score in scores.items()
    ]
    equal = sum(one == other for one, other in pairs)
    picks = sum(one[0] == other[0] for one, other in routed)
    bodies = sum(one[1] == other[1] for one, other in routed)
    figure(
        f"{epp} beside the reference picker: {equal} of {len(pairs)} scores, {picks} of {REQUESTS} picks and "
        f"{bodies} bodies equal"
    )
    differing = [
        f"  {request}, {key}: {score} there, {ours[request][key]} here"
        for request, scores in theirs.items()
        for key, score in scores.items()
        if score != ours[request][key]
    ]
    for line in differing[:5]:
        figure(line)
    # The real picker remembers prefixes in the background: now and then it scores before it has.
    assert equal / len(pairs) > 0.99
    assert picks / REQUESTS > 0.99
    assert bodies == REQUESTS


BAD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"{}",
    b'{"prompt":"x"}',
    b'{"model":1,"prompt":"x"}',
    b'{"model":"m"}',
    b'{"model":"m","prompt":""}',
    b'{"model":"m","prompt":5}',
    b'{"model":"m","prompt":["x"]}',
    b'{"model":"m","messages":[]}',
    b'{"model":"m","messages":"x"}',
    b'{"model":"m","messages":[{"content":5}]}',
    b'{"model":"m","messages":[{"role":5}]}',
    b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}',
    b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":"u"}]}]}',
    b'{"model":"m","messages":[{"role":"user"}],"tools":{}}',
    b'{"model":"m","prompt":"x","cache_salt":5}',
    b'{"model":"m","prompt":"x","z":1e400}',
]
NUMBERS = [
    b'{"z":1.0,"b":1e21,"a":1e-7,"c":0.000001,"d":12345678901234567890,"model":"m","prompt":"\\u2028<&>\\ud800\xff"}',
    b'{"model":"m","prompt":"x","n":[1,2.50,-0.0,1e5,{"y":null,"x":true}],"":0,"\xc3\xa9":1,"Z":1}',
]


def test_refusals_and_bodies_are_the_same_bytes(epp: Path, tmp_path: Path) -> None:
    async def scenario() -> list[tuple[bytes, bool, Any, Any]]:
        async with contextlib.AsyncExitStack() as stack:
            _, port = await stack.enter_async_context(model_servers())
            places = [(f"sim-{number}", host, port) for number, host in enumerate(HOSTS)]
            flags = ("--compat", release_of(epp), "--v", "4")
            grpc_port, _, _ = await stack.enter_async_context(real(epp, tmp_path, port))
            ours = await stack.enter_async_context(
                picker(tmp_path, *flags, text=chart(release_of(epp)), endpoints=places)
            )
            await until_async(
                lambda: all(place.scrapes for place in ours.datastore.endpoints), what="scrapes"
            )
            theirs_connect = await stack.enter_async_context(data_plane(grpc_port))
            ours_connect = await stack.enter_async_context(data_plane(ours.options.grpc_port))
            found = []
            for number, payload in enumerate(BAD + NUMBERS):
                for chat in (False, True):
                    theirs = await route(theirs_connect(), number, payload, chat)
                    mine = await route(ours_connect(), number, payload, chat)
                    found.append((payload, chat, theirs, mine))
            return found

    for payload, chat, theirs, mine in asyncio.run(scenario()):
        if isinstance(theirs[0], int) and b"error unmarshaling request bodyMap: " in theirs[1]:
            # What Go's parser found wrong stands behind the colon; it is told in other words here.
            assert (mine[0], mine[1].split(b": ")[0]) == (theirs[0], theirs[1].split(b": ")[0])
        elif isinstance(theirs[0], int):
            assert mine == theirs, (payload, chat)
        else:
            assert mine[1] == theirs[1], (payload, chat)


USAGE = b'"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}'
JSON = {":status": "200", "content-type": "application/json", "x-inference-pod": "sim-0"}
EVENTS = {":status": "200", "content-type": "text/event-stream; charset=utf-8"}
ANSWERS: list[tuple[bytes, dict[str, str], list[bytes]]] = [
    (b'{"model":"m","prompt":"x"}', JSON, [b'{"z":1.0,"model":"m",', USAGE + b"}", b""]),
    (b'{"model":"m","prompt":"x"}', JSON, [b'{"no":"usage"}', b""]),
    (b'{"model":"m","prompt":"x"}', JSON, [b"[1, 2]", b""]),
    (
        b'{"model":"m","prompt":"x"}',
        {":status": "500", "content-type": "text/plain"},
        [b"Internal ", b"Server Error"],
    ),
    (b'{"model":"m","prompt":"x"}', JSON, [b""]),
    (b'{"model":"m","prompt":"x"}', JSON, [b'{"text":"' + b"y" * 150_000 + b'"}', b""]),
    (
        b'{"model":"m","prompt":"x","stream":true}',
        EVENTS,
        [b'data: {"a":1}\n\n', b"data: {" + USAGE + b"}\n\n", b"data: [DONE]\n\n", b""],
    ),
    (
        b'{"model":"m","prompt":"x","stream":true}',
        EVENTS,
        [b"data: {" + USAGE + b"}\n\ndata: [DONE]\n\n", b""],
    ),
]


def normal(reply: Any) -> tuple[Any, ...]:
    """A reply as far as two pickers must agree."""
    kind = reply.WhichOneof("response")
    part = getattr(reply, kind)
    if kind == "immediate_response":
        return kind, part.status.code, part.body
    if kind.endswith("headers"):
        mutation = set_headers(part.response.header_mutation)
        mutation.pop("x-gateway-destination-endpoint", None)
        return kind, part.response.clear_route_cache, mutation
    streamed = part.response.body_mutation.streamed_response
    return kind, streamed.body, streamed.end_of_stream


async def whole_conversation(
    stream: Stream, payload: bytes, answered: dict[str, str], chunks: list[bytes]
) -> list[Any]:
    """Everything that a picker says on one stream, in order."""
    steering = {
        "x-gateway-inference-objective": "none",
        "x-gateway-inference-fairness-id": "f",
        "x-kept": "1",
    }
    asked = {":method": "POST", ":path": "/v1/completions", "x-request-id": "r", **steering}
    await stream.send(
        headers("request_headers", asked), body("request_body", payload), body("request_body", b"", True)
    )
    said = [normal(await stream.next())]
    while not said[-1][-1] or said[-1][0] != "request_body":
        said.append(normal(await stream.next()))
    await stream.send(headers("response_headers", answered))
    said.append(normal(await stream.next()))
    for number, chunk in enumerate(chunks):
        await stream.send(body("response_body", chunk, number == len(chunks) - 1))
    while said[-1][0] != "response_body" or not said[-1][-1]:
        said.append(normal(await stream.next()))
    await stream.close()
    return said


def test_whole_conversations_are_the_same(epp: Path, tmp_path: Path) -> None:
    async def scenario() -> list[tuple[Any, Any]]:
        async with contextlib.AsyncExitStack() as stack:
            _, port = await stack.enter_async_context(model_servers())
            places = [(f"sim-{number}", host, port) for number, host in enumerate(HOSTS)]
            flags = ("--compat", release_of(epp))
            grpc_port, _, _ = await stack.enter_async_context(real(epp, tmp_path, port))
            ours = await stack.enter_async_context(
                picker(tmp_path, *flags, text=chart(release_of(epp)), endpoints=places)
            )
            theirs_connect = await stack.enter_async_context(data_plane(grpc_port))
            ours_connect = await stack.enter_async_context(data_plane(ours.options.grpc_port))
            return [
                (
                    await whole_conversation(theirs_connect(), payload, answered, chunks),
                    await whole_conversation(ours_connect(), payload, answered, chunks),
                )
                for payload, answered, chunks in ANSWERS
            ]

    for theirs, mine in asyncio.run(scenario()):
        assert mine == theirs
