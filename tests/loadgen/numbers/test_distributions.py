"""Against the tables at the end of any statistics book."""

import math

import pytest

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


def test_binomial_tail() -> None:
    exact = sum(math.comb(20, k) * 0.05**k * 0.95 ** (20 - k) for k in range(3, 21))
    assert distributions.binomial_sf(3, 20, 0.05) == pytest.approx(exact, rel=1e-10)
    assert distributions.binomial_sf(0, 20, 0.05) == 1
    assert distributions.binomial_sf(21, 20, 0.05) == 0
