"""Requests that web pages make in their readers' names."""

from __future__ import annotations

import pytest

from kit.websites import why_foreign


def headers(**given: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in given.items()]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8080",
        "127.0.0.9",
        "[::1]:80",
        "localhost",
        "LOCALHOST:1",
        "a.localhost:9",
        "10.0.0.3:80",
        "",
    ],
)
def test_whoever_calls_by_address_is_no_page(host: str) -> None:
    assert why_foreign(headers(host=host, accept="*/*")) is None
    assert why_foreign(headers(host=host, origin=f"http://{host}")) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "[:::", "é"],
)
def test_a_name_that_leads_here_is_a_page(host: str) -> None:
    why = why_foreign(headers(host=host))
    assert why is not None
    assert "Host is" in why
    assert why_foreign(headers(host=host), any_host=True) is None


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:81", "http://localhost:80", "http://["]
)
def test_another_origin_is_a_page(origin: str) -> None:
    for any_host in (False, True):
        why = why_foreign(headers(host="127.0.0.1:80", origin=origin), any_host=any_host)
        assert why is not None
        assert "Origin is" in why
