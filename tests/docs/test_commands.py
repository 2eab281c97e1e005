"""Every command block of README and docs is run, or says why not.

A block of shell commands stands under `<!-- run -->`, `<!-- kubectl -->`, `<!-- cluster -->` (not here) or
`<!-- illustration: reason -->`. Blocks to run are run page by page, in order, in one empty directory.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")])
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*?) -->\n)?^```(?:bash|console|sh)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LATENESS = shlex.join([sys.executable, str(ROOT / "tests" / "lateness.py")])
PRELUDE = rf"""
set -euo pipefail
loadgen() {{  # a busy machine sends late, and loadgen says so; everything else that fails is a failure here
    local out status=0
    out=$(mktemp)
    command loadgen "$@" >"$out" || status=$?
    cat "$out"
    ! {LATENESS} "$status" "$out" || status=0
    rm "$out"
    return $status
}}
"""
MAKE = re.compile(r"^make [a-z-]+$")


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(m["mark"] or "", m["code"]) for m in BLOCK.finditer(page.read_text())]


def only_make(code: str) -> bool:
    """`make demo` and the like: each target has a test of its own, or is the test."""
    return all(MAKE.match(line.split("#")[0].strip()) for line in code.splitlines() if line.strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_block_says_how_it_is_tested(page: Path) -> None:
    for mark, code in blocks(page):
        known = (
            mark in ("run", "cluster", "kubectl") or re.match(r"illustration: \S", mark) or only_make(code)
        )
        assert known, (
            f"{page.name}: say <!-- run -->, <!-- cluster --> or <!-- illustration: why --> above:\n{code}"
        )


@pytest.mark.parametrize("page", [p for p in PAGES if any(mark == "kubectl" for mark, _ in blocks(p))])
def test_kubectl_commands_run(page: Path, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on the PATH")
    run(tmp_path, "\n".join(code for mark, code in blocks(page) if mark == "kubectl"))


RUN = [p for p in PAGES if any(mark == "run" for mark, _ in blocks(p))]


@pytest.mark.parametrize("page", RUN, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_run(page: Path, tmp_path: Path) -> None:
    pytest.importorskip(
        "grpc", reason="the commands bring up a gateway: pip install 'vllm-simfleet[gateway]'"
    )
    run(tmp_path, "\n".join(code for mark, code in blocks(page) if mark == "run"))


def run(tmp_path: Path, code: str) -> None:
    """Run it in an empty directory with `deploy` in it; every command has to succeed."""
    script = PRELUDE + code
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    state = tmp_path / "state"
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SIMFLEET_STATE_DIR": str(state),
        "SIMFLEET_REPO": str(ROOT),
        "EPP_BIN": "",
    }
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        subprocess.run(["simfleet", "down", "--all"], env=env, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"{script}\n--- out\n{done.stdout[-3000:]}\n--- err\n{done.stderr[-3000:]}"
