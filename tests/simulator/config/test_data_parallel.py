"""The ranks of a process and their ports, by vLLM's flags."""

from __future__ import annotations

import pytest

from simulator.config.data_parallel import Ranks
from simulator.config.resolve import parse_args
from simulator.errors import ConfigError

SIZE = "--data-parallel-size 4 "


@pytest.mark.parametrize(
    ("line", "made", "ports"),
    [
        ("", Ranks(), 1),
        (SIZE, Ranks("internal", 4, 0, 4), 1),
        (SIZE + "--data-parallel-multi-port-external-lb", Ranks("multi-port", 4, 0, 4), 4),
        (SIZE + "--data-parallel-rank 3", Ranks("external", 4, 3, 1), 1),
        (SIZE + "-dpr 2 -dpl 2", Ranks("hybrid", 4, 2, 2), 1),
        (SIZE + "--data-parallel-hybrid-lb -dpl 2", Ranks("hybrid", 4, 0, 2), 1),
        (SIZE + "-dpm -dpl 2 -dpr 2", Ranks("multi-port", 4, 2, 2), 2),
        (SIZE + "--compat llm-d-0.7 --model m", Ranks("multi-port", 4, 0, 4), 4),
    ],
)
def test_modes(line: str, made: Ranks, ports: int) -> None:
    config = parse_args(line.split(), {})
    assert config.ranks == made
    assert config.ranks.num_ports == ports


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--data-parallel-hybrid-lb --data-parallel-external-lb", "exclude each other"),
        (SIZE + "--data-parallel-size-local 5", "more than"),
        (SIZE + "-dpr 3 -dpl 2", "ranks 3 to 4"),
    ],
)
def test_what_vllm_would_not_start_with(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_args(line.split(), {})
