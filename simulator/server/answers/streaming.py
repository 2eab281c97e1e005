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
    called = False  # whether the last output was (part of) a tool call

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
        self.called = False
        data = self.chunks(sequence, output)
        if self.job.parsed_as is not None:
            self._count_parser(sequence, self.job.parsed_as)
        if output.finish_reason is not None and self.sequence_ended():
            self.exchange.writer.write(data + self._end(sequence), more=False)
        elif data:
            self.exchange.writer.write(data)

    def _count_parser(self, sequence: Sequence, route: str) -> None:
        """vLLM counts its tool parser once a delta; what went out in frames since is counted here too."""
        new = sequence.num_tokens - sequence.num_parsed
        if not new:
            return
        sequence.num_parsed += new
        if sequence.splitter is not None and not sequence.splitter.in_content:
            return
        outcome = "tool_call" if self.called else "no_tool_call"
        self.replica.count_tool_parser("streaming", outcome, route, new if sequence.frame is not None else 1)

    def write_error(self, error: ApiError) -> None:
        self.exchange.writer.write(error.event() + self.DONE, more=False)
