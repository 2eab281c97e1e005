"""Charts rendered by the Helm binaries of `make test-charts`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
HELMS = {name: Path(sys.prefix) / "helm" / name / "helm" for name in ("v3", "v4")}


class Helm:
    """One Helm binary."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.path, *args], capture_output=True, text=True, timeout=60, check=False)

    def template(self, chart: str, *args: str, namespace: str = "lab") -> list[dict[str, Any]]:
        """The rendered resources; fails the test with Helm's own words where it refuses."""
        done = self.run("template", "lab", str(CHARTS / chart), "-n", namespace, *args)
        assert done.returncode == 0, done.stderr
        return [d for d in yaml.safe_load_all(done.stdout) if d]

    def refusal(self, chart: str, *args: str) -> str:
        """What Helm says when it refuses; fails the test where it does not refuse."""
        done = self.run("template", "lab", str(CHARTS / chart), "-n", "lab", *args)
        assert done.returncode != 0, f"helm rendered {chart} {args}"
        return done.stderr


@pytest.fixture(scope="session", params=sorted(HELMS))
def helm(request: pytest.FixtureRequest) -> Helm:
    path = HELMS[request.param]
    if not path.exists():
        pytest.skip(f"{path} is not there: make test-charts installs it")
    return Helm(path)
