"""Against the tables at the end of any statistics book."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.numbers import distributions


@pytest.mark.parametrize(
    ("x", "df", "p"),
    [
        (3.841458820694124, 1, 0.05),
        (18.307038053275146, 10, 0.05),
        (6.634896601021213, 1, 0.01),
        (124.3421134, 100, 0.05),
        (2.0, 10, 0.9963401531726563),
    ],
)
def test_chi_square_tail(x: float, df: int, p: float) -> None:
    assert distributions.chi2_sf(x, df) == pytest.approx(p, abs=2e-9)


def test_chi_square_edges() -> None:
    assert distributions.chi2_sf(0, 3) == 1
    assert distributions.chi2_sf(1e4, 3) == pytest.approx(0, abs=1e-300)
    with pytest.raises(ValueError, match="degree"):
        distributions.chi2_sf(1, 0)


@pytest.mark.parametrize(
    ("p", "df", "t"),
    [(0.975, 4, 2.776445105), (0.975, 1, 12.706204736), (0.95, 9, 1.833112933), (0.975, 1000, 1.962339081)],
)
def test_t_quantiles(p: float, df: int, t: float) -> None:
    assert distributions.t_quantile(p, df) == pytest.approx(t, rel=1e-8)
    assert distributions.t_quantile(1 - p, df) == pytest.approx(-t, rel=1e-8)
    assert distributions.t_sf(t, df) == pytest.approx(1 - p, abs=1e-9)


def test_t_quantile_needs_a_probability() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        distributions.t_quantile(1, 4)


@pytest.mark.parametrize("x", [0.01, 0.5, 1.0, 2.5, 10.0, 40.0, 200.0])
def test_chi_square_in_closed_form(x: float) -> None:
    """Two degrees: exp(-x/2). Four and six: the first terms of a Poisson. One: the normal's two tails."""
    half = x / 2
    assert distributions.chi2_sf(x, 2) == pytest.approx(math.exp(-half), rel=1e-11)
    assert distributions.chi2_sf(x, 4) == pytest.approx(math.exp(-half) * (1 + half), rel=1e-10)
    assert distributions.chi2_sf(x, 6) == pytest.approx(math.exp(-half) * (1 + half + half**2 / 2), rel=1e-10)
    assert distributions.chi2_sf(x, 1) == pytest.approx(math.erfc(math.sqrt(half)), rel=1e-10)


@given(x=st.floats(0, 500), y=st.floats(0, 500), df=st.integers(1, 200))
def test_a_tail_falls(x: float, y: float, df: int) -> None:
    low, high = sorted((x, y))
    assert 0 <= distributions.chi2_sf(high, df) <= distributions.chi2_sf(low, df) + 1e-12 <= 1 + 2e-12


@pytest.mark.parametrize("t", [-50.0, -2.0, -0.1, 0.0, 0.3, 1.0, 12.7])
def test_students_t_in_closed_form(t: float) -> None:
    """One degree is Cauchy's; two and three have elementary tails."""
    assert distributions.t_sf(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, rel=1e-9)
    assert distributions.t_sf(t, 2) == pytest.approx(
        0.5 - t / (2 * math.sqrt(2 + t * t)), rel=1e-9, abs=1e-12
    )
    root = t / math.sqrt(3)
    three = 0.5 - (math.atan(root) + root / (1 + root * root)) / math.pi
    assert distributions.t_sf(t, 3) == pytest.approx(three, rel=1e-9, abs=1e-12)


def test_many_degrees_are_the_normal() -> None:
    for z, tail in ((1.0, 0.15865525), (1.959964, 0.025), (3.0, 0.0013498980)):
        assert distributions.t_sf(z, 1e7) == pytest.approx(tail, rel=1e-5)


@given(p=st.floats(1e-4, 1 - 1e-4), df=st.integers(1, 300))
def test_a_quantile_has_its_probability_below_it(p: float, df: int) -> None:
    t = distributions.t_quantile(p, df)
    assert 1 - distributions.t_sf(t, df) == pytest.approx(p, abs=1e-9)
    assert t == pytest.approx(-distributions.t_quantile(1 - p, df), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.5, 1.5])
def test_no_quantile_of_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match="a quantile needs a probability between 0 and 1, not"):
        distributions.t_quantile(p, 5)


@pytest.mark.parametrize(
    ("x", "a", "b", "value"),
    [
        (0.3, 1, 1, 0.3),  # uniform
        (0.3, 2, 1, 0.09),
        (0.3, 1, 2, 0.51),
        (0.5, 7, 7, 0.5),
        (0.25, 0.5, 0.5, 1 / 3),  # arcsine: 2/pi asin(sqrt(x))
        (0.0, 2, 2, 0.0),
        (1.0, 2, 2, 1.0),
        (-1.0, 2, 2, 0.0),
        (2.0, 2, 2, 1.0),
    ],
)
def test_beta_in_closed_form(x: float, a: float, b: float, value: float) -> None:
    assert distributions.beta_cdf(x, a, b) == pytest.approx(value, rel=1e-11)


@given(x=st.floats(0.001, 0.999), a=st.floats(0.1, 80), b=st.floats(0.1, 80))
def test_beta_mirrored(x: float, a: float, b: float) -> None:
    assert distributions.beta_cdf(x, a, b) + distributions.beta_cdf(1 - x, b, a) == pytest.approx(1, abs=1e-9)
