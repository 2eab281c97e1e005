"""Between an engine's outputs and a choice: --stream-interval, and the fault that cuts streams."""

from __future__ import annotations

from collections.abc import Callable

from simulator.engine.outputs import RequestOutput
from simulator.server.driver import Sink


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
    """A fault: after `limit` tokens of a sequence `cut` ends its answer, as a dying server would.

    Where `streams` is set, the tokens at the limit still go out.
    """

    def __init__(self, sink: Sink, limit: int, streams: bool, cut: Callable[[], None]) -> None:
        self._sink = sink
        self._left = limit
        self._streams = streams
        self._cut = cut

    def on_output(self, output: RequestOutput) -> None:
        self._left -= len(output.new_token_ids)
        if self._left > 0:
            self._sink.on_output(output)
            return
        if self._streams and output.finish_reason is None:
            self._sink.on_output(output)
        self._cut()
