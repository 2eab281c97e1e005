"""Ports that stacks of several processes do not share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.machine.ports import free_port, hold

ASK = (
    "import sys; from gateway.machine.ports import free_port; print(free_port(preferred=[int(sys.argv[1])]))"
)


def test_a_port_that_nobody_listens_on_yet_is_held() -> None:
    """Between a stack's choice and its Envoy's start another stack may choose: it gets another port."""
    mine = free_port()
    assert hold("127.0.0.1", mine), "one's own stays one's own"
    argv = [sys.executable, "-c", ASK, str(mine)]
    root = Path(__file__).parents[3]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, cwd=root)
    assert int(done.stdout) != mine
