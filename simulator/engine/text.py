"""What the model "says": the TextSource and OutputPlan Protocols."""

from __future__ import annotations

from typing import Protocol

from simulator.engine.request import Request


class OutputPlan(Protocol):
    """The answer of one sequence, decided when the request is added."""

    @property
    def length(self) -> int | None:
        """Tokens before EOS; None: never stops by itself. `token(length)` is the EOS id, which counts as
        an output token, as in vLLM. min_tokens and ignore_eos are already in it."""

    def token(self, i: int) -> int:
        """Id at output position i: deterministic, random access, any i >= 0 (EOS at and after `length`)."""


class TextSource(Protocol):
    """Decides answers; called once per sequence, when it is added."""

    def start(self, request: Request) -> OutputPlan: ...
