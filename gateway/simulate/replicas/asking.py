"""From what a client sends to the engine's request, by the server's own rules for prompts and sampling.

A body is read, its prompt rendered and tokenized as the live replica does it. A request out of a trace has no
body: its prompt is laid out by structure (simulator/replay/prompts.py), its answer has the trace's length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from gateway.errors import UndoneError
from simulator.config.compat import compat
from simulator.config.serve import ServeConfig
from simulator.engine.request import LoRARequest, Request, SamplingParams
from simulator.engine.text.tokenizer import Tokenizer
from simulator.replay.prompts import Prefixes
from simulator.replay.trace import TraceRequest
from simulator.server.errors import ApiError, unknown_model
from simulator.server.requests.lean import ChatRequest, CompletionRequest, GenerationRequest
from simulator.server.requests.prompts import PromptRules, chat_prompt, completion_prompts
from simulator.server.requests.sampling import sampling_params

_decode_completion = msgspec.json.Decoder(CompletionRequest).decode
_decode_chat = msgspec.json.Decoder(ChatRequest).decode
# Fields that change what is computed, and whose work nobody does here.
_UNDONE = ("tools", "response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice")


@dataclass(slots=True)
class Asking:
    """What turns requests into engine requests on the replicas of one workload."""

    config: ServeConfig
    tokenizer: Tokenizer
    prefixes: Prefixes
    loras: Mapping[str, LoRARequest] = field(default_factory=dict)

    def of_body(self, request_id: str, path: str, body: bytes, model: str) -> Request:
        """`model` is the name that the picker has sent on.

        ApiError where the server would refuse it, UndoneError where it is not simulated."""
        try:
            is_chat = path.partition("?")[0].endswith("/chat/completions")
            asked: GenerationRequest = _decode_chat(body) if is_chat else _decode_completion(body)
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
        ) as error:  # a type that only pydantic converts, or no JSON at all
            raise ApiError(f"the body cannot be read: {error}") from error
        _check_done(asked)
        rules = PromptRules(self.config, compat(self.config.compat), self.tokenizer)
        if isinstance(asked, ChatRequest):
            prompt = chat_prompt(asked, rules)
        else:
            assert isinstance(asked, CompletionRequest)
            prompts = completion_prompts(asked, rules)
            if len(prompts) > 1:
                raise UndoneError(f"{len(prompts)} prompts in one request")
            prompt = prompts[0]
        sampling = sampling_params(asked, len(prompt.token_ids), self.config, rules.compat)
        if sampling.n > 1:
            raise UndoneError(f"n={sampling.n}")
        return Request(
            request_id,
            prompt.token_ids,
            sampling,
            priority=asked.priority,
            lora=self._lora(model),
            cache_salt=asked.cache_salt,
            prompt_text=prompt.text,
            stream=False,
        )

    def of_trace(self, request_id: str, traced: TraceRequest) -> Request:
        """ApiError where it is longer than the model's context."""
        why = traced.over_long(self.config.engine)
        if why is not None:
            raise ApiError(why)
        ids, hashes = self.prefixes.lay_out(traced.prompt)
        sampling = SamplingParams(max_tokens=traced.output_tokens, ignore_eos=True)
        return Request(request_id, ids, sampling, stream=False, block_hashes=hashes)

    def _lora(self, model: str | None) -> LoRARequest | None:
        served = self.config.served_model_names
        imitated = compat(self.config.compat)
        if model in served or (not model and imitated.missing_model == "first-served"):
            return None
        lora = self.loras.get(model or "")
        if lora is None:
            raise unknown_model(imitated, model or "", served)
        return lora


def _check_done(asked: GenerationRequest) -> None:
    for name in _UNDONE:
        if getattr(asked, name, None):
            raise UndoneError(name)
    if asked.kv_transfer_params is not None:
        raise UndoneError("kv_transfer_params")
