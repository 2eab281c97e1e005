"""Between an engine's outputs and a choice: --stream-interval, slow readers, a fault that cuts streams."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

from simulator.engine.outputs import RequestOutput
from simulator.server.driver import Sink


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
