"""Random mode: sentences from a phrase book, with llm-d-inference-sim's lengths.

Which answer a request gets:
- `seed` in the request: decided by that seed, the prompt, the adapter and the choice index, on any replica;
- temperature 0: decided by the prompt and the adapter alone, as greedy decoding would;
- else: drawn from the server's generator, which starts at the server's seed.
"""

from __future__ import annotations

import zlib
from random import Random

from simulator.engine.request import Request
from simulator.engine.text import output_length
from simulator.engine.text.phrases import SENTENCES
from simulator.engine.text.plans import OutputPlan, TokenPlan
from simulator.engine.text.text_source import BaseText
from simulator.engine.text.tokenizer import Tokenizer

_RING_SENTENCES = 2048


class PhraseBook:
    """The sentences as token ids, laid out once in random order; shared by every replica of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        rng = Random(0)  # the same book everywhere: a seeded request says the same on every replica
        self.tokenizer = tokenizer
        spaced = [tuple(tokenizer.encode(" " + sentence)) for sentence in SENTENCES]
        openings = [tuple(tokenizer.encode(sentence)) for sentence in SENTENCES]
        self.ring: list[int] = []
        # an answer: its opening sentence without a blank before it, then the ring from here on
        self.starts: list[tuple[tuple[int, ...], int]] = []
        for _ in range(_RING_SENTENCES):
            k = rng.randrange(len(SENTENCES))
            self.ring += spaced[k]
            self.starts.append((openings[k], len(self.ring)))

    def plan(self, rng: Random, length: int | None, eos: int) -> TokenPlan:
        opening, after = self.starts[int(rng.random() * _RING_SENTENCES)]
        return TokenPlan(opening, self.ring, after, length, eos)


def fingerprint(request: Request) -> int:
    """A number that stands for prompt and adapter, at a cost that does not grow with the prompt."""
    ids = request.prompt_token_ids
    adapter = zlib.crc32(request.lora.name.encode()) if request.lora else 0
    return hash((len(ids), adapter, *ids[:32], *ids[-64:]))


class Chooser:
    """The random generator that decides a request's answer (see the top of this file)."""

    def __init__(self, seed: int) -> None:
        self._server = Random(seed)
        self._request = Random()

    def generator(self, request: Request) -> Random:
        sampling = request.sampling
        if sampling.seed is not None:
            key = hash((sampling.seed, request.index, fingerprint(request)))
        elif sampling.temperature == 0:
            key = fingerprint(request)
        else:
            return self._server
        self._request.seed(key)
        return self._request


class RandomText(BaseText):
    """Sentences until a drawn length. `max_model_len` tells a request without max_tokens: it may fill it.

    Of n drawn tokens the last is EOS, unless n is the maximum: then the answer is cut (finish reason length).
    An answer always says something: one token and EOS at least.
    """

    def __init__(self, book: PhraseBook, *, max_model_len: int, seed: int = 0) -> None:
        super().__init__(book.tokenizer)
        self._book = book
        self._max_model_len = max_model_len
        self._chooser = Chooser(seed)

    def choose(self, request: Request) -> OutputPlan:
        rng = self._chooser.generator(request)
        sampling = request.sampling
        if sampling.ignore_eos:
            return self._book.plan(rng, None, self._eos)
        maximum = sampling.max_tokens
        if request.num_prompt_tokens + maximum >= self._max_model_len:
            drawn = output_length.without_maximum(maximum, rng)
        else:
            drawn = output_length.below_maximum(maximum, rng)
        length = None if drawn >= maximum else max(drawn - 1, 1, sampling.min_tokens)
        return self._book.plan(rng, length, self._eos)
