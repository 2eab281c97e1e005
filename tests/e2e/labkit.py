"""Stacks for the end-to-end tests: `simfleet up` as a child, a real Envoy, the reference picker.

A stack is started once per module. Tests talk to it as a user does: HTTP through the gateway, and the control
socket.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.doctor.evidence import log_entries
from gateway.errors import ControlError
from gateway.stack.socket import ask
from tests.waiting import until

UP_TIMEOUT_S = 40.0
# a route by host name, beside those of the page
CHAT_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: chat, namespace: inference-model-server}
spec:
  parentRefs: [{name: gateway, namespace: istio-ingress}]
  hostnames: [chat.example.com]
  rules:
  - backendRefs:
    - {group: inference.networking.k8s.io, kind: InferencePool, name: inference-model-server-pool}
"""


class Lab:
    """One running stack."""

    def __init__(self, name: str, argv: Sequence[str], state: Path) -> None:
        self.name = name
        self.state = state
        self.output = state / f"{name}.out"
        env = {**os.environ, "SIMFLEET_STATE_DIR": str(state)}
        command = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
        argv = [*command, "up", "--name", name, "--epp", "reference", *argv]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
            )
        self.env = env

    @property
    def socket(self) -> Path:
        return self.state / self.name / "control.sock"

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.text
            return self.socket.exists() and "ready in" in self.text

        until(ready, UP_TIMEOUT_S, f"ready: {self.name}")

    def ask(self, do: str, **arguments: Any) -> Any:
        return ask(self.socket, do, **arguments)

    @property
    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = self.ask("status")
        return result

    @property
    def url(self) -> str:
        return str(self.status["url"])

    def gateway(self, name: str) -> dict[str, Any]:
        return next(g for g in self.status["gateways"] if g["name"] == name)

    @property
    def pods(self) -> list[dict[str, Any]]:
        pods: list[dict[str, Any]] = self.status["pods"]
        return pods

    @property
    def picker(self) -> dict[str, Any]:
        picker: dict[str, Any] = self.status["pickers"][0]
        return picker

    def access_log(self, path: str, gateway: str = "") -> dict[str, Any]:
        """The last line of a request for `path`, which Envoy writes a moment later."""
        paths = [Path(g["access_log"]) for g in self.status["gateways"] if gateway in {"", g["name"]}]

        def find() -> dict[str, Any] | None:
            for file in paths:
                text = file.read_text(errors="replace") if file.exists() else ""
                for entry in log_entries(reversed(text.splitlines())):
                    if entry["path"] == path:
                        return entry
            return None

        found = until(find, 5.0, f"access log of {path}")
        assert found is not None
        return found

    def down(self) -> int:
        """Ask it to go, wait until it has gone; its exit code."""
        if self.process.poll() is None:
            with contextlib.suppress(Exception):
                self.ask("down")
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
                raise
        return self.process.returncode


class Labs:
    """Makes labs and ends those that a test left."""

    def __init__(self) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="sf"))
        self._made: list[Lab] = []

    def start(self, *argv: str, name: str = "t") -> Lab:
        """A lab that is coming up."""
        lab = Lab(name, argv, self.state)
        self._made.append(lab)
        return lab

    def up(self, *argv: str, name: str = "t") -> Lab:
        lab = self.start(*argv, name=name)
        lab.wait_ready()
        return lab

    def manifests(self, text: str, name: str = "manifests.yaml") -> str:
        path = self.state / name
        path.write_text(text)
        return str(path)

    def close(self) -> None:
        for lab in self._made:
            lab.down()
        for left in self.state.glob("*/control.sock"):  # detached, and its test has failed
            with contextlib.suppress(ControlError):
                ask(left, "down", timeout_s=5.0)
                until(lambda left=left: not left.parent.exists(), UP_TIMEOUT_S, f"{left.parent.name} is down")  # type: ignore[misc]
        shutil.rmtree(self.state)


def completion(**changes: Any) -> dict[str, Any]:
    """A small request."""
    return {"model": "reviews-1", "prompt": "What do reviewers think?", "max_tokens": 4, **changes}
