"""What vLLM does in the API process with a step's tokens: text, stop strings, and the metrics of requests.

Source: vLLM `v1/engine/output_processor.py`, `v1/metrics/stats.py` (IterationStats, FinishedRequestStats).
"""

from __future__ import annotations

from simulator.engine.lora_slots import LoRAManager
from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason, Request
from simulator.engine.stats import EngineStats
from simulator.engine.text.detokenizer import IncrementalDetokenizer
from simulator.engine.text.tokenizer import Tokenizer


class Frontend:
    """`stopped` collects sequences that ended on a stop string while the engine still runs them."""

    def __init__(
        self,
        stats: EngineStats,
        tokenizer: Tokenizer | None,
        loras: LoRAManager | None,
        count_whole_prompt: bool,
    ) -> None:
        self.stats = stats
        self.stopped: list[Request] = []
        self._tokenizer = tokenizer
        self._loras = loras
        self._count_whole_prompt = count_whole_prompt
        self._parents: dict[
            tuple[str, int], list[int]
        ] = {}  # [samples to come, finished ones, most output tokens]

    def deliver(self, emitted: list[Request], now: float, extra_tokens: int = 0) -> list[RequestOutput]:
        """One iteration: each of `emitted` got a token that became visible at `now`.

        `extra_tokens` came beyond those.
        """
        outputs: list[RequestOutput] = []
        if not emitted:
            return outputs
        stats = self.stats
        gaps: dict[float, int] = {}
        common, same = 0.0, 0  # most sequences got their last token in the same step
        prompt_tokens = 0
        for request in emitted:
            last = request.last_token_time
            if last == common:
                same += 1
            elif last is None:
                prompt_tokens += self._first_token(request, now)
            else:
                gaps[common] = gaps.get(common, 0) + same
                common, same = last, 1
            request.last_token_time = now
            if not request.silent:
                output = self._look(request, now)
                if output is not None:
                    outputs.append(output)
        gaps[common] = gaps.get(common, 0) + same
        for last, times in gaps.items():
            if times:
                stats.inter_token_latency_seconds.observe(now - last, times)
        tokens = len(emitted) + extra_tokens
        stats.generation_tokens += tokens
        stats.iteration_tokens_total.observe(prompt_tokens + tokens)
        return outputs

    def _look(self, request: Request, now: float) -> RequestOutput | None:
        """A sequence that is not `silent`; it is from here on, if all it does is to be computed."""
        if request.reported_preemptions != request.num_preemptions:
            self.stats.num_preemptions += request.num_preemptions - request.reported_preemptions
            request.reported_preemptions = request.num_preemptions
        if request.stream or request.finish_reason is not None or request.sampling.stop:
            return self._output(request, now)
        request.silent = True
        return None

    def stream(self, request: Request, start: int, times: list[float]) -> list[RequestOutput]:
        """Outputs of a streaming sequence without stop strings: token `start + i` came at `times[i]`."""
        detokenizer = self._detokenizer(request)
        ids = request.script[start : start + len(times)]
        texts = [""] * len(ids) if detokenizer is None else detokenizer.pieces(ids)
        request.delivered = request.detokenized = start + len(times)
        return [
            RequestOutput(request, [token], text, time)
            for token, text, time in zip(ids, texts, times, strict=True)
        ]

    def end(self, request: Request, now: float) -> RequestOutput:
        """The last output of a sequence that the server ends: no token, but counted."""
        now = max(now, request.queued_time)  # a boundary of the past may end one that it has not seen
        output = self._text_output(request, now)
        self._finished(request, now)
        return output

    def forget(self, request: Request) -> None:
        """The client has left: nothing is delivered or counted any more."""
        if self._loras is not None and request.first_token_time is not None:
            self._loras.last_output(request)
        if request.sampling.n > 1:
            self._parent_done(request)

    def _first_token(self, request: Request, now: float) -> int:
        """Returns what the prompt adds to iteration_tokens_total."""
        stats = self.stats
        request.first_token_time = now
        stats.time_to_first_token_seconds.observe(now - request.arrival_time)
        local, external = request.num_cached_tokens, request.num_external_cached_tokens
        total = request.num_prompt_tokens
        computed = total - local - external
        stats.prompt_tokens_local_compute += computed
        stats.prompt_tokens_local_cache_hit += local
        stats.prompt_tokens_external += external
        if self._loras is not None:
            self._loras.first_output(request)
        return total if self._count_whole_prompt else computed

    def _output(self, request: Request, now: float) -> RequestOutput | None:
        """The output of a sequence that streams, ends here or may end on a stop string."""
        if not request.stream and request.finish_reason is None:
            self._scan(request)
            if request.finish_reason is None:
                return None
        output = self._text_output(request, now)
        if output.finish_reason is not None:
            self._finished(request, now)
        return output

    def _scan(self, request: Request) -> None:
        """Look for a stop string; the text waits in the request until it ends."""
        detokenizer = self._detokenizer(request)
        if detokenizer is not None:
            count = request.num_output_tokens
            ids = request.script[request.detokenized : count]
            request.pending_text += detokenizer.append(ids, request.finish_reason)
            request.detokenized = count
            self._note_stop(request, detokenizer)

    def _text_output(self, request: Request, now: float) -> RequestOutput:
        self._scan(request)
        text, request.pending_text = request.pending_text, ""
        count = request.num_output_tokens
        ids = request.script[request.delivered : count]
        request.delivered = count
        return RequestOutput(
            request, ids, text, now, request.finish_reason, request.stop_reason, request.kv_transfer_output
        )

    def _detokenizer(self, request: Request) -> IncrementalDetokenizer | None:
        if request.detokenizer is None and self._tokenizer is not None:
            request.detokenizer = IncrementalDetokenizer(self._tokenizer, request.sampling)
        return request.detokenizer

    def _note_stop(self, request: Request, detokenizer: IncrementalDetokenizer) -> None:
        """A stop string wins over whatever else ended the sequence with the same token."""
        if detokenizer.stop_reason is None or request.stop_reason == detokenizer.stop_reason:
            return
        if request.finish_reason is None:
            self.stopped.append(request)
        request.finish_reason = FinishReason.STOP
        request.stop_reason = detokenizer.stop_reason

    def _finished(self, request: Request, now: float) -> None:
        stats, sampling = self.stats, request.sampling
        num_output = request.num_output_tokens
        scheduled = now if request.scheduled_time is None else request.scheduled_time
        first = now if request.first_token_time is None else request.first_token_time
        last = now if request.last_token_time is None else request.last_token_time
        assert request.finish_reason is not None
        stats.request_success[request.finish_reason.value] += 1
        stats.e2e_request_latency_seconds.observe(now - request.arrival_time)
        stats.request_queue_time_seconds.observe(scheduled - request.queued_time)
        stats.request_prefill_time_seconds.observe(first - scheduled)
        stats.request_inference_time_seconds.observe(last - scheduled)
        stats.request_decode_time_seconds.observe(last - first)
        stats.request_time_per_output_token_seconds.observe(
            (last - first) / (num_output - 1) if num_output > 1 else 0.0
        )
        stats.request_prompt_tokens.observe(request.num_prompt_tokens)
        stats.request_generation_tokens.observe(num_output)
        stats.request_num_preemptions.observe(request.reported_preemptions)
        cached = max(request.num_cached_tokens, 0) + request.num_external_cached_tokens
        stats.request_prefill_kv_computed_tokens.observe(request.num_prompt_tokens - cached)
        if sampling.max_tokens:
            stats.request_params_max_tokens.observe(sampling.max_tokens)
        if sampling.n > 1:
            self._parent_done(request)
        else:
            stats.request_params_n.observe(1)
            stats.request_max_num_generation_tokens.observe(num_output)
        if self._loras is not None and request.first_token_time is not None:
            self._loras.last_output(request)

    def _parent_done(self, request: Request) -> None:
        """One of n samples of a prompt is done; with the last, what concerns the prompt is observed."""
        n = request.sampling.n
        key = (request.parent_id or request.request_id, request.index // n)
        parent = self._parents.setdefault(key, [n, 0, 0])
        parent[0] -= 1
        if request.finish_reason is not None and request.finish_reason is not FinishReason.ABORT:
            parent[1] += 1
            parent[2] = max(parent[2], request.num_output_tokens)
        if parent[0] == 0:
            del self._parents[key]
            if parent[1] == n:
                self.stats.request_params_n.observe(n)
                self.stats.request_max_num_generation_tokens.observe(parent[2])
