"""Retry-After in both of its forms."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from loadgen.run.outcome import retry_after_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.25", 0.25), ("-1", 0.0), ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0), ("soon", None)]
    + [(odd, None) for odd in ("", "inf", "nan", "1e999")]
    + [(f"Sun, {10**20} Nov 1994 08:49:37 GMT", None), ("Sun, 06 Nov 99999 08:49:37 GMT", None)]
    + [(None, None)],
)
def test_seconds_and_what_counts_as_absent(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value) == seconds


def test_a_date_is_so_far_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.5)
    assert retry_after_seconds(formatdate(1_800_000_030, usegmt=True)) == 29.5
