"""Reports of kept runs are what they were, in every form, key by key and value by value."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.report.files import FORMS
from tests.loadgen.report.golden_runs import (
    COMPARISON,
    REAL,
    compared,
    differences,
    read,
    reported,
    unpacked,
)


@pytest.mark.parametrize("name", [*REAL, "synthetic"])
def test_reports_of_kept_runs_stay_as_they_are(name: str, tmp_path: Path) -> None:
    run = unpacked(name, tmp_path)
    made = reported(run)
    names = [name for name, _ in FORMS]
    assert sorted(path.name for path in made.iterdir()) == sorted(names)
    for form in names:
        assert list(differences(read(made / form), read(run / "expected" / form), form))[:20] == []


def test_the_comparison_of_kept_runs_stays_as_it_is(tmp_path: Path) -> None:
    kept = unpacked("comparison", tmp_path) / "expected"
    made = compared(tmp_path)
    assert sorted(path.name for path in made.iterdir()) == sorted(COMPARISON)
    for form in COMPARISON:
        assert list(differences(read(made / form), read(kept / form), form))[:20] == []


def test_a_difference_is_seen() -> None:
    kept = {"a": [1.0, {"b": None}], "c": "x"}
    assert list(differences(kept, kept)) == []
    for made in (
        {"a": [1.0, {"b": None}]},
        {"a": [1.0, {"b": None}], "c": "x", "d": 1},
        {"a": [1.0000001, {"b": None}], "c": "x"},
        {"a": [1, {"b": None}], "c": "x"},
        {"a": [1.0, {"b": 0.0}], "c": "x"},
        {"a": [1.0], "c": "x"},
    ):
        assert len(list(differences(made, kept))) == 1
