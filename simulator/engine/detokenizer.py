"""Token ids to text while they are produced, with stop strings as vLLM's frontend handles them."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.engine.request import FinishReason, Request
from simulator.engine.tokenizer import Tokenizer


class IncrementalDetokenizer:
    """One sequence's text.

    `append(token_ids, finish)` returns the text to deliver now. When a stop string is found, `stop_reason`
    holds it: the text is already trimmed and flushed, the caller finishes the request with
    FinishReason.STOP and that reason and aborts it in the engine. `finish` is the engine's own finish reason
    that comes with these ids (None while it goes on); STOP means that the last id is EOS or a stop id.
    """

    __slots__ = ("stop_reason",)

    def __init__(self, tokenizer: Tokenizer, request: Request) -> None:
        self.stop_reason: str | None = None

    def append(self, token_ids: Sequence[int], finish: FinishReason | None = None) -> str:
        raise NotImplementedError
