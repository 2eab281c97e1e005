"""Random command lines that vLLM 0.33's own parser was asked about: taken or refused, and with which values.

`command_lines.jsonl` has one a line: argv, whether vLLM takes it, and the values that are not its defaults.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.config.commandline.vllm_parser import parse_vllm
from simulator.config.flags.table import FLAGS
from simulator.errors import ConfigError
from tests.conformance.recorded import DATA

CASES = [json.loads(line) for line in (DATA / "command_lines.jsonl").read_text().splitlines()]


def same(name: str, ours: Any, theirs: Any) -> bool:
    """Whether a value is vLLM's; ours are of a type that fits what they are for."""
    if isinstance(theirs, dict) and "$config" in theirs:  # an object of vLLM's, told by its class
        return isinstance(ours, dict)
    if name == "lora-modules":
        theirs = [module["path"] for module in theirs]
        return all(path in text for path, text in zip(theirs, filter(None, ours), strict=True))
    if isinstance(ours, tuple):
        ours = list(ours)
    return ours == theirs or str(ours) == str(theirs)


@pytest.mark.parametrize("case", CASES, ids=[" ".join(case["argv"])[:60] for case in CASES])
def test_as_vllm_reads_it(case: dict[str, Any]) -> None:
    if not case["taken"]:
        with pytest.raises(ConfigError):
            parse_vllm(case["argv"])
        return
    found = parse_vllm(case["argv"])
    assert (found.positional or [None])[0] == case["model"]
    for name, theirs in case["values"].items():
        assert name in FLAGS
        if theirs is None:
            assert name not in found.given
        else:
            assert same(name, found.given[name].value, theirs), name


def test_there_are_refusals_and_values_of_every_kind() -> None:
    refused = sum(not case["taken"] for case in CASES)
    assert len(CASES) >= 300
    assert len(CASES) / 5 < refused < len(CASES) / 2
    assert len({name for case in CASES if case["taken"] for name in case["values"]}) > 100
