"""Traces of known shape where the recorded ones are not at hand: the same counts, lengths and sharing."""

from __future__ import annotations

import json
import random
from pathlib import Path

BLOCK = 512  # tokens of one of Mooncake's hash ids


def conversations(path: Path, count: int = 12_031, seconds: float = 3600.0, seed: int = 1) -> None:
    """Mooncake's conversation hour: 12 031 requests, prompts of 11 400 tokens on average, answers of 320.

    Conversations of some turns, each turn's prompt the one before it with its answer and more; a system
    prompt for all of a kind. About half of all prompt blocks have been sent before.
    """
    rng = random.Random(seed)
    rows: list[tuple[float, int, int, list[int]]] = []
    blocks = 100
    while len(rows) < count:
        at = rng.uniform(0, seconds)
        history = [rng.randrange(8)]
        tokens = BLOCK
        for _ in range(min(1 + int(rng.expovariate(1 / 1.6)), 12)):
            tokens += int(rng.lognormvariate(8.0, 1.05)) + 20
            tokens = min(tokens, 120_000)
            while len(history) * BLOCK < tokens:
                blocks += 1
                history.append(blocks)
            output = max(1, min(int(rng.lognormvariate(5.3, 1.0)), 2000))
            rows.append((at, tokens, output, list(history)))
            at += rng.expovariate(1 / 60)
            if at > seconds:
                break
    rows = sorted(rows[:count])
    with path.open("w") as file:
        for at, tokens, output, ids in rows:
            line = {"timestamp": round(at * 1000), "input_length": tokens, "output_length": output}
            file.write(json.dumps({**line, "hash_ids": ids}) + "\n")


def code(path: Path, count: int = 8_819, seconds: float = 3600.0, seed: int = 1) -> None:
    """Azure's code hour of 2023: 8 819 requests in bursts, prompts of 2 000 tokens, answers of 25."""
    rng = random.Random(seed)
    at, rows = 0.0, []
    while len(rows) < count:
        at += rng.gammavariate(0.25, seconds / count / 0.25)
        prompt = max(3, min(int(rng.lognormvariate(7.2, 1.0)), 7437))
        rows.append((at, prompt, max(1, min(int(rng.lognormvariate(2.7, 1.0)), 1899))))
    with path.open("w") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for moment, prompt, output in rows:
            minutes, rest = divmod(moment, 60.0)
            hours, minutes = divmod(int(minutes), 60)
            file.write(f"2023-11-16 {18 + hours}:{minutes:02d}:{rest:010.7f},{prompt},{output}\n")
