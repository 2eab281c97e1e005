"""What a picker reads of a prompt without words agrees as far as the prompts do."""

from __future__ import annotations

import pytest

from gateway.simulate.replicas.words import BYTES_PER_TOKEN, prompt_text
from loadgen.plan.words import WORDS
from simulator.replay.prompts import Prompt


def test_bytes_of_a_token_are_those_of_the_load_generator() -> None:
    assert pytest.approx(sum(len(word) + 1 for word in WORDS) / len(WORDS), abs=0.01) == BYTES_PER_TOKEN


@pytest.mark.parametrize("shared", [0, 1, 2, 5])
def test_texts_agree_up_to_the_block_in_which_prompts_differ(shared: int) -> None:
    begin = tuple(range(100, 100 + shared))
    one, other = (
        Prompt(512 * (shared + 3), blocks=(*begin, rest, 9), block_tokens=512, own=own)
        for rest, own in ((1, -1), (2, -2))
    )
    a, b = prompt_text(one), prompt_text(other)
    common = next(at for at in range(len(a)) if a[at] != b[at])
    whole = len(prompt_text(Prompt(512 * shared, blocks=begin, block_tokens=512))) if shared else 0
    assert whole <= common <= whole + 2  # the blank, and what two names begin alike with
    assert len(a) == pytest.approx(one.length * BYTES_PER_TOKEN, rel=0.01)


def test_a_cut_block_is_a_beginning_of_the_whole_one() -> None:
    whole = prompt_text(Prompt(512, blocks=(77,), block_tokens=512))
    assert whole.startswith(prompt_text(Prompt(200, blocks=(77,), block_tokens=512)))


def test_prompts_of_their_own_never_agree() -> None:
    texts = {prompt_text(Prompt(1, block_tokens=512, own=-number)) for number in range(1, 500)}
    assert len(texts) == 499
