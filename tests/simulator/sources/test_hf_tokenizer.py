"""Hugging Face tokenizers and templates from local files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from simulator.engine.sampling_params import SamplingParams
from simulator.engine.text.detokenizer import IncrementalDetokenizer
from simulator.errors import ConfigError, EngineError
from simulator.sources.chat_template import render

tokenizers = pytest.importorskip("tokenizers", reason="needs the extra tokenizers")
from simulator.sources.hf_tokenizer import HfTokenizer  # noqa: E402

GOLDEN = Path(__file__).parents[4] / "shared" / "data" / "vllm-0.33-golden"
needs_recording = pytest.mark.skipif(not GOLDEN.exists(), reason="the recording of vLLM 0.33 is not here")


@pytest.fixture(scope="module")
def tiny() -> HfTokenizer:
    return HfTokenizer(GOLDEN / "model-tiny")


def recorded() -> list[tuple[str, dict[str, Any], int]]:
    """(case, body, prompt tokens) of the recorded requests whose prompt is text or chat."""
    cases = []
    if not GOLDEN.exists():
        return []
    for case in re.split(r"^##### ", (GOLDEN / "base.txt").read_text(), flags=re.MULTILINE)[1:]:
        sent = re.search(r"^> POST \S+ (\{.*)$", case, flags=re.MULTILINE)
        counted = re.search(r'"(?:prompt_tokens|input_tokens)":\s*(\d+)', case)
        if sent and counted and sent[1].endswith("}"):  # long bodies are cut in the recording
            body = json.loads(sent[1])
            if isinstance(body.get("prompt", ""), str):
                cases.append((case.split("\n")[0], body, int(counted[1])))
    return cases


@needs_recording
def test_prompt_tokens_as_recorded(tiny: HfTokenizer) -> None:
    cases = recorded()
    assert len(cases) >= 45
    for name, body, expected in cases:
        messages = body.get("messages")
        if messages is None and "input" in body:
            messages = [{"role": "user", "content": body["input"]}]
        if messages is None:
            ids = tiny.encode(body["prompt"], add_special_tokens=True)
        else:
            ids = tiny.encode(tiny.apply_chat_template(messages))
        assert len(ids) == expected, name


@needs_recording
def test_the_recorded_ids(tiny: HfTokenizer) -> None:
    chat = tiny.encode(tiny.apply_chat_template([{"role": "user", "content": "hi"}]))
    assert chat == [2, 469, 85, 202, 1882, 3, 202, 2, 1503, 505, 526, 202]
    assert tiny.encode("def hello():") == [677, 2750, 79, 278, 1096]
    assert [tiny.token_str(i) for i in tiny.encode("def hello():")] == ["def", "Ġhe", "l", "lo", "():"]
    assert tiny.decode([5, 6, 7]) == '"#$'
    assert tiny.decode([99999999]) == ""
    assert (tiny.vocab_size, tiny.eos_token_id) == (4096, 1)


@needs_recording
def test_bytes_and_texts_of_ids(tiny: HfTokenizer) -> None:
    text = "naïve café 你好 🙂👍🏽 def f(): <|im_start|>user\n"
    ids = tiny.encode(text)
    assert b"".join(map(tiny.token_bytes, ids)).decode() == text == tiny.decode(ids)
    decoder = IncrementalDetokenizer(tiny, SamplingParams())
    out = "".join(decoder.append([i]) for i in ids)
    assert out == text.replace("<|im_start|>", "")
    assert tiny.is_special(2)
    assert tiny.token_bytes(10**9) == b""


@needs_recording
def test_long_texts_are_cut_without_changing_their_ids(tiny: HfTokenizer) -> None:
    text = "for x in range(10): print(x, 'a  b')\n  return none  \n" * 500
    whole = tokenizers.Tokenizer.from_file(str(GOLDEN / "model-tiny" / "tokenizer.json")).encode(text).ids
    assert tiny.encode(text) == whole
    assert tiny.encode(text) == whole


@needs_recording
def test_lone_surrogates(tiny: HfTokenizer) -> None:
    assert tiny.decode(tiny.encode("a\ud800b")) == "a?b"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        HfTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read"):
        HfTokenizer(tmp_path)


def word_level(folder: Path, **settings: object) -> HfTokenizer:
    vocabulary = {"<s>": 0, "</s>": 1, "\u2581hi": 2, "<0xC3>": 3, "<0xA9>": 4, "\u2581": 5}
    spec = {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for i, name in enumerate(("<s>", "</s>"))
        ],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": True, "unk_token": None},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return HfTokenizer(folder)


def test_sentencepiece_style_bytes(tmp_path: Path) -> None:
    tokenizer = word_level(tmp_path, eos_token={"content": "</s>"}, bos_token="<s>")
    assert [tokenizer.token_bytes(i) for i in (2, 3, 4, 5)] == [b" hi", b"\xc3", b"\xa9", b" "]
    assert [tokenizer.token_text(i) for i in (2, 3)] == [" hi", None]
    assert (tokenizer.eos_token_id, tokenizer.vocab_size) == (1, 6)


def test_the_template_of_the_configuration(tmp_path: Path) -> None:
    template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    tokenizer = word_level(tmp_path, bos_token="<s>", chat_template=template)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}]) == "<s>[user]hi"
    named = word_level(
        tmp_path, chat_template=[{"name": "default", "template": "D"}, {"name": "t", "template": "T"}]
    )
    assert named.apply_chat_template([{"role": "user", "content": "hi"}]) == "D"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert HfTokenizer(tmp_path).apply_chat_template([]) == "file"
    assert HfTokenizer(tmp_path, "given").apply_chat_template([]) == "given"
    assert HfTokenizer(tmp_path).apply_chat_template([], chat_template="asked") == "asked"


USER = [{"role": "user", "content": "hi"}]


def test_what_templates_expect_to_find() -> None:
    assert render("{{ {'ä': 1} | tojson }}", USER) == '{"ä": 1}'
    assert render("{% for m in messages %}{% break %}{% endfor %}x", USER) == "x"
    assert render("{% generation %}a{% endgeneration %}b", USER) == "ab"
    assert re.fullmatch(r"\d{4}", render("{{ strftime_now('%Y') }}", USER))
    assert render("{{ tools | length }}", USER, [{"a": 1}]) == "1"
    assert render("{{ x }}{{ add_generation_prompt }}", USER, template_kwargs={"x": 3}) == "3True"


def test_a_refusal_of_the_template_is_an_error() -> None:
    with pytest.raises(EngineError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", USER)
    with pytest.raises(EngineError, match="chat template"):
        render("{% if %}", USER)
    with pytest.raises(EngineError, match="chat template"):
        render("{{ messages + 1 }}", USER)


def test_templates_are_sandboxed() -> None:
    with pytest.raises(EngineError, match="chat template"):
        render("{{ ''.__class__.__mro__[1].__subclasses__() }}", USER)


def test_templates_that_walk_over_parts_get_parts() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    walking = "{% for m in messages %}{% for p in m['content'] %}<{{ p.text }}>{% endfor %}{% endfor %}"
    assert render(walking, parts) == "<a><b>"
    assert render(walking, USER) == "<hi>"
    assert render("{{ messages[0].content }}", parts) == "a\nb"


def test_arguments_of_tool_calls_are_objects() -> None:
    def call(arguments: str) -> list[dict[str, Any]]:
        function = {"name": "f", "arguments": arguments}
        return [
            {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}
        ]

    template = "{{ messages[0].tool_calls[0].function.arguments.city }}"
    assert render(template, call('{"city": "Oslo"}')) == "Oslo"
    with pytest.raises(EngineError, match="not JSON"):
        render(template, call("{"))


def test_continuing_the_final_message() -> None:
    template = (
        "{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    assert render(template, USER) == "[hi]>"
    assert render(template, USER, continue_final_message=True) == "[hi"
    with pytest.raises(EngineError, match="continue_final_message"):
        render("none", USER, continue_final_message=True)


def test_a_template_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    word_level(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"chat_template\.jinja cannot be read: 'utf-8' codec"):
        HfTokenizer(tmp_path)
