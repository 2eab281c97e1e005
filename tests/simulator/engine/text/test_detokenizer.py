"""Text leaves whole, and stops where vLLM stops it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from simulator.engine.request import FinishReason, SamplingParams
from simulator.engine.text.detokenizer import IncrementalDetokenizer
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.engine.text.vocabulary import BYTE_BASE, EOS_ID

TOKENIZER = RegexTokenizer()


def detokenizer(**sampling: object) -> IncrementalDetokenizer:
    return IncrementalDetokenizer(TOKENIZER, SamplingParams(**sampling))  # type: ignore[arg-type]


def say(
    decoder: IncrementalDetokenizer, text: str, chunks: Sequence[int] = ()
) -> tuple[list[str], str | None]:
    """Deltas of `text` token by token (or in chunks of the given sizes) until a stop string or LENGTH."""
    ids = TOKENIZER.encode(text)
    deltas = []
    sizes = list(chunks)
    while ids:
        size = sizes.pop(0) if sizes else 1
        now, ids = ids[:size], ids[size:]
        deltas.append(decoder.append(now, None if ids else FinishReason.LENGTH))
        if decoder.stop_reason is not None:
            break
    return deltas, decoder.stop_reason


def test_one_delta_per_token() -> None:
    assert say(detokenizer(), "This is a test.") == (["This", " is", " a", " test", "."], None)


def test_characters_are_not_cut() -> None:
    deltas, _ = say(detokenizer(), "a🙂b")
    assert deltas == ["a", "", "", "", "🙂", "b"]


def test_an_incomplete_character_at_the_end_is_dropped() -> None:
    decoder = detokenizer()
    ids = TOKENIZER.encode("a🙂")[:-1]
    assert "".join(decoder.append([i]) for i in ids) == "a"


def test_bytes_that_are_no_text_become_the_replacement_character() -> None:
    decoder = detokenizer()
    out = "".join(decoder.append([i]) for i in [BYTE_BASE + 0xF0, *TOKENIZER.encode("ab")])
    assert out == "\ufffdab"


def test_eos_has_no_text() -> None:
    decoder = detokenizer()
    assert decoder.append([*TOKENIZER.encode("a"), EOS_ID], FinishReason.STOP) == "a"


def test_a_stop_token_is_left_out_unless_asked_for() -> None:
    ids = TOKENIZER.encode("a test")
    assert detokenizer().append(ids, FinishReason.STOP) == "a"
    assert detokenizer(include_stop_str_in_output=True).append(ids, FinishReason.STOP) == "a test"
    assert detokenizer().append(ids, FinishReason.LENGTH) == "a test"


def test_a_stop_string_trims_the_text() -> None:
    deltas, stop = say(detokenizer(stop=("test",)), "This is a test. More")
    assert "".join(deltas) == "This is a "
    assert stop == "test"


def test_characters_that_may_begin_a_stop_string_are_held_back() -> None:
    deltas, stop = say(detokenizer(stop=("XYZ!",)), "This is a test.")
    assert deltas == ["T", "his", " i", "s a te", "st."] or "".join(deltas) == "This is a test."
    assert deltas[0] == "T"  # three characters wait
    assert stop is None


def test_included_stop_strings_hold_nothing_back() -> None:
    decoder = detokenizer(stop=("s a",), include_stop_str_in_output=True)
    deltas, stop = say(decoder, "This is a test.")
    assert deltas == ["This", " is", " a"]
    assert stop == "s a"


def test_a_stop_string_over_several_tokens() -> None:
    deltas, stop = say(detokenizer(stop=("is a te",)), "This is a test.")
    assert "".join(deltas) == "This "
    assert stop == "is a te"


def test_the_first_listed_stop_string_wins() -> None:
    decoder = detokenizer(stop=("test", "is"))
    deltas, stop = say(decoder, "It is a test.", chunks=[5])
    assert ("".join(deltas), stop) == ("It is a ", "test")


def test_min_tokens_shields_the_text_before_it() -> None:
    assert say(detokenizer(stop=(" is",), min_tokens=2), "It is what it is.")[1] == " is"
    deltas, stop = say(detokenizer(stop=(" is",), min_tokens=2), "It is what it is.")
    assert "".join(deltas) == "It is what it"
    assert stop == " is"


def test_any_chunking_gives_the_same_text() -> None:
    rng = random.Random(1)
    text = "Once upon a time 🙂 there was a café; then it was gone. ENDING and more"
    for _ in range(200):
        stop = tuple(rng.sample(["gone", "EN", " caf", "zzz", "🙂 t", "DING a"], rng.randint(1, 3)))
        single = say(detokenizer(stop=stop), text)
        sizes = [rng.randint(1, 3) for _ in range(40)]
        chunked = say(detokenizer(stop=stop), text, sizes)
        if single[1] == chunked[1]:  # a larger chunk may hold two stop strings: then list order decides
            assert "".join(single[0]) == "".join(chunked[0])
        if single[1] is None:
            assert "".join(single[0]) == text


@pytest.mark.parametrize("include", [False, True])
def test_against_the_definition(include: bool) -> None:
    """Token by token: the text ends at the first token after which a listed stop string is in it."""
    rng = random.Random(2)
    for _ in range(300):
        text = "".join(rng.choice("abc ") for _ in range(40))
        stop = tuple("".join(rng.choice("abc ") for _ in range(rng.randint(1, 4))) for _ in range(2))
        expected, reason = text, None
        so_far = ""
        for token_id in TOKENIZER.encode(text):
            so_far += TOKENIZER.token_text(token_id) or ""
            found = next((s for s in stop if s in so_far), None)
            if found is not None:
                end = so_far.index(found) + (len(found) if include else 0)
                expected, reason = so_far[:end], found
                break
        deltas, got = say(detokenizer(stop=stop, include_stop_str_in_output=include), text)
        assert ("".join(deltas), got) == (expected, reason)
