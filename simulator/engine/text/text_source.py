"""Who decides what sequences say: the TextSource Protocol, and what all sources share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from simulator.engine.request import Request
from simulator.engine.text.plans import MaskedPlan, OutputPlan, TokenPlan
from simulator.engine.text.thinking import Thoughts, empty_thought
from simulator.engine.text.tokenizer import Tokenizer


class TextSource(Protocol):
    """Decides answers; called once per sequence, when it is added."""

    def start(self, request: Request) -> OutputPlan: ...


class BaseText(ABC):
    """Serves `Request.fixed_output`, thoughts, min_tokens with stop ids; the rest is `choose`."""

    def __init__(self, tokenizer: Tokenizer, thoughts: Thoughts | None = None) -> None:
        self._tokenizer = tokenizer
        self._thoughts = thoughts
        self._eos = tokenizer.eos_token_id or 0
        self._newline = tokenizer.encode("\n")

    def start(self, request: Request) -> OutputPlan:
        if request.fixed_output is not None:
            plan = self._fixed(request, request.fixed_output)
        else:
            plan = self.choose(request)
        thought = request.thought
        if thought is not None and self._thoughts is not None:
            plan = self._thoughts.before(request, thought, plan)
        elif thought is not None:
            plan = empty_thought(self._tokenizer, thought, plan)
        sampling = request.sampling
        if sampling.min_tokens and sampling.stop_token_ids:
            return MaskedPlan(plan, frozenset(sampling.stop_token_ids), sampling.min_tokens)
        return plan

    @abstractmethod
    def choose(self, request: Request) -> OutputPlan:
        """The plan of a request without `fixed_output`."""

    def _fixed(self, request: Request, text: str) -> OutputPlan:
        """Exactly `text`; where min_tokens asks for more, newlines follow, which JSON does not mind."""
        tokens = self._tokenizer.encode(text)
        length = max(len(tokens), request.sampling.min_tokens)
        return TokenPlan(tokens, self._newline, 0, length, self._eos)


class EchoText(BaseText):
    """The prompt's own text, as llm-d-inference-sim's echo mode: `Request.prompt_text`, ids as "1,2,3".

    max_tokens cuts it (finish reason length at n >= max_tokens); ignore_eos and min_tokens repeat it.
    """

    def choose(self, request: Request) -> OutputPlan:
        text = request.prompt_text
        if text is None:
            text = ",".join(map(str, request.prompt_token_ids))
        tokens = self._tokenizer.encode(text)
        sampling = request.sampling
        length = None if sampling.ignore_eos else max(len(tokens), sampling.min_tokens)
        return TokenPlan(tokens, tokens or self._newline, 0, length, self._eos)


class ConstantText:
    """One token for ever: answers nobody reads, ended by max_tokens alone (replays, sweeps)."""

    def __init__(self, token_id: int) -> None:
        self._plan = TokenPlan((), (token_id,) * 4096, 0, None, 0)  # long, so that slices are

    def start(self, request: Request) -> OutputPlan:
        return self._plan
