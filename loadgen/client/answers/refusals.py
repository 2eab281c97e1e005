"""The words and the status of an error answer or event."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from loadgen.client.answers.body import decode_body, has_error, whole_number
from loadgen.numbers.jsonl import NO_JSON


def error_text(data: bytes | bytearray, limit: int = 300) -> str:
    """The words of an error answer, shortened; its bytes as text when it is not JSON."""
    body = decode_body(data)
    if body is not None:
        raw = has_error(body)
        if raw:
            return _error_object(raw)[:limit]
        if words := body.message or body.detail:
            return _plain(words)[:limit]
    return _page_words(bytes(data[:HTML_LIMIT]).decode(errors="replace"))[:limit]


HTML_LIMIT = 4096
_TITLE = re.compile(r"(?is)<title[^>]*>(.*?)</title>|<h1[^>]*>(.*?)</h1>")


def _page_words(text: str) -> str:
    """A text in one line, of an HTML page its title."""
    title = _TITLE.search(text) if text.lstrip().startswith("<") else None
    return " ".join((title[1] or title[2] or "" if title else text).split())


class _Error(msgspec.Struct):
    message: Any = None
    code: Any = None
    status: Any = None
    type: Any = None


_errors = msgspec.json.Decoder(_Error | str | None)


def _plain(words: Any) -> str:
    return words if isinstance(words, str) else msgspec.json.encode(words).decode()


def _error_object(raw: bytes) -> str:
    try:
        error = _errors.decode(raw)
    except NO_JSON:
        return raw.decode(errors="replace")
    if isinstance(error, _Error):
        return _plain(error.message) if error.message else raw.decode(errors="replace")
    return error or ""


# Statuses that the words in `code` and `type` of an error stand for.
ERROR_WORDS = (
    (429, re.compile(r"(?i)rate.?limit|overloaded|too.?many|quota|resource.?exhausted|throttl")),
    (401, re.compile(r"(?i)authentication|invalid.?api.?key|unauthori[sz]ed|permission|forbidden")),
    (404, re.compile(r"(?i)not.?found")),
    (400, re.compile(r"(?i)invalid|bad.?request|context.?length|content.?(?:policy|filter)|unsupported")),
)


def error_code(raw: msgspec.Raw | bytes) -> int | None:
    """The status that an error event stands for: its number, or what its code or type says in words."""
    try:
        error = _errors.decode(bytes(raw))
    except NO_JSON:
        return None
    if not isinstance(error, _Error):
        return None
    given = [value for value in (error.code, error.status, error.type) if value not in (None, "")]
    for value in given:
        number = whole_number(value) if isinstance(value, int | float | str) else None
        if number is not None and not isinstance(value, bool):
            return number
    return next((code for value in given for code, words in ERROR_WORDS if words.search(str(value))), None)
