"""What the engine itself costs, without HTTP: run with `python -m bench.engine`.

Prints one line per figure: the recorded replay in virtual time, small requests without latency, a long
prompt, and paced streams on timelines of their own.
"""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from bench.entry import parser
from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.pace.latency import (
    ConstantLatency,
    ConstantTimes,
    HostOverhead,
    StepModel,
    ZeroLatency,
)
from simulator.engine.pace.profiles import PROFILES
from simulator.engine.request import Request, SamplingParams
from simulator.engine.text.phrases import PhraseBook
from simulator.engine.text.random_text import RandomText
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.engine.text.text_source import ConstantText

REPLAY = Path(__file__).parents[2] / "shared/data/vllm-replay-rtx4090/requests.jsonl"
RTX_4090 = PROFILES["llama-3.1-8b/rtx-4090"].coefficients
RTX_4090_HOST = HostOverhead(per_step_us=2000, per_sequence_us=10)


def replay_requests() -> Iterator[tuple[float, Request]]:
    for line in REPLAY.read_text().splitlines():
        row = json.loads(line)
        sampling = SamplingParams(max_tokens=row["output_tokens"], ignore_eos=True)
        yield (
            row["arrival_s"],
            Request(str(row["id"]), row["prompt_token_ids"], sampling, stream=False),
        )


def replay_engine() -> Engine:
    config = EngineConfig(
        block_size=16,
        num_gpu_blocks=2588,
        max_num_seqs=256,
        max_num_batched_tokens=2048,
        max_model_len=32768,
        prefix_index="dict",
    )
    return Engine(config, StepModel(RTX_4090, RTX_4090_HOST), ConstantText(7), None)


def replay() -> str:
    """The recorded run of an RTX 4090 in virtual time."""
    if not REPLAY.exists():
        return f"replay: {REPLAY} is not there"
    best = 0.0
    for _ in range(5):
        engine = replay_engine()
        for arrival, request in replay_requests():
            engine.add_request(request, arrival)
        gc.collect()
        gc.freeze()  # the trace itself is no garbage
        begin = time.process_time()
        calls = len(engine.fast_forward(float("inf"), max_steps=1 << 60))
        seconds = time.process_time() - begin
        gc.unfreeze()
        best = max(best, engine.stats.num_steps / seconds)
    stats = engine.stats
    return (
        f"replay: {stats.num_steps} steps, {stats.num_preemptions} preemptions, {calls} boundaries taken: "
        f"{best:,.0f} steps/s with fast_forward"
    )


def small_requests(batch: int, async_scheduling: bool) -> str:
    """10-token prompts with 16 output tokens and no latency, `batch` at a time."""
    tokenizer = RegexTokenizer()
    config = EngineConfig(num_gpu_blocks=8192, max_model_len=8192, async_scheduling=async_scheduling)
    engine = Engine(config, ZeroLatency(), RandomText(PhraseBook(tokenizer), max_model_len=8192), tokenizer)
    prompts = [[1000 + i, *range(2000, 2009)] for i in range(64)]
    sampling = SamplingParams(max_tokens=16, ignore_eos=True)
    total, now, made = 20_000, 0.0, 0

    def run() -> None:
        nonlocal now, made
        while made < total:
            now += 0.001
            for i in range(batch):
                engine.add_request(Request(f"r{made + i}", prompts[i % 64], sampling, stream=False), now)
            made += batch
            engine.fast_forward(now)

    seconds = _cpu(run)
    return (
        f"10 + 16 tokens, no latency, {batch} at a time, async {async_scheduling}: "
        f"{seconds / made * 1e6:.1f} us each"
    )


def long_prompt() -> str:
    """100,000 tokens through add_request, hashing, and chunked prefill to the first token."""
    engine = Engine(
        EngineConfig(num_gpu_blocks=8192, max_model_len=131072, max_num_batched_tokens=8192),
        ZeroLatency(),
        ConstantText(7),
        None,
    )
    prompt = [i * 7919 % 120_000 for i in range(100_000)]

    def run() -> None:
        engine.add_request(Request("r", prompt, SamplingParams(max_tokens=1)), 0.0)
        engine.fast_forward(1.0)

    return f"prompt of 100,000 tokens: {_cpu(run) * 1e3:.1f} ms"


def paced_streams() -> str:
    """512 streams of 20 ms per token on their own timelines, one boundary after the other."""
    tokenizer = RegexTokenizer()
    config = EngineConfig(max_num_seqs=512, num_gpu_blocks=20_000, max_model_len=8192)
    latency = ConstantLatency(ConstantTimes(time_to_first_token=0.001, inter_token_latency=0.02))
    engine = Engine(config, latency, RandomText(PhraseBook(tokenizer), max_model_len=8192), tokenizer)
    sampling = SamplingParams(max_tokens=500, ignore_eos=True)
    for i in range(512):
        engine.add_request(Request(f"r{i}", [i + 1] * 50, sampling), i * 20e-3 / 512)
    engine.fast_forward(0.1)
    before = engine.stats.generation_tokens

    def run() -> None:
        now = 0.1
        while now < 2.1:
            now += 0.0002
            engine.fast_forward(now)

    seconds = _cpu(run)
    tokens = engine.stats.generation_tokens - before
    return (
        f"512 paced streams: {seconds / tokens * 1e6:.1f} us per token, {seconds / 2 * 100:.0f} % of a core"
    )


def full_cache() -> str:
    """What a cached block costs in memory, and a block in time while every new one evicts another."""
    blocks, size = 60_000, 16
    config = EngineConfig(num_gpu_blocks=blocks + 1, max_model_len=131_072, max_num_batched_tokens=131_072)
    engine = Engine(config, ZeroLatency(), ConstantText(7), None)
    rng = Random(7)

    def ask(tokens: int) -> None:
        nonlocal now
        now += 1.0
        prompt = [rng.randrange(120_000) for _ in range(tokens)]
        engine.add_request(Request(f"r{now}", prompt, SamplingParams(max_tokens=1)), now)
        engine.fast_forward(now)

    now = 0.0
    ask(size)
    gc.collect()
    tracemalloc.start()
    while engine.stats.prompt_tokens < blocks * size * 1.2:
        ask(400 * size)
    gc.collect()
    per_block = tracemalloc.get_traced_memory()[0] / blocks
    tracemalloc.stop()
    prompts = [[rng.randrange(120_000) for _ in range(400 * size)] for _ in range(100)]

    def run() -> None:
        for i, prompt in enumerate(prompts):
            engine.add_request(Request(f"n{i}", prompt, SamplingParams(max_tokens=1)), now + i + 1)
            engine.fast_forward(now + i + 1)

    return (
        f"cache full: {per_block:.0f} B a block; {_cpu(run) / 100 / 400 * 1e6:.2f} us a block of a new prompt"
    )


def _cpu(run: Callable[[], None]) -> float:
    gc.collect()
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main() -> None:
    parser(__doc__).parse_args()
    print(replay())
    for batch in (1, 8, 64):
        for async_scheduling in (False, True):
            print(small_requests(batch, async_scheduling))
    print(long_prompt())
    print(full_cache())
    print(paced_streams())


if __name__ == "__main__":
    main()
