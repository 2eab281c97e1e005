"""Weighted least squares with coefficients of 0 or more, for a handful of unknowns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

Vector = list[float]
_TINY = 1e-300


class Normal:
    """The normal equations of rows `x . beta = y`, gathered row by row; `size` unknowns."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = 0
        self.squares = 0.0
        self._matrix = [[0.0] * size for _ in range(size)]
        self._right = [0.0] * size

    def add(self, x: Sequence[float], y: float, weight: float) -> None:
        """One row; its squared error counts `weight` times."""
        self.rows += 1
        self.squares += weight * y * y
        for i, a in enumerate(x):
            if a:
                self._right[i] += weight * a * y
                row = self._matrix[i]
                for j, b in enumerate(x):
                    row[j] += weight * a * b

    def loss(self, beta: Sequence[float]) -> float:
        """Mean weighted squared error of `beta`."""
        value = self.squares
        for i, b in enumerate(beta):
            if b:
                value += b * (sum(self._matrix[i][j] * c for j, c in enumerate(beta)) - 2 * self._right[i])
        return max(0.0, value) / max(1, self.rows)

    def solve(self, near: Sequence[float], ridge: float) -> Vector:
        """The best coefficients of 0 or more, held to `near` by `ridge` times each one's own weight.

        Every subset of unknowns that may be above 0 is tried: exact, and cheap for seven of them.
        """
        matrix = [row[:] for row in self._matrix]
        right = self._right[:]
        for i in range(self.size):
            pull = ridge * matrix[i][i]
            matrix[i][i] += pull
            right[i] += pull * near[i]
        best, least = [0.0] * self.size, 0.0
        known = [i for i in range(self.size) if matrix[i][i] > 0]
        for count in range(1, len(known) + 1):
            for chosen in combinations(known, count):
                found = linear([[matrix[i][j] for j in chosen] for i in chosen], [right[i] for i in chosen])
                if found is None or min(found) < 0:
                    continue
                value = -sum(b * right[i] for b, i in zip(found, chosen, strict=True))
                if value < least:
                    least = value
                    best = [0.0] * self.size
                    for b, i in zip(found, chosen, strict=True):
                        best[i] = b
        return best


def linear(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> Vector | None:
    """x with `matrix . x = right` by elimination with pivots; None where there is no such single x."""
    size = len(matrix)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(rows[r][i]))
        if abs(rows[pivot][i]) < _TINY:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, size):
            factor = rows[r][i] / rows[i][i]
            if factor:
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i], strict=True)]
    x = [0.0] * size
    for i in reversed(range(size)):
        x[i] = (rows[i][size] - sum(rows[i][j] * x[j] for j in range(i + 1, size))) / rows[i][i]
    return x
