"""`make clean` deletes what make made, and no environment that somebody else made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "mine").write_text("mine")
    return tmp_path


def clean(tree: Path) -> str:
    done = subprocess.run(["make", "clean", "VENV=env"], cwd=tree, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("mark", [None, "/somewhere/else/env"])
def test_an_environment_of_somebody_else(tree: Path, mark: str | None) -> None:
    if mark is not None:
        (tree / "env" / ".made-here").write_text(f"{mark}\n")
    assert "env stays" in clean(tree)
    assert (tree / "env" / "mine").exists()


def test_our_own_environment(tree: Path) -> None:
    (tree / "env" / ".made-here").write_text(f"{tree / 'env'}\n")
    clean(tree)
    assert not (tree / "env").exists()


def test_a_link_to_another_environment(tree: Path) -> None:
    (tree / "env").rename(tree / "other")
    (tree / "env").symlink_to("other")
    (tree / "other" / ".made-here").write_text(f"{tree / 'env'}\n")
    clean(tree)
    assert (tree / "other" / "mine").exists()
