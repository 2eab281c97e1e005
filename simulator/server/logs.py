"""Log lines: one line for each event, its facts as fields, as text for people or as JSON for machines.

vLLM's statistics line keeps vLLM's words, because people and scripts look for them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Literal

from kit.printable import LineFormatter, one_line

logger = logging.getLogger("simfleet")
_LEVELS = {"trace": logging.DEBUG, "critical": logging.CRITICAL}


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log that `name` happened. Field values are printed as JSON where they are not plain words."""
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields})


def set_up(form: Literal["text", "json"], level: str) -> None:
    """Send this package's log, and the warnings of the HTTP server, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSON() if form == "json" else _Text())
    number = _LEVELS.get(level) or getattr(logging, level.upper())
    for name, at_least in (("simfleet", number), ("uvicorn", max(number, logging.WARNING))):
        target = logging.getLogger(name)
        target.handlers[:] = [handler]
        target.setLevel(at_least)
        target.propagate = False


def _timestamp(created: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{whole}.{int(created % 1 * 1000):03d}Z"


class _Text(LineFormatter):
    """`2026-11-23T18:35:00.123Z INFO ready address=127.0.0.2:8000 model=tiny`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        parts = [_timestamp(record.created), record.levelname, one_line(record.getMessage())]
        parts += [f"{name}={_word(value)}" for name, value in fields.items()]
        if record.exc_info:
            parts.append("\n" + self.formatException(record.exc_info))
        return " ".join(parts)


class _JSON(logging.Formatter):
    """One object to a line: time, level, event, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _word(value: Any) -> str:
    if isinstance(value, str) and value and value.isprintable() and not any(c in value for c in ' "='):
        return value
    return json.dumps(value, default=str)
