"""Text and stop strings as vLLM's frontend delivers them."""

from __future__ import annotations

import pytest

from simulator.engine.request import FinishReason, SamplingParams
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from tests.simulator.engine.build import Says, engine, outputs, request, run, scheduled_tokens

TOKENIZER = RegexTokenizer()
TEXT = "The quick brown fox jumps over the lazy dog"
TOKENS = TOKENIZER.encode(TEXT)


def test_text_comes_with_its_tokens() -> None:
    made = engine(text=Says(TOKENS), tokenizer=TOKENIZER)
    made.add_request(request("a", 10, 50), 0.0)
    got = outputs(run(made))["a"]
    assert [output.text for output in got] == [TOKENIZER.decode([token]) for token in TOKENS] + [""]
    assert got[-1].finish_reason is FinishReason.STOP


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("async_scheduling", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_a_stop_string_ends_the_text_at_once_and_the_engine_one_step_later(
    stream: bool, async_scheduling: bool, fast: bool
) -> None:
    made = engine(text=Says(TOKENS), tokenizer=TOKENIZER, async_scheduling=async_scheduling)
    sampling = SamplingParams(max_tokens=50, stop=(" fox",))
    asked = request("a", sampling=sampling, stream=stream)
    made.add_request(asked, 0.0)
    steps = made.fast_forward(100.0) if fast else run(made)
    got = outputs(steps)["a"]
    needed = len(TOKENIZER.encode("The quick brown fox"))
    assert "".join(output.text for output in got) == "The quick brown"
    assert [output.finish_reason for output in got][-1] is FinishReason.STOP
    assert got[-1].stop_reason == " fox"
    assert got[-1].time == float(needed)
    assert asked.num_output_tokens == needed
    surplus = next(step for step in steps if step.end > needed)
    assert scheduled_tokens(surplus) == {"a": 1}
    assert made.stats.request_success["stop"] == 1
    assert made.stats.generation_tokens == needed
    assert made.num_unfinished == 0
    assert made.peek() is None
    made.check_invariants()


def test_a_stop_string_with_the_last_token_wins_over_length() -> None:
    made = engine(text=Says(TOKENS), tokenizer=TOKENIZER)
    needed = len(TOKENIZER.encode("The quick brown"))
    made.add_request(request("a", sampling=SamplingParams(max_tokens=needed, stop=(" brown",))), 0.0)
    last = outputs(run(made))["a"][-1]
    assert (last.finish_reason, last.stop_reason) == (FinishReason.STOP, " brown")
    assert made.stats.request_success == {"stop": 1, "length": 0, "abort": 0, "error": 0, "repetition": 0}


def test_a_client_may_leave_in_the_surplus_step() -> None:
    made = engine(text=Says(TOKENS), tokenizer=TOKENIZER)
    made.add_request(request("a", sampling=SamplingParams(max_tokens=50, stop=("The",))), 0.0)
    run(made, until=1.0)
    made.abort(["a"], 1.5)
    run(made)
    assert made.num_unfinished == 0
    assert made.stats.request_success["stop"] == 1
    made.check_invariants()


@pytest.mark.parametrize("fast", [False, True])
def test_without_stream_the_text_is_whole(fast: bool) -> None:
    made = engine(text=Says(TOKENS), tokenizer=TOKENIZER)
    made.add_request(request("a", 10, 50, stream=False), 0.0)
    steps = made.fast_forward(100.0) if fast else run(made)
    (output,) = outputs(steps)["a"]
    assert output.text == TEXT
    assert output.new_token_ids == [*TOKENS, 2]
