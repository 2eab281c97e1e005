"""Log-probabilities in vLLM's forms. There is no model: values follow a formula, the structure is exact.

A sampled token at position p has -1 - (p mod 3)/10 and is the most probable; alternative j has 0.5 j less.
A prompt token is never the most probable one, so its entry shows it and the top token.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import msgspec

from simulator.engine.text.tokenizer import Tokenizer
from simulator.server.answers.slices import Building

_encode = msgspec.json.Encoder().encode
_SLICE = 32  # tokens between two yields
_STRIDE = 7919  # a prime: alternatives are far from the token in the vocabulary
_STEP = 0.5


def _encoded(value: Any) -> msgspec.Raw:
    """Encoded ahead: when the whole answer is encoded, in one go, there is only this to copy."""
    return msgspec.Raw(_encode(value))


class TokenLogprobs:
    """Names and numbers of tokens for one request."""

    __slots__ = ("_as_ids", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer, as_token_ids: bool) -> None:
        self._tokenizer = tokenizer
        self._as_ids = as_token_ids

    def name(self, token_id: int) -> str:
        """The token as the client reads it."""
        return f"token_id:{token_id}" if self._as_ids else self._tokenizer.decode([token_id])

    def value(self, position: int) -> float:
        return -1.0 - 0.1 * (position % 3)

    def alternatives(self, token_id: int, position: int, count: int) -> list[tuple[int, float]]:
        """The `count` most probable tokens of a position, the sampled one first."""
        size = self._tokenizer.vocab_size
        main = self.value(position)
        return [((token_id + j * _STRIDE) % size, main - _STEP * j) for j in range(min(count, size))]

    def completion(
        self, token_ids: Sequence[int], count: int, first_position: int, offset: int
    ) -> tuple[dict[str, Any], int]:
        """`logprobs` of a completion's choice for `token_ids`, and the text offset after them."""
        offsets, values, names, tops = [], [], [], []
        for position, token_id in enumerate(token_ids, first_position):
            name = self.name(token_id)
            offsets.append(offset)
            offset += len(name)
            names.append(name)
            values.append(self.value(position))
            best = self.alternatives(token_id, position, max(count, 1))
            tops.append({self.name(other): value for other, value in best})
        return {
            "text_offset": offsets,
            "token_logprobs": values,
            "tokens": names,
            "top_logprobs": tops,
        }, offset

    def echoed(
        self, prompt_ids: Sequence[int], count: int
    ) -> Generator[None, None, tuple[dict[str, Any], int]]:
        """The same for a prompt that is echoed: nothing is known of its first token."""
        made = yield from self.completion_slowly(prompt_ids, count, 0)
        values: list[Any] = [None]
        tops: list[Any] = [None]
        for i in range(1, len(prompt_ids)):
            entry = self._prompt_entry(prompt_ids, i, count)
            values.append(entry[0][2])
            tops.append(_encoded({self.name(token_id): value for token_id, _, value in entry}))
            yield
        made["token_logprobs"], made["top_logprobs"] = values, tops
        return made, sum(map(len, made["tokens"]))

    def prompt(
        self, prompt_ids: Sequence[int], count: int
    ) -> Generator[None, None, list[msgspec.Raw | None]]:
        """`prompt_logprobs`: null for the first token, then token id -> logprob, rank and text."""
        entries: list[msgspec.Raw | None] = [None]
        for i in range(1, len(prompt_ids)):
            entry = {
                str(token_id): {"logprob": value, "rank": rank, "decoded_token": self._decoded(token_id)}
                for token_id, rank, value in self._prompt_entry(prompt_ids, i, count)
            }
            entries.append(_encoded(entry))
            yield
        return entries

    def _decoded(self, token_id: int) -> str:
        return self._tokenizer.decode([token_id]) or self._tokenizer.token_str(token_id)

    def _prompt_entry(self, ids: Sequence[int], i: int, count: int) -> list[tuple[int, int, float]]:
        """(id, rank, logprob) of the prompt token at `i` and of the `count` most probable ones there."""
        size = self._tokenizer.vocab_size
        actual = ids[i]
        main = self.value(i)
        count = min(count, size - 1)
        best = [((actual + j * _STRIDE) % size, j, main - _STEP * (j - 1)) for j in range(1, count + 1)]
        return [(actual, len(best) + 1, main - _STEP * len(best)), *best]

    def completion_slowly(self, token_ids: Sequence[int], count: int, offset: int) -> Building:
        """`completion` from the first token on, with a yield for every few dozen tokens."""
        made: dict[str, Any] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for start in range(0, len(token_ids), _SLICE):
            part, offset = self.completion(token_ids[start : start + _SLICE], count, start, offset)
            part["top_logprobs"] = list(map(_encoded, part["top_logprobs"]))
            for key, values in part.items():
                made[key] += values
            yield
        return made

    def chat_slowly(self, token_ids: Sequence[int], count: int) -> Building:
        """`chat` in the same way."""
        content: list[Any] = []
        for start in range(0, len(token_ids), _SLICE):
            content += map(_encoded, self.chat(token_ids[start : start + _SLICE], count, start)["content"])
            yield
        return {"content": content}

    def chat(self, token_ids: Sequence[int], count: int, first_position: int) -> dict[str, Any]:
        """`logprobs` of a chat's choice for `token_ids`."""
        content = []
        for position, token_id in enumerate(token_ids, first_position):
            best = self.alternatives(token_id, position, count)
            content.append(
                {
                    **self._chat_token(token_id, self.value(position)),
                    "top_logprobs": [self._chat_token(other, value) for other, value in best],
                }
            )
        return {"content": content}

    def _chat_token(self, token_id: int, value: float) -> dict[str, Any]:
        name = self.name(token_id)
        data = name.encode() if self._as_ids else self._tokenizer.token_bytes(token_id)
        return {"token": name, "logprob": value, "bytes": list(data)}
