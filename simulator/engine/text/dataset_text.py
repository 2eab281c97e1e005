"""Dataset mode: recorded answers, as llm-d-inference-sim looks them up.

A prompt that the data set has gets one of its own answers, another prompt any answer; among them those that
fit into max_tokens are preferred, else one is cut. ignore_eos goes on with sentences of the phrase book.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from simulator.engine.request import Request
from simulator.engine.text.chooser import Chooser
from simulator.engine.text.phrases import PhraseBook
from simulator.engine.text.plans import OutputPlan, TokenPlan
from simulator.engine.text.text_source import BaseText
from simulator.engine.text.thinking import Thoughts
from simulator.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One recorded answer."""

    prompt: str
    response: str


Answer = tuple[int, ...]


class Dataset:
    """Answers as token ids, by prompt and by length; shared by every replica of a tokenizer."""

    def __init__(self, rows: Iterable[DatasetRow], book: PhraseBook) -> None:
        self.book = book
        self._by_prompt: dict[str, list[Answer]] = {}
        for row in rows:
            answer = tuple(book.tokenizer.encode(row.response))
            self._by_prompt.setdefault(row.prompt.strip(), []).append(answer)
        for answers in self._by_prompt.values():
            answers.sort(key=len)
        self._all = sorted((a for answers in self._by_prompt.values() for a in answers), key=len)
        if not self._all:
            raise ConfigError("the data set has no rows")

    def choose(self, prompt: str, max_tokens: int, rng: Random) -> Answer:
        answers = self._by_prompt.get(prompt.strip(), self._all)
        fitting = bisect_right(answers, max_tokens, key=len)
        return answers[int(rng.random() * (fitting or len(answers)))]


class DatasetText(BaseText):
    """Prompts are compared by `Request.prompt_text`, without white space around them."""

    def __init__(self, dataset: Dataset, *, seed: int = 0) -> None:
        super().__init__(dataset.book.tokenizer, Thoughts(dataset.book, seed))
        self._dataset = dataset
        self._chooser = Chooser(seed)

    def choose(self, request: Request) -> OutputPlan:
        rng = self._chooser.generator(request)
        sampling = request.sampling
        prompt = request.prompt_text
        if prompt is None:
            prompt = self._tokenizer.decode(request.prompt_token_ids, skip_special_tokens=True)
        answer = self._dataset.choose(prompt, sampling.max_tokens, rng)
        length = None if sampling.ignore_eos else max(len(answer), sampling.min_tokens)
        return TokenPlan(answer, self._dataset.book.ring, 0, length, self._eos)
