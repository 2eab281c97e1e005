"""Words and lengths: exact where a distribution leaves no choice, against its known moments where it does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.plan.arrivals import stream
from loadgen.plan.words import MOST_SEED, WORDS, Recipe, made, mixed_seed, sample, sample_count
from loadgen.scenario.scenario import Distribution

DRAWS = 6_000


def draws(distribution: Distribution, count: int = DRAWS) -> Sequence[float]:
    rng = stream(1, "draws")
    return [sample(distribution, rng) for _ in range(count)]


def test_words_are_short_common_and_each_there_once() -> None:
    assert len(WORDS) == len(set(WORDS)) > 300
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


SEEDS = st.integers(0, MOST_SEED - 1)


@given(count=st.integers(0, 300), seed=SEEDS)
def test_a_text_has_its_number_of_words(count: int, seed: int) -> None:
    text = made(Recipe(count, seed))
    words = text.split()
    assert len(words) == count
    assert text == "".join(f" {word}" for word in words)
    assert set(words) <= set(WORDS)
    assert text == made(Recipe(count, seed))


@given(count=st.integers(1, 300), vocabulary=st.integers(1001, 1010), seed=SEEDS)
def test_ids_are_inside_the_vocabulary_and_no_specials(count: int, vocabulary: int, seed: int) -> None:
    ids = [int(text) for text in made(Recipe(count, seed, vocabulary)).split(",")]
    assert len(ids) == count
    assert all(1000 <= each < vocabulary for each in ids)


@pytest.mark.parametrize("vocabulary", [0, 32_000])
def test_a_shorter_text_of_the_same_seed_is_the_beginning(vocabulary: int) -> None:
    whole = made(Recipe(200_000, 7, vocabulary)).split("," if vocabulary else None)
    assert len(whole) == 200_000
    for size in (1, 5, 6, 7, 512, 65_536, 65_542, 65_543, 199_999):
        assert made(Recipe(size, 7, vocabulary)).split("," if vocabulary else None) == whole[:size]


def test_no_two_seeds_begin_alike() -> None:
    seeds = [*range(2_000), *(mixed_seed(99, number) for number in range(20_000))]
    assert len(set(seeds)) == 22_000
    assert len({made(Recipe(16, seed)) for seed in seeds}) == 22_000


def test_other_words_may_be_given() -> None:
    assert set(made(Recipe(500, 3), ("one", "two")).split()) == {"one", "two"}


def test_every_word_is_as_likely_as_the_others() -> None:
    texts = [made(Recipe(100, mixed_seed(5, number))) for number in range(len(WORDS))]
    words = Counter(" ".join(texts).split())
    counts = np.array([words[word] for word in WORDS])
    chi_square = float(((counts - 100) ** 2 / 100).sum())
    assert chi_square < len(WORDS) + 4 * math.sqrt(2 * len(WORDS))  # four standard deviations of chi-square


@pytest.mark.parametrize(
    ("distribution", "mean", "stddev"),
    [
        (Distribution("uniform", low=10, high=30), 20, 20 / math.sqrt(12)),
        (Distribution("normal", 100, 15), 100, 15),
        (Distribution("lognormal", 100, 50), 100, 50),
        (Distribution("exponential", 40), 40, 40),
        (Distribution("empirical", values=(10, 20, 40)), 70 / 3, math.sqrt(1400 / 9)),
        (Distribution("empirical", values=(0, 10), weights=(3, 1)), 2.5, math.sqrt(18.75)),
    ],
)
def test_moments(distribution: Distribution, mean: float, stddev: float) -> None:
    found = draws(distribution)
    error = stddev / math.sqrt(DRAWS)
    assert np.mean(found) == pytest.approx(mean, abs=4 * error)
    assert np.std(found) == pytest.approx(stddev, rel=0.08)


@pytest.mark.parametrize(
    ("distribution", "quantiles"),
    [
        (Distribution("normal", 100, 10), {0.1587: 90, 0.5: 100, 0.8413: 110}),
        (Distribution("exponential", 10), {0.5: 10 * math.log(2), 0.9: 10 * math.log(10)}),
        # mean 100 and standard deviation 100: median 100 / sqrt(2), sigma sqrt(ln 2)
        (Distribution("lognormal", 100, 100),
         {0.5: 100 / math.sqrt(2), 0.8413: 100 / math.sqrt(2) * math.exp(math.sqrt(math.log(2)))}),
        (Distribution("uniform", low=0, high=1), {0.25: 0.25, 0.75: 0.75}),
    ],
)  # fmt: skip
def test_shapes(distribution: Distribution, quantiles: dict[float, float]) -> None:
    found = np.array(draws(distribution))
    for share, value in quantiles.items():
        assert np.mean(found <= value) == pytest.approx(share, abs=0.025)


@pytest.mark.parametrize("kind", ["fixed", "uniform", "normal", "lognormal", "exponential", "empirical"])
def test_every_kind_is_clipped_to_its_ends(kind: str) -> None:
    ends = {"low": 8.0, "high": 12.0}
    distribution = Distribution(kind, 10, 50, **ends, values=(1.0, 100.0, 9.0))  # type: ignore[arg-type]
    found = draws(distribution, 500)
    assert min(found) >= 8
    assert max(found) <= 12


def test_a_fixed_length_above_its_own_end_is_cut() -> None:
    assert sample(Distribution("fixed", 50, high=12), stream(1, "x")) == 12
    assert sample_count(Distribution("fixed", 50, high=12), stream(1, "x")) == 12


def test_a_spread_of_nothing_is_the_mean() -> None:
    assert draws(Distribution("lognormal", 7.0, 0.0), 3) == pytest.approx([7.0] * 3)
    assert draws(Distribution("normal", 7.0, 0.0), 3) == [7.0] * 3


def test_a_fixed_length_takes_nothing_from_the_stream() -> None:
    rng, untouched = stream(1, "x"), stream(1, "x")
    assert sample(Distribution("fixed", 5), rng) == 5
    assert rng.random() == untouched.random()


def test_whole_numbers_of_a_uniform_one_have_both_ends_as_often_as_the_rest() -> None:
    rng = stream(1, "x")
    counts = np.bincount([sample_count(Distribution("uniform", low=2, high=5), rng) for _ in range(8000)])
    assert counts[:2].tolist() == [0, 0]
    assert len(counts) == 6
    assert all(abs(count - 2000) < 4 * math.sqrt(8000 * 0.25 * 0.75) for count in counts[2:])


@given(
    kind=st.sampled_from(["fixed", "normal", "lognormal", "exponential"]),
    mean=st.floats(1e-3, 1e6),
    stddev=st.floats(0, 1e6),
    seed=st.integers(0, 1000),
)
def test_a_count_is_whole_and_at_least_one(kind: str, mean: float, stddev: float, seed: int) -> None:
    count = sample_count(Distribution(kind, mean, stddev), stream(seed, "x"))  # type: ignore[arg-type]
    assert isinstance(count, int)
    assert count >= 1
