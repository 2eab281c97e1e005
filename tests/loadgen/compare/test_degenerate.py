"""Comparisons of next to nothing: every form is written, without a warning of numpy, and nobody beats."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from loadgen.compare.data import ArmsReport, grouped, read_arm_run
from loadgen.compare.files import print_comparison, write_comparison
from loadgen.compare.run import judged
from tests.loadgen.synthetic import Fleet, write_run

ONE = {"requests": 1}
TWO = {"requests": 2}
ALIKE: dict[str, Any] = {"requests": 150}
NOTHING = {"requests": 30, "shed_above": -1}
"""Every request is shed: no latencies, no tokens, no goodput."""
LONELY = {"requests": 40, "pods": 1, "groups": 1}


def compared(root: Path, a: dict[str, Any], b: dict[str, Any], repeats: int) -> ArmsReport:
    """All of a comparison of so many repeats of two kinds of runs, with warnings as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = [
            read_arm_run(arm, repeat, write_run(root / f"{arm}-{repeat}", Fleet(**fleet)))
            for repeat in range(1, repeats + 1)
            for arm, fleet in (("a", a), ("b", b))
        ]
        data = judged(None, grouped(runs), "b")
        written = write_comparison(root / "out", data)
        print_comparison(data, written, Console(file=io.StringIO()))
    assert sorted(path.name for path in written) == [
        "comparison.html", "comparison.json", "comparison.md", "junit.xml",
    ]  # fmt: skip
    text = (root / "out" / "comparison.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["repeats"] == repeats
    return data


@pytest.mark.parametrize("repeats", [1, 2, 3])
@pytest.mark.parametrize(
    ("a", "b"),
    [(ONE, ONE), (TWO, ONE), (ALIKE, ALIKE), (NOTHING, NOTHING), (NOTHING, LONELY), (LONELY, ALIKE)],
    ids=["one", "two-one", "alike", "nothing", "nothing-some", "one-pod"],
)
def test_next_to_nothing_is_compared_quietly(
    tmp_path: Path, a: dict[str, Any], b: dict[str, Any], repeats: int
) -> None:
    verdict = compared(tmp_path, a, b, repeats).verdicts["a"]
    if repeats < 3:
        assert verdict == "is not judged against"
    else:  # repeats that are all alike, or of too few requests, tell nothing of chance
        assert verdict in {"is not judged against", "is not told apart from"}


def test_runs_of_nothing_have_no_latency_to_compare(tmp_path: Path) -> None:
    data = compared(tmp_path, NOTHING, LONELY, 1)
    assert not [row for row in data.differences["a"] if row.metric.startswith(("ttft", "e2e", "tpot"))]
    assert data.values["a"]["ttft.p90"] == [None]
    assert data.exit_code == 1  # of what was sent in arm a, nothing succeeded
