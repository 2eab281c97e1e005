"""Random mode: sentences from a phrase book, with llm-d-inference-sim's lengths.

Which answer a request gets is `chooser`'s business.
"""

from __future__ import annotations

from simulator.engine.request import Request
from simulator.engine.text import output_length
from simulator.engine.text.chooser import Chooser
from simulator.engine.text.phrases import PhraseBook
from simulator.engine.text.plans import OutputPlan
from simulator.engine.text.text_source import BaseText
from simulator.engine.text.thinking import Thoughts


class RandomText(BaseText):
    """Sentences until a drawn length. `max_model_len` tells a request without max_tokens: it may fill it.

    Of n drawn tokens the last is EOS, unless n is the maximum: then the answer is cut (finish reason length).
    An answer always says something: one token and EOS at least.
    """

    def __init__(self, book: PhraseBook, *, max_model_len: int, seed: int = 0) -> None:
        super().__init__(book.tokenizer, Thoughts(book, seed))
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
