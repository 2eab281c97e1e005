"""The built-in tokenizer: reversible, stable, quick."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine.text.chatml import content_text
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.engine.text.segments import SEGMENT_CHARS, SegmentCache, cut
from simulator.engine.text.vocabulary import BYTE_BASE, VOCAB_SIZE, Vocabulary
from simulator.engine.text.words import COMMON_WORDS
from simulator.errors import EngineError

TOKENIZER = RegexTokenizer()
TRICKY = [
    "",
    " ",
    "   ",
    "\n\n\n",
    "\r\n\t x",
    "What do reviewers think about The Comedy of Errors?",
    "def hello():\n    return {'a': [1, 2.5e-3]}  # 12345678\n",
    "naïve café — «bonjour» Straße 你好、世界 こんにちは 안녕 مرحبا 🙂👍🏽👩‍👩‍👧",
    "camelCaseHTTPServerError iPhone XMLHttpRequest ABC aBC",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "a.<|im_end|>b <|nope|> <|",
    "\x00\x01\x7f\u2028\ufeff\uffff",
    "x" * 100 + "!" * 100 + " " * 200,
]


@pytest.mark.parametrize("text", TRICKY)
def test_decode_undoes_encode(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=300, deadline=None)
def test_decode_undoes_encode_of_any_text(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert all(0 <= i < VOCAB_SIZE for i in ids)
    assert b"".join(map(TOKENIZER.token_bytes, ids)) == text.encode()


def test_lone_surrogates_do_not_break_it() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("a\ud800b")).startswith("a")


def test_every_id_is_the_only_one_of_its_piece() -> None:
    vocabulary = Vocabulary()
    for token_id in range(BYTE_BASE, VOCAB_SIZE):
        data = vocabulary.bytes_of(token_id)
        if data and (len(data) > 1 or data < b"\x80"):
            assert vocabulary.id_of(data.decode()) == token_id


def test_ids_are_stable_over_releases() -> None:
    assert TOKENIZER.encode("Hello, how are you? 42") == [117403, 108, 60870, 56198, 72360, 127, 96, 114902]
    assert TOKENIZER.encode("<|im_start|>a<|im_end|>") == [2, 161, 3]


def test_common_prose_takes_one_token_a_word() -> None:
    prose = "What do reviewers think about The Comedy of Errors?"
    assert len(TOKENIZER.encode(prose)) == 10
    assert len(TOKENIZER.encode("This is a test.")) == 5


def test_special_tokens() -> None:
    assert TOKENIZER.eos_token_id == 1
    assert TOKENIZER.decode([0, 161, 1], skip_special_tokens=True) == "a"
    assert TOKENIZER.decode([0, 161, 1]) == "<|begin_of_text|>a<|end_of_text|>"
    assert TOKENIZER.is_special(1)
    assert not TOKENIZER.is_special(BYTE_BASE)


@pytest.mark.parametrize("token_id", [-1, 60, VOCAB_SIZE - 1, VOCAB_SIZE, 10**9])
def test_ids_that_mean_nothing_say_nothing(token_id: int) -> None:
    assert TOKENIZER.token_bytes(token_id) == b""
    assert not TOKENIZER.token_text(token_id)


def test_bytes_of_a_broken_character_have_no_text() -> None:
    ids = TOKENIZER.encode("🙂")
    assert [TOKENIZER.token_text(i) for i in ids] == [None] * 4
    assert TOKENIZER.token_str(ids[0]) == "<0xF0>"


def prose(words: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(COMMON_WORDS) for _ in range(words))


@pytest.mark.parametrize("text", [prose(3000, 1), "ab" * 5000, " " * 9000, "你好 " * 3000, "a  b" * 4000])
def test_segments_join_to_the_text(text: str) -> None:
    assert "".join(cut(text)) == text
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_cutting_does_not_change_the_ids_of_prose() -> None:
    text = prose(3000, 2)
    assert len(text) > 4 * SEGMENT_CHARS
    pieces = [i for word in text.split(" ") for i in TOKENIZER.encode(" " + word)]
    assert TOKENIZER.encode(" " + text) == pieces


def test_a_shared_beginning_is_encoded_once() -> None:
    calls: list[str] = []

    def encode(text: str) -> list[int]:
        calls.append(text)
        return [len(text)]

    cache = SegmentCache(encode, max_segments=64)
    shared = prose(3000, 3)
    first = cache.encode(shared + " one end")
    seen = len(calls)
    assert cache.encode(shared + " another end")[:-1] == first[:-1]
    assert len(calls) == seen + 1  # only the last segment


def test_the_segment_cache_forgets_the_least_recently_used() -> None:
    calls: list[str] = []

    def encode(text: str) -> list[int]:
        calls.append(text)
        return [0]

    cache = SegmentCache(encode, max_segments=1)
    a, b = prose(440, 4), prose(440, 5)
    for text in (a, a, b, a):
        cache.encode(text)
    firsts = [call for call in calls if len(call) >= SEGMENT_CHARS]
    assert [call[:5] for call in firsts] == [a[:5], b[:5], a[:5]]


def test_a_prompt_of_100_000_tokens_is_cheap() -> None:
    text = prose(100_000, 6)
    TOKENIZER.encode(prose(100_000, 7))  # the words are known
    started = time.process_time()
    assert len(TOKENIZER.encode(text)) == 100_000
    first = time.process_time() - started
    again = []
    for word in ("again", "more", "now"):
        started = time.process_time()
        TOKENIZER.encode(f"{text} {word}")
        again.append(time.process_time() - started)
    assert first < 0.2  # about 0.025 s on an idle machine; the bench holds the figure
    assert min(again) < first / 4


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def test_chatml() -> None:
    text = TOKENIZER.apply_chat_template(CHAT)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert TOKENIZER.apply_chat_template(CHAT, add_generation_prompt=False).endswith("hi<|im_end|>\n")


def test_chatml_continues_the_final_message() -> None:
    chat = [*CHAT, {"role": "assistant", "content": "Hello, I"}]
    text = TOKENIZER.apply_chat_template(chat, continue_final_message=True)
    assert text.endswith("<|im_start|>assistant\nHello, I")


def test_chatml_names_tools_and_calls() -> None:
    tool = {"type": "function", "function": {"name": "weather"}}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "weather"}}]}
    text = TOKENIZER.apply_chat_template([*CHAT, call], [tool])
    assert text.startswith('<|im_start|>system\n{"type": "function"')
    assert '<|im_start|>assistant\n{"name": "weather"}<|im_end|>' in text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("a", "a"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        (["a", "b"], "a\nb"),
        ([{"type": "image_url", "image_url": {"url": "x"}}], ""),
        ({"k": 1}, '{"k": 1}'),
    ],
)
def test_content_of_every_form(content: object, text: str) -> None:
    assert content_text(content) == text


def test_a_template_in_the_request_needs_a_renderer() -> None:
    with pytest.raises(EngineError, match="no template renderer"):
        TOKENIZER.apply_chat_template(CHAT, chat_template="{{ messages }}")
    rendering = RegexTokenizer(lambda template, *_, **__: f"<{template}>")
    assert rendering.apply_chat_template(CHAT, chat_template="x") == "<x>"
