"""What the picker reads of a prompt that nobody wrote: bytes that are equal exactly as far as the blocks are.

A picker hashes the bytes of a prompt. For a prompt known by its blocks each block is its own name and then
filler up to the length that the load generator's words would have: two prompts agree byte for byte up to the
first block in which they differ, and differ from there on, as prompts of real words do.
"""

from __future__ import annotations

from simulator.replay.prompts import Prompt

# Bytes of a word with the blank before it, the mean of loadgen/plan/words.py; tests hold the two together.
BYTES_PER_TOKEN = 6.7
_FILLER = " of simulated words that nobody has to make and that nobody is going to read" * 64


def prompt_text(prompt: Prompt) -> str:
    """The prompt as a picker sees it."""
    if prompt.ids is not None:
        return " ".join(map(str, prompt.ids))
    parts = []
    for name, count in prompt.parts():
        begin = f" {name:x}." if name >= 0 else f" own-{-name:x}."
        rest = round(count * BYTES_PER_TOKEN) - len(begin)  # the name stays whole, however few the tokens
        parts.append(begin)
        if rest > 0:
            times, last = divmod(rest, len(_FILLER))
            parts.append(_FILLER * times + _FILLER[:last])
    return "".join(parts)
