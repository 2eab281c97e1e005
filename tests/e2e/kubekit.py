"""Clusters for the end-to-end tests: `simfleet cluster` as a child, and the machine's kubectl."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until

START_S = 40.0
COMMAND_S = 60.0
CRDS = Path(__file__).parents[3] / "shared" / "data" / "crds"

# What the page takes from GitHub, and istioctl, are not on this machine: these stand for them. The CRDs are
# the published ones; instead of Istio's control plane there is nothing to install but its namespace.
_KUBECTL = """#!/bin/sh
if [ "$1" = kustomize ]; then
  case "$2" in
    github.com/kubernetes-sigs/gateway-api/*) folder=gateway-api-v1.4.0 ;;
    github.com/kubernetes-sigs/gateway-api-inference-extension/*) folder=inference-extension-v1.0.1 ;;
    *) exec {kubectl} "$@" ;;
  esac
  for file in {crds}/$folder/*.yaml; do echo ---; cat "$file"; done
  exit 0
fi
exec {kubectl} "$@"
"""
# With a real istiod the namespace stands.
_ISTIOCTL = """#!/bin/sh
case "$1" in
  install) {kubectl} get namespace istio-system || exec {kubectl} create namespace istio-system ;;
  uninstall) exit 0 ;;
esac
"""
_PS = """#!/bin/sh
exec {python} -c 'import sys; from gateway.cli import main; sys.exit(main())' ps --format json
"""


def need_kubectl() -> str:
    """The machine's kubectl; the test is skipped where there is none."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl on the PATH")
    return found


class Cluster:
    """One running cluster; `kubectl` and `sh` talk to it."""

    def __init__(self, *argv: str, name: str = "k", istiod: str = "none") -> None:
        self._kubectl = need_kubectl()
        self.state = Path(tempfile.mkdtemp(prefix="sk"))
        self.output = self.state / f"{name}.out"
        self.kubeconfig = self.state / name / "kubeconfig"
        tools = self.state / "tools"
        tools.mkdir()
        self._tool(tools / "kubectl", _KUBECTL)
        self._tool(tools / "istioctl", _ISTIOCTL)
        self._tool(tools / "simfleet-ps", _PS)
        home = self.state / "home"
        home.mkdir()
        self.env = {
            **os.environ,
            "SIMFLEET_STATE_DIR": str(self.state),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(home),  # kubectl keeps what it discovered there
        }
        run = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*run, "cluster", "--name", name, "--epp", "reference", "--istiod", istiod, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.env,
            )
        until(self._serves, START_S, "the API")

    def _tool(self, path: Path, text: str) -> None:
        path.write_text(text.format(kubectl=self._kubectl, crds=CRDS, python=sys.executable))
        path.chmod(0o755)

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.text
        return "export KUBECONFIG=" in self.text

    @property
    def text(self) -> str:
        return self.output.read_text()

    def kubectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self._run([self._kubectl, *words], stdin)

    def sh(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self._run(["bash", "-c", script], stdin)

    def _run(self, argv: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env=self.env,
            cwd=self.state,
        )

    def get(self, *words: str) -> Any:
        """`kubectl get ... -o json`, which has to succeed."""
        done = self.kubectl("get", *words, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def apply(self, text: str, *flags: str) -> None:
        done = self.kubectl("apply", *flags, "-f", "-", stdin=text)
        assert done.returncode == 0, done.stderr

    def cpu_s(self) -> float:
        """CPU seconds of its process, simulators included and Envoy not."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> int:
        """End it in order; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        shutil.rmtree(self.state)
        return self.process.returncode


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster meanwhile, which then ends in order."""
    made = Cluster()
    try:
        yield made
    finally:
        assert made.close() == 0
