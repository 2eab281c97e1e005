"""Thoughts in answers: whether a request's model thinks, and taking thought and content of its text apart.

The markers stand in `simulator.config.reasoning`. What the parsers of vLLM 0.33 do with them is done here on
text that comes in pieces: a marker may come in several, and is held back until it is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulator.config.compat import Compat
from simulator.config.reasoning import DIALECTS, Dialect, chat_template_kwargs, for_request
from simulator.config.serve import ServeConfig
from simulator.engine.sampling_params import SamplingParams
from simulator.engine.text.output_length import ThinkingLength
from simulator.engine.text.plans import Thought
from simulator.engine.text.tokenizer import Tokenizer
from simulator.server.requests.lean import ChatRequest

_MODELS_OWN = DIALECTS["qwen3"]  # how the model thinks where no parser says


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How a request's answer is taken apart. `thinks` False: all of it is content."""

    dialect: Dialect
    thinks: bool
    included: bool  # False: the client is not to see the thought
    key: str  # of messages and deltas
    begins_inside: bool  # the prompt ends with the start marker


def reasoning_key(compat: Compat) -> str | None:
    """The key of a thought in messages; None: the imitated server does not know thoughts."""
    return next(
        (key for key in ("reasoning", "reasoning_content") if key in compat.bodies.chat_message), None
    )


def plan_reasoning(
    request: ChatRequest, config: ServeConfig, compat: Compat, sampling: SamplingParams, prompt: str | None
) -> tuple[Reasoning | None, Thought | None]:
    """How a chat's answer is taken apart (None: not at all), and the thought that it begins with, if any."""
    settings = config.reasoning
    key = reasoning_key(compat)
    if key is None or (settings.parser is None and settings.thinking is None):
        return None, None
    kwargs = chat_template_kwargs(
        config.default_chat_template_kwargs, request.chat_template_kwargs, request.reasoning_effort
    )
    dialect, thinks = for_request(settings.parser, kwargs) if settings.parser else (_MODELS_OWN, True)
    if settings.parser is None and kwargs.get("enable_thinking") is False:
        thinks = False
    is_closed, inside = _in_prompt(dialect, prompt)
    thinks, inside = thinks and not is_closed, thinks and inside
    reasoning = None
    if settings.parser is not None:
        reasoning = Reasoning(dialect, thinks, request.include_reasoning, key, inside)
    if not thinks or settings.thinking is None:
        return reasoning, None
    length = settings.thinking
    if settings.is_default:
        half = sampling.max_tokens // 2
        length = replace(length, most=half if length.most is None else min(length.most, half))
    return reasoning, _thought(
        dialect, length, settings.forced_end, budget=request.thinking_token_budget, inside=inside
    )


def _in_prompt(dialect: Dialect, prompt: str | None) -> tuple[bool, bool]:
    """Whether the template has closed the thought already, and whether it has only opened it."""
    shown = (prompt or "").rstrip()
    if shown.endswith(dialect.end):
        return True, False
    return False, bool(dialect.start) and shown.endswith(dialect.start.rstrip())


def _thought(
    dialect: Dialect, length: ThinkingLength, forced_end: str | None, *, budget: int | None, inside: bool
) -> Thought:
    """A thought in the words of `dialect`; `inside`: the prompt has opened it already."""
    closing = ("\n", dialect.end)
    return Thought(
        opening=("\n",) if inside else (dialect.start, "\n"),
        closing=closing,
        length=length,
        gap=(dialect.gap,) if dialect.gap else (),
        ending=(dialect.ending,) if dialect.ending else (),
        budget=None if budget is None or budget < 0 else budget,
        forced_closing=closing if forced_end is None else (forced_end,),
    )


def _overlap(text: str, marker: str) -> int:
    """Characters at the end of `text` that `marker` may begin in."""
    for size in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:size]):
            return size
    return 0


class Splitter:
    """Takes one answer apart as it comes."""

    __slots__ = ("_content_begun", "_dialect", "_held", "_show", "_start_awaited", "_state")

    def __init__(self, reasoning: Reasoning) -> None:
        dialect = self._dialect = reasoning.dialect
        self._held = ""
        self._content_begun = False
        self._show = dialect.shows_thought or not reasoning.thinks
        self._state = "thought" if dialect.start_optional or reasoning.begins_inside else "before"
        self._start_awaited = dialect.start_optional and not reasoning.begins_inside

    @property
    def in_content(self) -> bool:
        """Whether the thought, if there is one, is over."""
        return self._show or self._state == "content"

    @property
    def is_through(self) -> bool:
        """Whether all that comes is content as it stands."""
        if self._show:
            return True
        return self._state == "content" and self._content_begun and not self._dialect.ending

    def feed(self, text: str, finished: bool) -> tuple[str, str]:
        """The thought and the content that a piece of the answer adds."""
        if self._show:
            return "", text
        self._held += text
        thought = content = ""
        if self._state == "before":
            content += self._find_start(finished)
        if self._state == "thought":
            thought = self._find_end(finished)
        if self._state == "content":
            content += self._rest(finished)
        return thought, content

    def _find_start(self, finished: bool) -> str:
        before, found, after = self._held.partition(self._dialect.start)
        if found:
            self._state, self._held = "thought", after
            return before
        return self._release(self._dialect.start, finished)

    def _release(self, marker: str, finished: bool) -> str:
        """What is held, but for an end that `marker` may begin in."""
        keep = 0 if finished else _overlap(self._held, marker)
        released = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return released

    def _find_end(self, finished: bool) -> str:
        start, end = self._dialect.start, self._dialect.end
        if self._start_awaited:
            if len(self._held) < len(start) and start.startswith(self._held) and not finished:
                return ""
            self._start_awaited = False
            self._held = self._held.removeprefix(start)
        before, found, after = self._held.partition(end)
        if found:
            self._state, self._held = "content", after
            return before
        return self._release(end, finished)

    def _rest(self, finished: bool) -> str:
        dialect = self._dialect
        if not self._content_begun:
            if dialect.strips_content:
                self._held = self._held.lstrip("\n")
            blank = not self._held.strip() if dialect.engine else not self._held
            if blank and not finished:
                return ""
            self._content_begun = True
        if not dialect.ending:
            said, self._held = self._held, ""
            return said
        said, found, _after = self._held.partition(dialect.ending)
        if found:
            self._held = ""
            return said
        return self._release(dialect.ending, finished)


def split_whole(reasoning: Reasoning, text: str) -> tuple[str | None, str | None]:
    """Thought and content of a whole answer; None where there is none of it."""
    dialect = reasoning.dialect
    if dialect.shows_thought and reasoning.thinks:
        return None, text if text.startswith(dialect.start) else dialect.start + text
    splitter = Splitter(reasoning)
    thought, content = splitter.feed(text, finished=True)
    if splitter.is_through and not reasoning.thinks:
        return None, content
    return (thought or (None if dialect.engine else thought)), content or None


class ThoughtCounter:
    """Counts a sequence's tokens between the markers, by their ids."""

    __slots__ = ("_end", "_inside", "_over", "_start", "_tail", "count")

    def __init__(self, reasoning: Reasoning, tokenizer: Tokenizer) -> None:
        dialect = reasoning.dialect
        self._start = tokenizer.encode(dialect.start)
        self._end = tokenizer.encode(dialect.end)
        self._tail: list[int] = []  # ids since a marker
        self._inside = dialect.counts_without_start and (dialect.start_optional or reasoning.begins_inside)
        self._over = not reasoning.thinks or dialect.shows_thought
        self.count = 0

    def feed(self, token_ids: Sequence[int]) -> None:
        """The next tokens of the sequence."""
        if self._over:
            return
        tail, start, end = self._tail, self._start, self._end
        for token_id in token_ids:
            tail.append(token_id)
            if tail[-len(start) :] == start and (not self._inside or len(tail) == len(start)):
                self._inside = True
                self.count = 0
                tail.clear()
            elif self._inside:
                self.count += 1
                if tail[-len(end) :] == end:
                    self.count -= len(end)
                    self._over = True
                    return
