"""Distribution functions that the report needs and numpy lacks: chi-square, Student's t, binomial.

Series and continued fractions after Abramowitz & Stegun 6.5, 26.5 (evaluated by Lentz's method); each is
good to about 1e-10, which the tests check against published tables.
"""

from __future__ import annotations

import functools
import math

_EPS = 1e-15
_TINY = 1e-300
_MAX_TERMS = 10_000


def chi2_sf(x: float, df: int) -> float:
    """P(X > x) of a chi-square variable with `df` degrees of freedom; ValueError below 1."""
    if df <= 0:
        raise ValueError(f"chi-square needs at least one degree of freedom, not {df}")
    return 1.0 if x / 2 <= 0 else _gamma_upper(df / 2, x / 2)


def _gamma_upper(a: float, x: float) -> float:
    """The regularised upper incomplete gamma function Q(a, x)."""
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for n in range(1, _MAX_TERMS):
            term *= x / (a + n)
            total += term
            if term < total * _EPS:
                break
        return max(0.0, 1 - total * scale)
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    value = d
    for n in range(1, _MAX_TERMS):
        coefficient = -n * (n - a)
        b += 2
        d = 1 / _away_from_zero(coefficient * d + b)
        c = _away_from_zero(b + coefficient / c)
        value *= d * c
        if abs(d * c - 1) < _EPS:
            break
    return value * scale


def _away_from_zero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    log_scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    scale = math.exp(log_scale)
    if x < (a + 1) / (a + b + 2):
        return scale * _beta_fraction(x, a, b) / a
    return 1 - scale * _beta_fraction(1 - x, b, a) / b


def _beta_fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        for coefficient in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + coefficient * d)
            c = _away_from_zero(1 + coefficient / c)
            value *= d * c
        if abs(d * c - 1) < _EPS:
            break
    return value


def t_sf(t: float, df: float) -> float:
    """P(T > t) of Student's t with `df` degrees of freedom."""
    tail = beta_cdf(df / (df + t * t), df / 2, 0.5) / 2
    return tail if t >= 0 else 1 - tail


@functools.cache
def t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p, by bisection; `p` in (0, 1). ValueError outside."""
    if not 0 < p < 1:
        raise ValueError(f"a quantile needs a probability between 0 and 1, not {p}")
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_sf(high, df) > 1 - p:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_sf(middle, df) > 1 - p else (low, middle)
    return (low + high) / 2
