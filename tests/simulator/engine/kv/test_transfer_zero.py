"""A pull that takes no time still ends: the decode leg of an engine without latency."""

from __future__ import annotations

from simulator.config.resolve import parse_args
from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.request import FinishReason, Request, SamplingParams
from simulator.engine.text.phrases import PhraseBook
from simulator.engine.text.random_text import RandomText
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.sources.parts import latency_model


def test_a_pull_without_latency_ends() -> None:
    config = parse_args(["--model", "m", "--latency", "zero"], {})
    tokenizer = RegexTokenizer()
    text = RandomText(PhraseBook(tokenizer), max_model_len=1024)
    engine = Engine(EngineConfig(), latency_model(config.latency, 4, 0), text, tokenizer)
    pulled = {"do_remote_prefill": True, "remote_block_ids": [1, 2], "remote_engine_id": "x"}
    sampling = SamplingParams(max_tokens=3, ignore_eos=True)
    engine.add_request(Request("a", list(range(5, 40)), sampling, kv_transfer_params=pulled), 1.0)
    reasons = [o.finish_reason for step in engine.fast_forward(2.0) for o in step.outputs]
    assert reasons[-1] is FinishReason.LENGTH
    assert engine.peek() is None
    engine.check_invariants()
