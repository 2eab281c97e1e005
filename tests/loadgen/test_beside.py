"""loadgen and other load generators on the same simulator: their means agree with the truth and each other.

The others are taken from the folders in LOAD_TOOLS (as PATH is written) or from the PATH.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.beside import PACE, TOKENS, TOOLS, TTFT, Means, Simulator, Work, loadgen, write_tokenizer
from tests.ports import free_port

pytestmark = pytest.mark.slow
TRUTH = {"ttft": TTFT, "tpot": PACE, "e2e": TTFT + PACE * (TOKENS - 1)}
WITHIN = {"ttft": (0.0, 25.0), "tpot": (0.25, 0.25), "e2e": (5.0, 40.0)}
"""Milliseconds that a mean may lie below and above the truth: what a busy machine and a slow client add."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    pytest.importorskip("tokenizers", reason="the tokenizer that the tools are given is made with it")
    folder = tmp_path_factory.mktemp("beside")
    tokenizer = write_tokenizer(folder / "tokenizer")
    places = os.pathsep.join(filter(None, (os.environ.get("LOAD_TOOLS"), os.environ.get("PATH"))))
    with Simulator(free_port(), tokenizer) as server:
        yield Work(server.url, folder, tokenizer, 50, 5.0, places)


def near_truth(tool: str, found: Means) -> None:
    for name, truth in TRUTH.items():
        below, above = WITHIN[name]
        assert truth - below <= found[name] <= truth + above, f"{tool}: {name} {found[name]:.3f} ms"


def test_ours(work: Work) -> None:
    near_truth("loadgen", loadgen(work))


@pytest.mark.parametrize("tool", TOOLS)
def test_another(work: Work, tool: str, tmp_path: Path) -> None:
    if work.program(tool) is None:
        pytest.skip(f"{tool} is neither in LOAD_TOOLS nor on the PATH")
    near_truth(tool, TOOLS[tool](work))
