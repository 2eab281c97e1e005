"""Between an engine's outputs and a choice: --stream-interval, and the fault that cuts streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from simulator.engine.outputs import RequestOutput
from simulator.server.driver import Sink

if TYPE_CHECKING:
    from simulator.server.answers.generation import Sequence

_LAST_WORDS_SECONDS: Final = 0.005


def sink_for(sequence: Sequence) -> Sink:
    """The sink of a sequence as its replica is set up now."""
    generation = sequence.generation
    sink: Sink = sequence
    interval = generation.replica.config.stream_interval
    if interval > 1 and generation.job.stream:
        sink = IntervalSink(sink, interval)
    limit = generation.front.faults.cut_stream_after
    if limit is not None:
        sink = CuttingSink(sink, sequence, limit)
    return sink


class IntervalSink:
    """--stream-interval: the first token at once, then `interval` tokens in one piece, the last at once."""

    def __init__(self, sink: Sink, interval: int) -> None:
        self._sink = sink
        self._interval = interval
        self._held: RequestOutput | None = None
        self._begun = False

    def on_output(self, output: RequestOutput) -> None:
        held = self._held
        if held is not None:
            output.new_token_ids = held.new_token_ids + output.new_token_ids
            output.text = held.text + output.text
        enough = len(output.new_token_ids) >= self._interval or not self._begun
        if enough or output.finish_reason is not None:
            self._begun = True
            self._held = None
            self._sink.on_output(output)
        else:
            self._held = output


class CuttingSink:
    """A fault: after so many tokens of a sequence its connection is reset, as by a dying server."""

    def __init__(self, sink: Sink, sequence: Sequence, limit: int) -> None:
        self._sink = sink
        self._sequence = sequence
        self._left = limit

    def on_output(self, output: RequestOutput) -> None:
        self._left -= len(output.new_token_ids)
        generation = self._sequence.generation
        if self._left > 0:
            self._sink.on_output(output)
            return
        if generation.job.stream and output.finish_reason is None:
            self._sink.on_output(output)
        generation.abort()
        # What has been written is to arrive first; a reset would overtake it.
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, generation.exchange.hang_up)
