"""An endpoint picker that does what the request's headers say, wrong answers included.

It stands where a Go binary would: `odd_picker()` writes an executable with the flags of GIE's picker or of
llm-d-router, and serves ext_proc (plain text), gRPC health and metrics. Request headers:

- `x-pick: ip:port[,ip:port]` goes there; without it, to the first endpoint of the file that it was given
- `x-odd: none` answers without an endpoint; `abort` ends the stream with INTERNAL; `hang` never answers;
  `crash` ends the process
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

FLAGS = (
    *("grpc-port", "grpc-health-port", "metrics-port", "metrics-endpoint-auth", "pool-name"),
    *("pool-namespace", "config-file", "config-text", "secure-serving", "tracing"),
    "ha-enable-leader-election",
)
OF_LLMD = ("emit-endpoint-scores", "allow-experimental-plugins", "drain-timeout", "grpc-max-recv-msg-size")
LIGHTWEIGHT = (
    *("grpc-port", "grpc-health-port", "metrics-port", "pool-name", "pool-namespace", "secure-serving"),
    *("health-checking", "endpoint-target-ports"),
)
HIDDEN = ("lora-info-metric",)
"""Deprecated: accepted, and not in --help."""
DESTINATION = "x-gateway-destination-endpoint"


def odd_picker(directory: Path, kind: str = "gie", *, log: Path | None = None) -> Path:
    """An executable of `kind` gie, llm-d or lwepp. It writes its arguments to `log`, a JSON line a start."""
    path = directory / f"odd-{kind}"
    root = Path(__file__).parents[2]
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        f"from tests.gateway.oddpicker import main\nmain({kind!r}, {str(log) if log else None!r})\n"
    )
    path.chmod(0o755)
    return path


def main(kind: str, log: str | None) -> None:
    known = LIGHTWEIGHT if kind == "lwepp" else FLAGS + (OF_LLMD if kind == "llm-d" else ())
    flags: dict[str, str] = {}
    for word in sys.argv[1:]:
        name, _, value = word.lstrip("-").partition("=")
        if name == "help":
            _say("Usage of epp:\n" + "".join(f"      --{f} string   a flag\n" for f in (*known, "v")))
            raise SystemExit(0)
        if name not in (*known, *HIDDEN, "v"):
            _say(f"unknown flag: --{name}\n")
            raise SystemExit(2)
        flags[name] = value
    if log:
        with Path(log).open("a") as file:
            env = {k: v for k, v in os.environ.items() if k in {"KUBECONFIG", "GIVEN"}}
            file.write(json.dumps({"argv": sys.argv[1:], "env": env}) + "\n")
    if "config-file" in flags and "crash" in Path(flags["config-file"]).read_text():
        _say("".join(f"line {i}\n" for i in range(30)) + "panic: told to\n")
        raise SystemExit(2)
    asyncio.run(_serve(flags))


def _say(text: str) -> None:
    sys.stderr.write(text)


async def _serve(flags: dict[str, str]) -> None:
    import grpc
    import grpc.aio
    from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

    picker = _Picker(flags, pb)
    process = grpc.stream_stream_rpc_method_handler(
        picker.process,
        request_deserializer=pb.ProcessingRequest.FromString,
        response_serializer=pb.ProcessingResponse.SerializeToString,
    )
    check = grpc.unary_unary_rpc_method_handler(_serving)
    servers = []
    for flag, service, methods in (
        ("grpc-port", "envoy.service.ext_proc.v3.ExternalProcessor", {"Process": process}),
        ("grpc-health-port", "grpc.health.v1.Health", {"Check": check}),
    ):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
        server.add_insecure_port(f"127.0.0.1:{flags[flag]}")
        await server.start()
        servers.append(server)
    metrics = await asyncio.start_server(_metrics, "127.0.0.1", int(flags["metrics-port"]))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    metrics.close()
    for server in servers:
        await server.stop(0)


async def _serving(request: bytes, context: Any) -> bytes:
    return b"\x08\x01"


async def _metrics(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """It claims to know of any number of endpoints."""
    await reader.readuntil(b"\r\n\r\n")
    lines = "".join(f'inference_pool_per_pod_queue_size{{model_server_pod="p{i}"}} 0\n' for i in range(64))
    writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{lines}".encode())
    await writer.drain()
    writer.close()


class _Picker:
    def __init__(self, flags: dict[str, str], pb: Any) -> None:
        self._flags = flags
        self._pb = pb

    def _endpoints(self) -> list[str]:
        """What file discovery tells, read anew each time."""
        import yaml

        config = yaml.safe_load(Path(self._flags["config-file"]).read_text())
        for plugin in config.get("plugins") or ():
            if plugin["type"] == "file-discovery":
                listed = yaml.safe_load(Path(plugin["parameters"]["path"]).read_text())["endpoints"]
                return [f"{e['address']}:{e['port']}" for e in listed]
        return []

    async def process(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        asked: dict[str, str] = {}
        body = bytearray()
        async for request in requests:
            kind = request.WhichOneof("request")
            part = getattr(request, kind)
            if kind == "request_headers":
                asked = {h.key: (h.raw_value or h.value.encode()).decode() for h in part.headers.headers}
            elif kind == "request_body":
                body += part.body
            if kind in ("request_headers", "request_body") and part.end_of_stream:
                await self._misbehave(asked.get("x-odd", ""), context)
                yield self._pick(asked)
                if kind == "request_body":
                    yield self._body("request_body", bytes(body), True)
            elif kind == "response_headers":
                yield self._pb.ProcessingResponse(response_headers=self._pb.HeadersResponse())
            elif kind == "response_body":
                yield self._body("response_body", part.body, part.end_of_stream)

    async def _misbehave(self, how: str, context: Any) -> None:
        import grpc

        if how == "abort":
            await context.abort(grpc.StatusCode.INTERNAL, "told to")
        if how == "hang":
            await asyncio.Event().wait()
        if how == "crash":
            os._exit(3)

    def _pick(self, asked: dict[str, str]) -> Any:
        answer = self._pb.ProcessingResponse(request_headers=self._pb.HeadersResponse())
        pick = asked.get("x-pick") or ",".join(self._endpoints()[:1])
        if pick and asked.get("x-odd") != "none":
            option = answer.request_headers.response.header_mutation.set_headers.add()
            option.header.key, option.header.raw_value = DESTINATION, pick.encode()
            answer.dynamic_metadata.update({"envoy.lb": {DESTINATION: pick}})
        return answer

    def _body(self, kind: str, data: bytes, end: bool) -> Any:
        answer = self._pb.ProcessingResponse()
        streamed = getattr(answer, kind).response.body_mutation.streamed_response
        streamed.body, streamed.end_of_stream = data, end
        return answer
