"""Cost of content: encoding a prompt of 100 000 tokens, deciding an answer, turning ids into text.

    .venv/bin/python bench/content.py [--tokenizer FOLDER] [--json]

CPU time of one process; the best of a few rounds, since other work only ever adds to it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from bench.entry import parser
from simulator.engine.request import Request, SamplingParams
from simulator.engine.text.detokenizer import IncrementalDetokenizer
from simulator.engine.text.phrases import PhraseBook
from simulator.engine.text.random_text import RandomText
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.engine.text.tokenizer import Tokenizer
from simulator.engine.text.words import COMMON_WORDS
from simulator.sources.hf_tokenizer import HfTokenizer

PROMPT_WORDS = 100_000
ROUNDS = 5


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds of CPU of the fastest round."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def prose(words: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(COMMON_WORDS) for _ in range(words))


def encode_times(tokenizer: Tokenizer) -> dict[str, float]:
    """Milliseconds: texts never seen, and a text whose beginning is known."""
    fresh = iter([prose(PROMPT_WORDS, seed) for seed in range(ROUNDS)])
    known = prose(PROMPT_WORDS, 0)
    tokens = len(tokenizer.encode(prose(PROMPT_WORDS, 99)))
    return {
        "tokens": tokens,
        "encode_fresh_ms": 1e3 * best(lambda: tokenizer.encode(next(fresh))),
        "encode_known_prefix_ms": 1e3 * best(lambda: tokenizer.encode(known + " and a new end")),
    }


def answer_times(tokenizer: Tokenizer) -> dict[str, float]:
    """Microseconds per answer begun and per token said."""
    source = RandomText(PhraseBook(tokenizer), max_model_len=1 << 20)
    prompt = tokenizer.encode(prose(1000, 1))
    count = 20_000

    def begin(sampling: SamplingParams) -> Callable[[], None]:
        request = Request("r", prompt, sampling)

        def work() -> None:
            for _ in range(count):
                source.start(request)

        return work

    def say(stop: tuple[str, ...]) -> Callable[[], None]:
        request = Request("r", prompt, SamplingParams(max_tokens=count, ignore_eos=True, stop=stop))
        plan = source.start(request)

        def work() -> None:
            decoder = IncrementalDetokenizer(tokenizer, request.sampling)
            for i in range(count):
                decoder.append((plan.token(i),))

        return work

    return {
        "begin_us": 1e6 * best(begin(SamplingParams(max_tokens=100))) / count,
        "begin_seeded_us": 1e6 * best(begin(SamplingParams(max_tokens=100, seed=1))) / count,
        "token_us": 1e6 * best(say(())) / count,
        "token_with_stop_us": 1e6 * best(say(("zebra", "\n\n"))) / count,
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--tokenizer", type=Path, help="folder with a tokenizer.json, beside the built-in one"
    )
    options.add_argument("--json", action="store_true")
    args = options.parse_args()
    tokenizers: dict[str, Tokenizer] = {"built-in": RegexTokenizer()}
    if args.tokenizer is not None:
        tokenizers[str(args.tokenizer)] = HfTokenizer(args.tokenizer)
    found = {name: encode_times(t) | answer_times(t) for name, t in tokenizers.items()}
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for name, figures in found.items():
        print(name)
        for figure, value in figures.items():
            print(f"  {figure:<24}{value:12.2f}")


if __name__ == "__main__":
    main()
