"""What the model says, and for how long."""

from __future__ import annotations

import statistics
from collections import Counter
from random import Random

import pytest

from simulator.engine.request import LoRARequest, Request, SamplingParams
from simulator.engine.text import output_length
from simulator.engine.text.dataset_text import Dataset, DatasetRow, DatasetText
from simulator.engine.text.phrases import SENTENCES, PhraseBook
from simulator.engine.text.plans import MaskedPlan, OutputPlan, TokenPlan
from simulator.engine.text.random_text import RandomText
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.engine.text.text_source import ConstantText, EchoText, TextSource
from simulator.engine.text.vocabulary import EOS_ID
from simulator.errors import ConfigError

TOKENIZER = RegexTokenizer()
BOOK = PhraseBook(TOKENIZER)


def request(
    text: str = "hello", *, index: int = 0, lora: LoRARequest | None = None, **sampling: object
) -> Request:
    params = SamplingParams(**sampling)  # type: ignore[arg-type]
    return Request("r", TOKENIZER.encode(text), params, index=index, lora=lora, prompt_text=text)


def tokens(plan: OutputPlan, maximum: int) -> list[int]:
    """What an engine would collect: up to EOS or the maximum."""
    out = []
    for i in range(maximum):
        out.append(plan.token(i))
        if out[-1] == EOS_ID:
            break
    return out


def answer(source: TextSource, asked: Request) -> list[int]:
    return tokens(source.start(asked), asked.sampling.max_tokens)


def text(source: TextSource, asked: Request) -> str:
    return TOKENIZER.decode(answer(source, asked), skip_special_tokens=True)


def random_text(seed: int = 0) -> RandomText:
    return RandomText(BOOK, max_model_len=100_000, seed=seed)


def test_answers_are_sentences() -> None:
    said = text(random_text(), request(max_tokens=200, ignore_eos=True))
    assert any(said.startswith(sentence) for sentence in SENTENCES)
    assert len(answer(random_text(), request(max_tokens=200, ignore_eos=True))) == 200


def test_the_server_seed_repeats_a_run() -> None:
    def run(seed: int) -> list[list[int]]:
        source = random_text(seed)
        return [answer(source, request(max_tokens=50)) for _ in range(10)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert len({tuple(said) for said in run(1)}) > 5


def test_the_request_seed_repeats_an_answer_on_any_replica() -> None:
    asked = request(max_tokens=80, seed=7)
    assert answer(random_text(1), asked) == answer(random_text(2), asked)
    others = {tuple(answer(random_text(), request(max_tokens=80, seed=7, index=i))) for i in range(4)}
    assert len(others) > 1


def test_temperature_zero_depends_on_prompt_and_adapter_alone() -> None:
    asked = request("a question", max_tokens=80, temperature=0.0)
    assert answer(random_text(1), asked) == answer(random_text(2), asked)
    adapters = (None, LoRARequest("a", 1), LoRARequest("b", 2), LoRARequest("c", 3))
    variants = (request("a question", max_tokens=80, temperature=0.0, lora=lora) for lora in adapters)
    assert len({tuple(answer(random_text(), variant)) for variant in variants}) > 1


@pytest.mark.parametrize(("maximum", "mean"), [(100, 48.1), (200, 76.4)])
def test_lengths_below_a_maximum(maximum: int, mean: float) -> None:
    source = random_text(3)
    lengths = [len(answer(source, request(max_tokens=maximum))) for _ in range(4000)]
    assert statistics.mean(lengths) == pytest.approx(mean, rel=0.05)
    assert max(lengths) == maximum
    assert sum(n == maximum for n in lengths) / len(lengths) == pytest.approx(0.15, abs=0.02)


def test_length_ranges_of_llm_d() -> None:
    rng = Random(1)
    counts = Counter(output_length.below_maximum(200, rng) for _ in range(20_000))
    for first, last, share in [(1, 20, 0.2), (21, 40, 0.3), (41, 60, 0.2), (61, 180, 0.05), (181, 199, 0.1)]:
        assert sum(counts[n] for n in range(first, last + 1)) / 20_000 == pytest.approx(share, abs=0.015)
    assert counts[200] / 20_000 == pytest.approx(0.15, abs=0.015)
    assert {output_length.below_maximum(6, rng) for _ in range(200)} == {1, 2, 3, 4, 5, 6}
    assert {output_length.below_maximum(1, rng) for _ in range(10)} == {1}
    for maximum in (7, 100, 101, 102, 1000):
        drawn = {output_length.below_maximum(maximum, rng) for _ in range(3000)}
        assert min(drawn) >= 1
        assert max(drawn) == maximum


def test_lengths_without_a_maximum() -> None:
    asked = request()
    free = RandomText(BOOK, max_model_len=1000, seed=4)
    lengths = [len(answer(free, request(max_tokens=1000 - asked.num_prompt_tokens))) for _ in range(2000)]
    assert statistics.mean(lengths) == pytest.approx(41, rel=0.06)
    assert max(lengths) < 150
    rng = Random(1)
    assert {output_length.without_maximum(3, rng) for _ in range(100)} == {1, 2, 3}
    assert output_length.without_maximum(0, rng) == 0


def test_an_answer_is_never_empty() -> None:
    source = random_text(5)
    assert all(text(source, request(max_tokens=2)) for _ in range(100))


def test_min_tokens() -> None:
    source = random_text(6)
    assert all(len(answer(source, request(max_tokens=60, min_tokens=50))) >= 50 for _ in range(200))


def test_min_tokens_keeps_stop_ids_away() -> None:
    every = [random_text().start(request(max_tokens=60, ignore_eos=True, seed=1)).token(i) for i in range(60)]
    asked = request(max_tokens=60, ignore_eos=True, seed=1, min_tokens=30, stop_token_ids=tuple(set(every)))
    plan = random_text().start(asked)
    assert not set(every) & {plan.token(i) for i in range(30)}
    assert [plan.token(i) for i in range(30, 60)] == every[30:]


def test_ignore_eos_never_ends() -> None:
    plan = random_text().start(request(max_tokens=10, ignore_eos=True))
    assert plan.length is None
    assert EOS_ID not in {plan.token(i) for i in range(60_000, 60_100)}


def test_echo() -> None:
    assert text(EchoText(TOKENIZER), request("naïve café 🙂!", max_tokens=100)) == "naïve café 🙂!"
    assert answer(EchoText(TOKENIZER), request("This is a test.", max_tokens=100))[-1] == EOS_ID
    assert text(EchoText(TOKENIZER), request("This is a test.", max_tokens=2)) == "This is"


def test_echo_of_token_ids() -> None:
    asked = Request("r", [1, 22, 333], SamplingParams(max_tokens=50))
    assert text(EchoText(TOKENIZER), asked) == "1,22,333"


def test_echo_goes_on_under_ignore_eos() -> None:
    asked = request("This is", max_tokens=5, ignore_eos=True)
    assert text(EchoText(TOKENIZER), asked) == "This isThis isThis"
    assert len(answer(EchoText(TOKENIZER), request("", max_tokens=3, ignore_eos=True))) == 3


@pytest.mark.parametrize("source", [random_text(), EchoText(TOKENIZER)])
def test_a_fixed_output_is_said_by_every_source(source: TextSource) -> None:
    asked = request(max_tokens=100)
    asked.fixed_output = '{"city": "Köln"}'
    assert text(source, asked) == '{"city": "Köln"}'
    asked.sampling = SamplingParams(max_tokens=100, min_tokens=40)
    assert text(source, asked).rstrip("\n") == '{"city": "Köln"}'
    assert len(answer(source, asked)) == 41


def test_constant_text_ends_by_max_tokens_alone() -> None:
    assert answer(ConstantText(99), request(max_tokens=4)) == [99] * 4


ROWS = [
    DatasetRow("What is up?", "The sky."),
    DatasetRow("What is up?", "Everything that is not down, to be exact, and more besides."),
    DatasetRow("Name a fish", "A trout."),
]


def dataset_text(rows: list[DatasetRow] | None = None) -> DatasetText:
    return DatasetText(Dataset(rows or ROWS, BOOK), seed=1)


def test_the_data_set_answers_its_own_prompts() -> None:
    source = dataset_text()
    said = {text(source, request(" What is up?\n", max_tokens=100)) for _ in range(50)}
    assert said == {"The sky.", "Everything that is not down, to be exact, and more besides."}


def test_the_data_set_prefers_what_fits() -> None:
    assert {text(dataset_text(), request("What is up?", max_tokens=4)) for _ in range(20)} == {"The sky."}
    assert text(dataset_text(), request("What is up?", max_tokens=1)) in {"The", "Everything"}


def test_unknown_prompts_get_any_answer() -> None:
    source = dataset_text()
    assert len({text(source, request("Who?", max_tokens=100)) for _ in range(100)}) == 3


def test_a_prompt_of_ids_is_looked_up_by_its_text() -> None:
    asked = request("Name a fish", max_tokens=100)
    asked.prompt_text = None
    assert text(dataset_text(), asked) == "A trout."


def test_ignore_eos_goes_on_after_a_recorded_answer() -> None:
    asked = request("Name a fish", max_tokens=30, ignore_eos=True)
    assert len(answer(dataset_text(), asked)) == 30
    assert text(dataset_text(), asked).startswith("A trout. ")


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="no rows"):
        Dataset([], BOOK)


@pytest.mark.parametrize("length", [None, 0, 2, 9])
@pytest.mark.parametrize("masked", [False, True])
def test_tokens_are_the_single_tokens(length: int | None, masked: bool) -> None:
    plan: OutputPlan = TokenPlan((1, 2, 3), (4, 5, 6, 7), 2, length, 99)
    if masked:
        plan = MaskedPlan(plan, frozenset({2, 5}), 6)
    for start in range(12):
        for stop in range(start, 14):
            assert plan.tokens(start, stop) == [plan.token(i) for i in range(start, stop)]
