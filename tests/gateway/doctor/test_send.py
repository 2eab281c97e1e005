"""Requests as curl has them, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.doctor.send import Request, read_curl, read_headers, send
from gateway.errors import UsageError
from tests.gateway.echo import echoing


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with echoing() as place:
        yield place


def test_the_printed_curl_is_read_back() -> None:
    command = (
        """curl -s -i http://127.0.0.1:8080/v1/completions -H 'Host: a.example' -d '{"a": "it'"'"'s"}'"""
    )
    request = read_curl(command)
    assert request == Request("http://127.0.0.1:8080/v1/completions", {"Host": "a.example"}, '{"a": "it\'s"}')
    assert request.place == ("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("request_", "line", "words"),
    [
        (Request("/p?a=1"), "GET /p?a=1 HTTP/1.1", ""),
        (Request(""), "GET / HTTP/1.1", ""),
        (Request("/p", body="{}"), "POST /p HTTP/1.1", "Content-Type: application/x-www-form-urlencoded"),
        (Request("/p", {"content-type": "a/b"}, "{}"), "POST /p HTTP/1.1", "content-type: a/b"),
        (Request("/p", {"Host": "x.example"}, method="PUT"), "PUT /p HTTP/1.1", "Host: x.example"),
    ],
)
def test_what_is_sent(url: str, request_: Request, line: str, words: str) -> None:
    whole = Request(url + request_.url, request_.headers, request_.body, request_.method)
    answer = send(whole, 5.0)
    assert (answer.status, answer.headers["x-kept"]) == (418, "1")
    assert answer.body.startswith(line)
    assert words in answer.body
    assert answer.body.lower().count("host:") == 1


def test_an_answer_that_breaks_off_is_none(url: str) -> None:
    answer = send(Request(url + "/cut"), 0.3)
    assert (answer.status, answer.body.startswith("no answer: ")) == (0, True)
    assert send(Request("http://127.0.0.1:1/"), 1.0).status == 0


@pytest.mark.parametrize(
    ("url_", "wanted"),
    [
        ("http://h/p", "http://h/p?n=1"),
        ("http://h/p?a=2", "http://h/p?a=2&n=1"),
        ("http://h", "http://h/?n=1"),
    ],
)
def test_a_mark_in_the_query(url_: str, wanted: str) -> None:
    assert Request(url_).with_query("n", "1").url == wanted


@pytest.mark.parametrize("text", ["colonless", ": x", ""])
def test_a_header_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="must be 'Name: value'"):
        read_headers([text])


@pytest.mark.parametrize("bad", ["ftp://h/", "http://", "/path", "http://h:x/"])
def test_a_url_that_is_none(bad: str) -> None:
    with pytest.raises(UsageError):
        _ = Request(bad).place
