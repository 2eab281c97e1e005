"""Answers of /generative_scoring: how likely the first label comes next, behind each item.

There is no model: log-probabilities of labels are a hash of prompt and label, so that the same question has
the same answer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from simulator.server.answers.generation import Job
from simulator.server.answers.openai import WholeAnswer
from simulator.server.answers.slices import Building

_SPREAD = 4.0  # of log-probabilities, between the likeliest label and the least
_LIKELIEST = -1.0


class ScoringUnary(WholeAnswer):
    """`list` of scores."""

    OBJECT = "list"

    def __init__(self, job: Job, labels: Sequence[int], apply_softmax: bool) -> None:
        super().__init__(job)
        self._labels = labels
        self._softmax = apply_softmax

    def building(self) -> Building:
        data = []
        for sequence in self.sequences:
            score = self._score(sequence.prompt.token_ids)
            data.append({"index": sequence.index, "object": "score", "score": score})
            yield
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {
            "id": self.job.answer_id,
            "object": self.OBJECT,
            "created": self.job.created,
            "model": self.job.model,
            "data": data,
            "usage": {
                "prompt_tokens": prompt,
                "total_tokens": prompt + completion,
                "completion_tokens": completion,
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
        }

    def _score(self, prompt: Sequence[int]) -> float:
        values = {label: math.exp(_logprob(prompt, label)) for label in self._labels}
        first = values[self._labels[0]]
        return first / sum(values.values()) if self._softmax else first


def _logprob(prompt: Sequence[int], label: int) -> float:
    digest: Any = hashlib.sha256(f"{','.join(map(str, prompt))}|{label}".encode()).digest()
    return _LIKELIEST - _SPREAD * int.from_bytes(digest[:6], "big") / 2**48
