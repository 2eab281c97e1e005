"""Answers that are streams of events, and what a client's stream_options make of them."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.generation import Generation, Sequence
from simulator.server.errors import ApiError
from simulator.server.requests.lean import StreamOptions


@dataclass(frozen=True, slots=True)
class StreamShape:
    """Which chunks carry usage."""

    usage: bool  # a last chunk with usage
    continuous: bool  # usage on every chunk

    @classmethod
    def of(cls, options: StreamOptions | None, generation: Generation) -> StreamShape:
        usage = bool(options and options.include_usage)
        continuous = usage and bool(options and options.continuous_usage_stats)
        return cls(usage or generation.replica.config.enable_force_include_usage, continuous)


class StreamGeneration(Generation):
    """Writes events as outputs come; headers are out before the first."""

    DONE = b"data: [DONE]\n\n"

    def begin(self) -> bytes:
        """What goes out with the headers, before the first token."""
        return b""

    def chunks(self, sequence: Sequence, output: RequestOutput) -> bytes:
        """The events of one output; empty where a client would see nothing of it."""
        raise NotImplementedError

    def _end(self, sequence: Sequence) -> bytes:
        """What follows the last output, `sequence` being the last to end."""
        raise NotImplementedError

    def on_output(self, sequence: Sequence, output: RequestOutput) -> None:
        if output.finish_reason is FinishReason.ERROR:
            self.fail()
            return
        if output.kv_transfer_params is not None:
            self.kv_transfer_params = output.kv_transfer_params
        data = self.chunks(sequence, output)
        if output.finish_reason is not None and self.sequence_ended():
            self.exchange.writer.write(data + self._end(sequence), more=False)
        elif data:
            self.exchange.writer.write(data)

    def write_error(self, error: ApiError) -> None:
        self.exchange.writer.write(error.event() + self.DONE, more=False)
