"""Sockets and TLS: what a client sees of an address."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from simulator.config.resolve import parse_args
from simulator.errors import ConfigError, FleetError
from simulator.fleet.fleet import Fleet
from simulator.fleet.serve_command import spec_of
from simulator.server.http.listener import bound
from simulator.server.http.tls import ssl_context
from tests.ports import free_port
from tests.simulator.server.inprocess import run


def test_bound_addresses() -> None:
    port = free_port()
    with bound("127.0.0.9", port) as sock:
        assert sock.getsockname() == ("127.0.0.9", port)
        with pytest.raises(
            FleetError, match=rf"cannot listen on 127\.0\.0\.9:{port}: Address already in use .*ss -ltnp"
        ):
            bound("127.0.0.9", port)
    with pytest.raises(FleetError, match=r"cannot listen on 203\.0\.113\.7:"):
        bound("203.0.113.7", port)
    with pytest.raises(FleetError, match=r"cannot listen on no-such-host\.invalid:"):
        bound("no-such-host.invalid", port)


def test_an_ipv6_address() -> None:
    try:
        sock = bound("::1", free_port())
    except FleetError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with sock:
        assert sock.family is socket.AF_INET6


def openssl() -> str:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("the program openssl is not installed")
    return program


async def health(*flags: str) -> bytes:
    """The status line of /health over TLS."""
    port = free_port()
    config = parse_args(["--host", "127.0.0.1", "--port", str(port), *flags], {})
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with Fleet() as fleet:
        await fleet.add(spec_of(config))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        line = await reader.readline()
        writer.close()
        return line


def test_self_signed() -> None:
    openssl()
    assert run(health("--self-signed-certs")) == b"HTTP/1.1 200 OK\r\n"


def test_certificate_files(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"]
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30
    )
    flags = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
    assert run(health(*flags)) == b"HTTP/1.1 200 OK\r\n"


def test_idle_connections_close_after_their_time() -> None:
    async def main() -> None:
        port = free_port()
        env = {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "1"}
        async with Fleet() as fleet:
            await fleet.add(spec_of(parse_args(["--host", "127.0.0.1", "--port", str(port)], env)))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            began = time.monotonic()
            await asyncio.wait_for(reader.read(-1), 4.5)  # the default is 5 s
            assert time.monotonic() - began > 0.9
            writer.close()

    run(main())


def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate\n")
    config = parse_args(["--ssl-certfile", str(wrong), "--ssl-keyfile", str(wrong)], {})
    with pytest.raises(ConfigError, match=r"TLS: .*wrong\.pem .* do not load"):
        ssl_context(config)
    assert ssl_context(parse_args([], {})) is None


def test_connections_of_dead_clients_end() -> None:
    """What is accepted inherits the kernel's keep-alive: a minute of silence, then four questions."""
    with bound("127.0.0.1", free_port()) as listening, socket.create_connection(listening.getsockname()):
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
