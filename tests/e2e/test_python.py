"""The Python interface to a stack, and the example suite of a picker that uses the pytest plugin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import simfleet

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "epp-tests"


def test_a_stack_as_a_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(tmp_path))
    with simfleet.Stack(replicas=1) as stack:
        (pod,) = stack.pods
        assert pod.state == "ready"
        assert stack.url.startswith("http://127.0.0.1:")
        stack.scale(pod.workload, 2)
        assert len(stack.pods) == 2
    with pytest.raises(simfleet.CommandError, match="no stack"):
        stack.ps()
    stack.down()
    assert list(tmp_path.glob(f"{stack.name}*")) == []


def test_wrong_manifests_are_an_error_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(tmp_path))
    with pytest.raises(simfleet.CommandError, match=r"nowhere\.yaml"):
        simfleet.Stack(tmp_path / "nowhere.yaml").up()
    with pytest.raises(simfleet.CommandError):
        simfleet.Stack("kind: Nonsense\napiVersion: v1\n").up()


def test_the_example_suite_of_a_picker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(tmp_path))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--strict-markers",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
    ]
    ended = subprocess.run(
        [*command, "--rootdir", str(EXAMPLES), str(EXAMPLES)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout
