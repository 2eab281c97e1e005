"""What a client asks of the sampling of its sequences, and how a sequence may end; vLLM's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class FinishReason(StrEnum):
    """Why a sequence ended, as vLLM reports it in `finish_reason` and in `request_success_total`."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"
    REPETITION = "repetition"


@dataclass(frozen=True)  # no slots: pydantic keeps fields that it does not know on the object, as vLLM does
class RepetitionDetectionParams:
    """When an output repeats itself and is ended for it (vLLM 0.33, `v1/core/sched/utils.py`).

    `min_pattern_size` (0: 1) to `max_pattern_size` tokens (0: off), `min_count` times in a row.

    Raises ValueError, with vLLM's words, for sizes that contradict each other or a count below 2.
    """

    max_pattern_size: int = 0
    min_pattern_size: int = 0
    min_count: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.min_pattern_size <= self.max_pattern_size:
            raise ValueError(
                "max_pattern_size, min_pattern_size must be >=0, with min_pattern_size <= max_pattern_size. "
                "Set both to 0 to disable repetitive pattern detection."
            )
        if self.max_pattern_size and self.min_count < 2:
            raise ValueError(
                "min_count must be >= 2 to detect repetitive patterns in engine output. If you do not wish "
                "to detect repetitive patterns, set max_pattern_size to 0."
            )

    def ends(self, script: Sequence[int], count: int) -> bool:
        """Whether the first `count` tokens of `script` end in a pattern that stands there often enough."""
        for size in range(max(self.min_pattern_size, 1), self.max_pattern_size + 1):
            start = count - size * self.min_count
            if start < 0:
                return False
            if script[count - 1] != script[count - 1 - size]:
                continue  # most sizes end here: a client may ask for very many
            if script[start + size : count] == script[start : count - size]:
                return True
        return False


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The part of vLLM's SamplingParams that changes what an engine without a model does.

    `max_tokens` is already clamped to the context; `logprobs` is the number of alternatives or None.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    repetition_detection: RepetitionDetectionParams | None = None
    include_stop_str_in_output: bool = False
    seed: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0  # traces tell it
    logprobs: int | None = None
    n: int = 1  # of the parent request; the engine sees one sequence
    skip_reading_prefix_cache: bool = False  # the whole prompt is computed: its logprobs are wanted
