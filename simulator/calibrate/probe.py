"""The load that a live server is measured under: a few minutes of `loadgen run`, one run a kind of load."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kit.children import python
from simulator.errors import ConfigError

_ASK_SECONDS = 10.0
_LEAST_REQUESTS = 50
_LOADGEN = "import sys; from loadgen.cli import main; sys.exit(main(sys.argv[1:]))"
_SIGNS = {130: "interrupted"}  # exit codes that are no result

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server says of itself; None where it does not."""

    max_model_len: int | None = None
    num_gpu_blocks: int | None = None
    block_size: int | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One run of the probe."""

    name: str
    says: str
    flags: tuple[str, ...]


def kinds(longest: int, requests: int = _LEAST_REQUESTS) -> tuple[Kind, ...]:
    """The runs of a probe for prompts of up to `longest` tokens; each has at least `requests` requests."""
    steps = [size for size in (16, 64, 256, 512, 1024, 2048, 4096, 8192) if size <= longest // 2]
    long = max(64, longest // 2)
    return (
        Kind(
            "singles",
            "one request at a time, short and long prompts",
            (*_users(1, requests), "--input-tokens", _values(steps or [16]), "--output-tokens", "32"),
        ),
        Kind(
            "prompts",
            "long prompts, a few at once",
            (
                *_users(4, requests),
                "--input-tokens",
                f"{{min: {long // 4}, max: {long}}}",
                "--output-tokens",
                "8",
            ),
        ),
        Kind(
            "decodes",
            "many short prompts with long answers",
            (*_users(64, 4 * requests), "--input-tokens", "24", "--output-tokens", "{min: 64, max: 192}"),
        ),
        Kind(
            "burst",
            "everything at once, and its end",
            (
                *("--arrival", "burst", "--burst-size", str(3 * requests)),
                *("--input-tokens", f"{{mean: {long // 4}, stddev: {long // 8}, min: 8, max: {long}}}"),
                *("--output-tokens", "{min: 16, max: 128}"),
            ),
        ),
    )


def _users(users: int, requests: int) -> tuple[str, ...]:
    return "--users", str(users), "--requests", str(requests)


def _values(values: list[int]) -> str:
    return f"{{values: {values}}}"


def probe(target: str, model: str, out: Path, longest: int, say: Say) -> list[Path]:
    """Measure a server; the directories of the runs.

    Raises ConfigError where a run could not be made, and KeyboardInterrupt where the user ended it.
    """
    found = []
    every = kinds(longest)
    for number, kind in enumerate(every, 1):
        say(f"probe {number} of {len(every)}: {kind.says}")
        path = out / kind.name
        command = python("-c", _LOADGEN, "run", "--target", target, "--model", model, "--ignore-eos")
        command += ["--seed", str(number), "--quiet", "--no-selftest", "--timeout", "300s", "--grace", "300s"]
        log = out / f"{kind.name}.log"
        with log.open("wb") as file:
            ended = subprocess.run(
                [*command, "-o", str(path), *kind.flags], stdout=file, stderr=subprocess.STDOUT, check=False
            )
        if ended.returncode in _SIGNS:
            raise KeyboardInterrupt
        if not sorted(path.glob("records*.jsonl")):
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise ConfigError(f"--target {target}: the probe of {kind.says} could not be made: {last}")
        found.append(path)
    return found


def limits(target: str, model: str) -> Limits:
    """What a server says of its limits; raises ConfigError where it cannot be asked."""
    listing = _get(f"{target}/v1/models")
    try:
        rows = json.loads(listing)["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{target}/v1/models: no list of models: {error}") from error
    mine = [row for row in rows if isinstance(row, dict) and row.get("id") == model]
    if not mine:
        names = ", ".join(str(row.get("id")) for row in rows if isinstance(row, dict))
        raise ConfigError(f"{target} does not serve {model}; it lists {names}")
    length = mine[0].get("max_model_len")
    cache = _cache(target)
    return Limits(
        length if isinstance(length, int) else None, cache.get("num_gpu_blocks"), cache.get("block_size")
    )


def _cache(target: str) -> dict[str, int]:
    """The numbers of vllm:cache_config_info; empty where there is no such page."""
    try:
        page = _get(f"{target}/metrics")
    except ConfigError:
        return {}
    line = next((line for line in page.splitlines() if line.startswith("vllm:cache_config_info{")), "")
    pairs = (pair.partition('="') for pair in line.partition("{")[2].split('",'))
    return {name.strip(): int(value) for name, _, value in pairs if value.rstrip('"}').isdigit()}


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_ASK_SECONDS) as answer:
            data: bytes = answer.read()
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise ConfigError(f"{url} cannot be read: {error}") from error
    return data.decode(errors="replace")
