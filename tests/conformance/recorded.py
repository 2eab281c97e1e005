"""How the recorded server was set up, and its other recordings, which are in curl's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conformance.masking import Answer
from tests.simulator.steps import flat_flag

DATA = Path(__file__).parent / "data"
# The recorded model's steps took about 5 ms, and what it said never ended by itself.
STEPS = flat_flag(5000)
COMMON = (
    *("--model", "/models/tiny", "--served-model-name", "tiny", "--tokenizer", str(DATA / "model-tiny")),
    *("--block-size", "128", "--num-gpu-blocks-override", "8192", "--strict"),
    *("--latency", "step", "--step-model", STEPS),
)


def recorded_text(folder: Path) -> Path:
    """A data set that makes every answer the recorded one: the same token for ever."""
    path = folder / "said.jsonl"
    path.write_text(json.dumps({"prompt": "def hello():", "response": "():" * 1500}) + "\n")
    return path


def expand(value: Any) -> Any:
    """A body of `cases.jsonl` with its long parts written out."""
    if isinstance(value, dict):
        if "$repeat" in value:
            repeated = value["$repeat"]
            return repeated * value["times"] if isinstance(repeated, str) else [repeated] * value["times"]
        if "$range" in value:
            return list(range(value["$range"]))
        return {key: expand(inner) for key, inner in value.items()}
    return [expand(inner) for inner in value] if isinstance(value, list) else value


def read_curl(text: str) -> dict[str, Answer]:
    """Cases by name from `##### name`, status line, headers, empty line, body."""
    cases = {}
    for block in text.split("##### ")[1:]:
        name, _, rest = block.partition("\n")
        head, _, body = rest.partition("\n\n")
        lines = head.strip().split("\n")
        if not lines[0].startswith("HTTP/"):
            continue
        headers = dict(line.split(": ", 1) for line in lines[1:])
        cases[name.strip()] = Answer(int(lines[0].split()[1]), headers, body.strip("\n"))
    return cases
