"""What a picker's ports do besides one conversation: many streams, TLS, health, failures."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.gateway.picker.factories import config
from tests.gateway.picker.running import ask, data_plane, picker, prompt


def test_many_streams_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with picker(tmp_path) as running, data_plane(running.options.grpc_port) as connect:

            async def one(number: int) -> bytes:
                stream = connect()
                await ask(stream, prompt(n=number))
                await stream.next()
                sent, _ = await stream.body("request_body")
                await stream.close()
                return sent

            async with asyncio.timeout(30):
                bodies = await asyncio.gather(*(one(number) for number in range(200)))
            assert [json.loads(sent)["n"] for sent in bodies] == list(range(200))

    asyncio.run(scenario())


def test_tls_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with picker(tmp_path, "--secure-serving") as running:
            port = running.options.grpc_port
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            tls = writer.get_extra_info("ssl_object")
            assert tls.selected_alpn_protocol() == "h2"
            assert tls.getpeercert(binary_form=True)
            writer.close()

    asyncio.run(scenario())


def test_tls_with_a_given_certificate(tmp_path: Path) -> None:
    from gateway.picker.wire.tls import self_signed_pair

    key, certificate = self_signed_pair()
    (tmp_path / "tls.key").write_bytes(key)
    (tmp_path / "tls.crt").write_bytes(certificate)

    async def scenario() -> None:
        async with picker(tmp_path, "--cert-path", str(tmp_path), "--secure-serving=true") as running:
            context = ssl.create_default_context(cadata=certificate.decode())
            context.check_hostname = False
            _, writer = await asyncio.open_connection("127.0.0.1", running.options.grpc_port, ssl=context)
            writer.close()

    asyncio.run(scenario())


async def health(port: int, service: bytes = b"", method: str = "Check") -> bytes:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(f"/grpc.health.v1.Health/{method}")
        request = b"\x0a" + bytes((len(service),)) + service if service else b""
        answer: bytes = await call(request, timeout=5)
        return answer


def test_health(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with picker(tmp_path) as running:
            port = running.options.grpc_health_port
            assert await health(port) == b"\x08\x01"
            assert await health(port, b"inference-extension") == b"\x08\x01"
            running.datastore.synced = False
            assert await health(port, b"liveness") == b"\x08\x02"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health(port, method="Watch")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health(running.options.grpc_port)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_health_on_the_ext_proc_port(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with picker(tmp_path, "--health-checking") as running:
            assert await health(running.options.grpc_port) == b"\x08\x01"

    asyncio.run(scenario())


def test_a_plugin_that_fails_ends_its_own_request_only(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from gateway.picker.plugins.base import scorer\n"
        "def f(request, candidates, parameters):\n"
        "    if request.model == 'bad': raise ValueError('oh')\n"
        "    return [1.0] * len(candidates)\n"
        "PLUGINS = {'broken': scorer(f)}\n"
    )

    async def scenario() -> None:
        flags = ("--plugin", str(broken))
        async with (
            picker(tmp_path, *flags, text=config("{type: broken}")) as running,
            data_plane(running.options.grpc_port) as connect,
        ):
            failing = connect()
            await ask(failing, prompt(model="bad"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await failing.next()
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            stream = connect()
            await ask(stream, prompt())
            assert (await stream.next()).WhichOneof("response") == "request_headers"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        (b"\xff\xff", grpc.StatusCode.INTERNAL, "no ProcessingRequest"),
        (b"x" * 2000, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max .2000 vs. 1000."),
    ],
)
def test_messages_that_cannot_be_read(
    tmp_path: Path, message: bytes, status: grpc.StatusCode, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with (
            picker(tmp_path, "--grpc-max-recv-msg-size=1000") as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.options.grpc_port}") as channel,
        ):
            method = channel.unary_unary("/envoy.service.ext_proc.v3.ExternalProcessor/Process")
            with pytest.raises(grpc.aio.AioRpcError, match=words) as error:
                await method(message)
            assert error.value.code() is status

    asyncio.run(scenario())
    assert "Traceback" not in caplog.text
