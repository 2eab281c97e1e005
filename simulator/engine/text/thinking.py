"""What a model thinks before it answers: sentences of the phrase book between the markers of its dialect."""

from __future__ import annotations

from simulator.engine.request import Request
from simulator.engine.text.chooser import Chooser
from simulator.engine.text.phrases import PhraseBook
from simulator.engine.text.plans import OutputPlan, Thought, ThoughtPlan
from simulator.engine.text.tokenizer import Tokenizer

_APART = 0x7417  # thoughts are drawn apart from answers: switching them on changes no answer


class Thoughts:
    """Puts a request's thought before its answer. A thought of no tokens leaves its markers."""

    def __init__(self, book: PhraseBook, seed: int) -> None:
        self._book = book
        self._chooser = Chooser(seed ^ _APART)

    def before(self, request: Request, thought: Thought, answer: OutputPlan) -> OutputPlan:
        """The plan of thought and answer together."""
        rng = self._chooser.generator(request)
        count = thought.length.draw(rng)
        closing = thought.closing
        if thought.budget is not None and count > thought.budget:
            count, closing = thought.budget, thought.forced_closing
        tokenizer = self._book.tokenizer
        said = self._book.plan(rng, None, 0).tokens(0, count)
        closing += thought.gap if request.fixed_output is None else ()
        before = [*_encode(tokenizer, thought.opening), *said, *_encode(tokenizer, closing)]
        return ThoughtPlan(before, answer, _encode(tokenizer, thought.ending))


def empty_thought(tokenizer: Tokenizer, thought: Thought, answer: OutputPlan) -> OutputPlan:
    """Nothing but the markers, for sources that have no sentences of their own."""
    before = _encode(tokenizer, (*thought.opening, *thought.closing, *thought.gap))
    return ThoughtPlan(before, answer, _encode(tokenizer, thought.ending))


def _encode(tokenizer: Tokenizer, pieces: tuple[str, ...]) -> list[int]:
    return [token_id for piece in pieces for token_id in tokenizer.encode(piece)]
