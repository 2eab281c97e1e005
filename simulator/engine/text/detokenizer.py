"""Token ids to text while they are produced, with stop strings as vLLM's frontend handles them.

vLLM finds stop strings in the frontend, not in the scheduler: the text is trimmed and delivered at once, the
engine hears of it as an abort and computes one step more. While a stop string could still begin in them, the
last characters are held back.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from simulator.engine.sampling_params import FinishReason, SamplingParams
from simulator.engine.text.tokenizer import Tokenizer

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class IncrementalDetokenizer:
    """One sequence's text.

    `append(token_ids, finish)` returns the text to deliver now. When a stop string is found, `stop_reason`
    holds it: the text is already trimmed and flushed, the caller finishes the request with
    FinishReason.STOP and that reason and aborts it in the engine. `finish` is the engine's own finish reason
    that comes with these ids (None while it goes on); STOP means that the last id is EOS or a stop id, which
    is left out of the text unless `include_stop_str_in_output`.
    Characters are never cut: bytes wait for the rest of theirs, and are dropped when the rest never comes.
    """

    __slots__ = (
        "_decoder",
        "_delivered",
        "_include",
        "_is_special",
        "_longest",
        "_min_tokens",
        "_num_tokens",
        "_stop",
        "_tail",
        "_token_text",
        "_tokenizer",
        "stop_reason",
    )

    def __init__(self, tokenizer: Tokenizer, sampling: SamplingParams) -> None:
        self.stop_reason: str | None = None
        self._tokenizer = tokenizer
        self._token_text = tokenizer.token_text
        self._is_special = tokenizer.is_special
        self._decoder: codecs.IncrementalDecoder | None = None  # set while a character is incomplete
        self._stop = sampling.stop
        self._include = sampling.include_stop_str_in_output
        self._min_tokens = sampling.min_tokens
        self._longest = max(map(len, sampling.stop), default=1)
        self._num_tokens = 0
        # with stop strings: the end of the text, and how many of its characters were delivered
        self._tail = ""
        self._delivered = 0

    def append(self, token_ids: Sequence[int], finish: FinishReason | None = None) -> str:
        if finish is FinishReason.STOP and not self._include and token_ids:
            token_ids = token_ids[:-1]
        if self._stop:
            return self._append_checked(token_ids, finish)
        return "".join(self.pieces(token_ids))

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The characters that each of the ids completes; for sequences without stop strings."""
        if self._decoder is None:
            texts = list(map(self._token_text, token_ids))
            if None not in texts:
                return texts  # type: ignore[return-value]  # whole characters all: as one by one, but faster
        return list(map(self._text_of, token_ids))

    def _text_of(self, token_id: int) -> str:
        """The characters that this id completes."""
        if self._decoder is None:
            text = self._token_text(token_id)
            if text is not None:
                return text
        if self._is_special(token_id):
            return ""
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = _Utf8Decoder("replace")
        text = decoder.decode(self._tokenizer.token_bytes(token_id))
        if not decoder.getstate()[0]:
            self._decoder = None
        return text

    def _append_checked(self, token_ids: Sequence[int], finish: FinishReason | None) -> str:
        unchecked = len(self._tail)  # stop strings may end in characters from here on
        for token_id in token_ids:
            self._tail += self._text_of(token_id)
            self._num_tokens += 1
            if self._num_tokens <= self._min_tokens:
                unchecked = len(self._tail)
        if self._num_tokens > self._min_tokens and self._find_stop(unchecked):
            return self._deliver(held_back=0)
        finished = finish is not None
        return self._deliver(0 if finished or self._include else self._longest - 1)

    def _find_stop(self, unchecked: int) -> bool:
        """Trim to the first listed (not the leftmost) stop string that ends beyond `unchecked`, if any."""
        tail = self._tail
        if len(tail) == unchecked:
            return False
        for stop in self._stop:
            at = tail.find(stop, max(0, unchecked - len(stop) + 1))
            if at >= 0:
                self._tail = tail[: at + len(stop) if self._include else at]
                self.stop_reason = stop
                return True
        return False

    def _deliver(self, held_back: int) -> str:
        end = max(len(self._tail) - held_back, self._delivered)
        text = self._tail[self._delivered : end]
        # keep what a stop string may still begin in, delivered or not
        forget = max(0, min(end, len(self._tail) - self._longest + 1))
        self._tail = self._tail[forget:]
        self._delivered = end - forget
        return text
