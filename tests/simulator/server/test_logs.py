"""Log lines as people and machines read them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from simulator.server.logs import event, logger, set_up


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Loggers belong to the process."""
    logs = map(logging.getLogger, ("simfleet", "uvicorn"))
    kept = [(log, log.handlers[:], log.level, log.propagate) for log in logs]
    yield
    for log, handlers, level, propagate in kept:
        log.handlers[:] = handlers
        log.setLevel(level)
        log.propagate = propagate


class Out:
    """What has been written to standard error."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def getvalue(self) -> str:
        return self._captured.readouterr().err


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Out:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.25)
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_250_000_000)
    return Out(capsys)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, ""),
        ({"address": "127.0.0.2:8000", "count": 3}, " address=127.0.0.2:8000 count=3"),
        ({"text": "two words"}, ' text="two words"'),
        ({"text": 'a"b'}, ' text="a\\"b"'),
        ({"text": "a=b", "none": None}, ' text="a=b" none=null'),
        ({"text": "line\nline"}, ' text="line\\nline"'),
        ({"text": "a\x1b]0;b\x07"}, ' text="a\\u001b]0;b\\u0007"'),
        ({"text": "a\r2023 INFO\u2028b\x85"}, ' text="a\\r2023 INFO\\u2028b\\u0085"'),
        ({"text": "模型"}, " text=模型"),
        ({"empty": ""}, ' empty=""'),
        ({"list": [1, "a"]}, ' list=[1, "a"]'),
    ],
)
def test_text(out: Out, fields: dict[str, Any], shown: str) -> None:
    set_up("text", "info")
    event("ready", **fields)
    assert out.getvalue() == f"2023-11-14T22:13:20.250Z INFO ready{shown}\n"


def test_json(out: Out) -> None:
    set_up("json", "info")
    event("ready", address="a b", number=1.5, odd={1})
    assert json.loads(out.getvalue()) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "event": "ready",
        "address": "a b",
        "number": 1.5,
        "odd": "{1}",
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_exceptions_are_shown(out: Out, form: Any) -> None:
    set_up(form, "info")
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("it failed")
    written = out.getvalue()
    assert "ValueError: broken" in written
    if form == "json":
        assert json.loads(written)["level"] == "error"


@pytest.mark.parametrize(
    ("level", "seen"),
    [("trace", 4), ("debug", 4), ("info", 3), ("warning", 2), ("error", 1), ("critical", 0)],
)
def test_levels(out: Out, level: str, seen: int) -> None:
    set_up("text", level)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        event("x", number)
    assert out.getvalue().count("\n") == seen


def test_the_http_server_only_warns(out: Out) -> None:
    set_up("text", "debug")
    log = logging.getLogger("uvicorn.error")
    log.info("started")
    log.warning("odd")
    assert out.getvalue().count("\n") == 1


def test_neither_message_nor_exception_forges_a_line(out: Out) -> None:
    set_up("text", "info")
    logger.info("one\n2023-11-14T22:13:20.250Z INFO forged\x1b[2J")
    try:
        raise ValueError("wrong\n2023-11-14T22:13:20.250Z INFO forged\r")
    except ValueError:
        logger.exception("failed")
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("2023")] == [
        "2023-11-14T22:13:20.250Z INFO one\\n2023-11-14T22:13:20.250Z INFO forged\\x1b[2J",
        "2023-11-14T22:13:20.250Z ERROR failed ",
    ]
