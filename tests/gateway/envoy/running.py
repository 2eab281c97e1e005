"""A real Envoy with the configuration of some manifests, between servers that a test sees into.

Endpoints are named by the test, so that one of them may be dead; the picker gives one answer and counts what
it is sent.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import h11
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from gateway.envoy.clusters import PICKED_KEY
from gateway.envoy.config import EnvoyConfig
from gateway.envoy.eds import write_endpoints
from gateway.envoy.process import GatewayOptions, GatewayProcess, find_envoy
from gateway.manifests.load import load
from tests.e2e import worlds
from tests.ports import free_port

Address = tuple[str, int]
PICKER_PORT = 9002


def dead() -> Address:
    """An address that refuses connections."""
    return "127.0.0.1", free_port()


class Server:
    """An HTTP/1.1 server that answers `status` and keeps what it was asked: path, headers, body's length."""

    def __init__(self, status: int = 200, tls: ssl.SSLContext | None = None) -> None:
        self.status = status
        self.tls = tls
        self.address: Address = ("127.0.0.1", free_port())
        self.asked: list[tuple[str, dict[str, str], int]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        request, length = None, 0
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    if connection.they_are_waiting_for_100_continue:
                        go_on = h11.InformationalResponse(status_code=100, headers=[])
                        writer.write(connection.send(go_on) or b"")
                    connection.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Request):
                    request, length = event, 0
                elif isinstance(event, h11.Data):
                    length += len(event.data)
                elif isinstance(event, h11.EndOfMessage) and request is not None:
                    headers = {k.decode(): v.decode() for k, v in request.headers}
                    self.asked.append((request.target.decode(), headers, length))
                    answer = h11.Response(status_code=self.status, headers=[("content-length", "2")])
                    for part in (answer, h11.Data(b"ok"), h11.EndOfMessage()):
                        writer.write(connection.send(part) or b"")
                    connection.start_next_cycle()
                else:
                    return


class Picker:
    """An ext_proc server: `answer` (ip:port,...) for every request, once its body is there."""

    def __init__(self, *endpoints: Address, tls: grpc.ServerCredentials | None = None) -> None:
        self.tls = tls
        self.address: Address = ("127.0.0.1", free_port())
        self.answer = ",".join(f"{host}:{port}" for host, port in endpoints)
        self.messages: collections.Counter[str] = collections.Counter()  # by x-request-id
        self.seen = asyncio.Event()  # the headers of some request

    async def process(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        body, name = b"", ""
        async for request in requests:
            kind = request.WhichOneof("request")
            part = getattr(request, kind)
            if kind == "request_headers":
                name = next(h.raw_value.decode() for h in part.headers.headers if h.key == "x-request-id")
                self.seen.set()
            if kind in {"request_headers", "request_body"}:
                self.messages[name] += 1
                body += part.body if kind == "request_body" else b""
                if part.end_of_stream:
                    yield self._pick()
                    if kind == "request_body":
                        for start in range(0, len(body), 62000):
                            end = start + 62000 >= len(body)
                            yield _streamed(kind, body[start : start + 62000], end)
            elif kind == "response_headers":
                yield pb.ProcessingResponse(response_headers=pb.HeadersResponse())
            elif kind == "response_body":
                yield _streamed(kind, part.body, part.end_of_stream)

    def _pick(self) -> Any:
        answer = pb.ProcessingResponse(request_headers=pb.HeadersResponse())
        answer.dynamic_metadata.update({"envoy.lb": {PICKED_KEY: self.answer}})
        return answer


def _streamed(kind: str, data: bytes, end: bool) -> Any:
    answer = pb.ProcessingResponse()
    streamed = getattr(answer, kind).response.body_mutation.streamed_response
    streamed.body, streamed.end_of_stream = data, end
    return answer


@contextlib.asynccontextmanager
async def running(
    directory: Path,
    objects: Sequence[Any],
    endpoints: Sequence[Address],
    *servers: Server | Picker,
    istio_bugs: bool = False,
) -> AsyncIterator[str]:
    """URL of the first listener. Every cluster has `endpoints` but the picker's (port 9002), which has it."""
    written = directory / "manifests.yaml"  # beside the files that it may name
    written.write_text(worlds.dump(*objects))
    manifests = load([str(written)], "apps")
    gateway = next(iter(manifests.gateways.values()))
    pickers = [s.address for s in servers if isinstance(s, Picker)]
    async with contextlib.AsyncExitStack() as stack:
        for server in servers:
            if isinstance(server, Server):
                listening = await asyncio.start_server(server.serve, *server.address, ssl=server.tls)
                await stack.enter_async_context(listening)
            else:
                stack.push_async_callback(await _serve_grpc(server))
        options = GatewayOptions(concurrency=1, istio_bugs=istio_bugs)
        envoy = GatewayProcess(manifests, gateway, directory, options)
        stack.push_async_callback(envoy.stop)
        await envoy.start(lambda spec: pickers if spec.number == PICKER_PORT else endpoints)
        yield next(iter(envoy.urls.values()))


async def _serve_grpc(picker: Picker) -> Callable[[], Any]:
    """Serve; what ends it."""
    process = grpc.stream_stream_rpc_method_handler(
        picker.process,
        request_deserializer=pb.ProcessingRequest.FromString,
        response_serializer=pb.ProcessingResponse.SerializeToString,
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service = "envoy.service.ext_proc.v3.ExternalProcessor"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Process": process})])
    place = "{}:{}".format(*picker.address)
    if picker.tls is None:
        server.add_insecure_port(place)
    else:
        server.add_secure_port(place, picker.tls)
    await server.start()
    return lambda: server.stop(0)


def validate(directory: Path, made: EnvoyConfig) -> None:
    """What Envoy itself says of a configuration: AssertionError with its words when it refuses."""
    for spec in made.clusters:
        spec.eds_file.parent.mkdir(parents=True, exist_ok=True)
        write_endpoints(spec, (), 1)
    file = directory / "bootstrap.json"
    file.write_text(json.dumps(made.bootstrap))
    argv = [str(find_envoy(None)), "--mode", "validate", "-c", str(file), "-l", "error"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
