"""Arguments of every rendered container parse with the program they start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.stack.pickers import goflags
from simulator.config.resolve import parse_args
from tests.charts.conftest import Helm
from tests.charts.test_render import CASES

pytestmark = pytest.mark.charts


def containers(resource: dict[str, Any]) -> list[dict[str, Any]]:
    spec = resource["spec"]
    for step in ("jobTemplate", "spec", "template", "spec"):
        spec = spec.get(step, spec)
    return list(spec.get("containers", []))


@pytest.mark.parametrize(("chart", "values"), CASES, ids=[f"{c}-{' '.join(v[1:])[:60]}" for c, v in CASES])
def test_args_parse(helm: Helm, chart: str, values: list[str]) -> None:
    if chart == "simulator" and any("config." in v for v in values):
        values = [*values, "--set", "config=null"]  # the file is in a ConfigMap, not here
    for resource in helm.template(chart, *values):
        if resource["kind"] not in ("Deployment", "StatefulSet", "Job", "CronJob", "Pod"):
            continue
        for container in containers(resource):
            name, args = container["name"], [str(a) for a in container["args"]]
            if name == "vllm-sim":
                config = parse_args(args, {})
                assert config.port == 8000
            elif name == "epp":
                flags = dict(goflags.split(args))
                assert {"pool-name", "pool-namespace", "config-file"} <= set(flags)
            elif name == "loadgen":
                from loadgen.cli import build_parser

                assert build_parser().parse_args([a.replace("$(JOB_COMPLETION_INDEX)", "0") for a in args])
            else:
                script = Path(__file__).parents[2] / "charts" / "simulator" / "files" / "checks.py"
                done = subprocess.run(
                    [sys.executable, script, *args, "--wait", "0", "--help"],
                    capture_output=True,
                    timeout=30,
                    check=False,
                )
                assert (name, done.returncode) == ("checks", 0)


def test_a_real_picker_takes_its_args(helm: Helm) -> None:
    binary = shutil.which("epp")
    if binary is None:
        pytest.skip("no epp in PATH: make test-epp tries real pickers")
    done = subprocess.run([binary, "--help"], capture_output=True, text=True, timeout=30, check=False)
    text = done.stdout + done.stderr
    (deployment,) = [r for r in helm.template("gateway") if r["kind"] == "Deployment"]
    for name, _ in goflags.split(containers(deployment)[0]["args"]):
        assert f"-{name} " in text or f"-{name}\n" in text, name
