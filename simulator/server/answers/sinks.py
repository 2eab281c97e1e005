"""Between an engine's outputs and a choice: --stream-interval, slow readers, a fault that cuts streams."""

from __future__ import annotations

import asyncio
from io import StringIO
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


class Held:
    """Outputs of one sequence that are kept back, to be delivered as one.

    vLLM merges likewise what a stream has not taken yet (`v1/engine/output_processor.py`,
    RequestOutputCollector). A token costs its id and its text, a twentieth of its event.
    """

    __slots__ = ("_ids", "_last", "_text")

    def __init__(self) -> None:
        self._last: RequestOutput | None = None
        self._ids: list[int] = []
        self._text = StringIO()

    def __len__(self) -> int:
        """Tokens."""
        return len(self._ids)

    def add(self, output: RequestOutput) -> None:
        self._last = output
        self._ids += output.new_token_ids
        self._text.write(output.text)

    def take(self) -> RequestOutput | None:
        """All of them, in the shape of the last; None: there are none."""
        output, self._last = self._last, None
        if output is not None:
            output.new_token_ids, self._ids = self._ids, []
            output.text, self._text = self._text.getvalue(), StringIO()
        return output


class IntervalSink:
    """--stream-interval: the first token at once, then `interval` tokens in one piece, the last at once."""

    def __init__(self, sink: Sink, interval: int) -> None:
        self._sink = sink
        self._interval = interval
        self._held = Held()
        self._begun = False

    def on_output(self, output: RequestOutput) -> None:
        self._held.add(output)
        if len(self._held) >= self._interval or not self._begun or output.finish_reason is not None:
            self._begun = True
            self._sink.on_output(self._held.take() or output)


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
