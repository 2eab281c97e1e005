"""Numbers exactly as prometheus_client prints them."""

from __future__ import annotations

import math
from random import Random

import pytest
from prometheus_client.utils import floatToGoString

from kit.prometheus import escape, go_number, python_number


@pytest.mark.parametrize(
    "value", [0, 1, 4095, 4096, 0.5, 1e6, 999999, 1234567.5, 1e15, 1e16, 1e22, 1e-9, math.inf, -math.inf]
)
def test_as_prometheus_client(value: float) -> None:
    assert python_number(value) == floatToGoString(value)


def test_as_prometheus_client_at_random() -> None:
    rng = Random(1)
    for _ in range(20_000):
        value = rng.choice(
            (rng.random() * 10 ** rng.randint(-8, 20), rng.randint(0, 10 ** rng.randint(1, 12)))
        )
        assert python_number(value) == floatToGoString(value)
    assert python_number(math.nan) == "NaN"


def test_go_numbers_and_labels() -> None:
    assert [go_number(value) for value in (0, 3, 0.125, 1.5e9)] == ["0", "3", "0.125", "1.5e+09"]
    assert escape('a\\b"c\nd') == 'a\\\\b\\"c\\nd'
