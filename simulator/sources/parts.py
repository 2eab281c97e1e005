"""Configuration -> the engine's parts: tokenizer, text source, latency model. Nothing here touches a socket.

What many replicas can share (a tokenizer, its phrase book, a data set) is made once by `Parts`.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from simulator.config.profilefile import find_profile
from simulator.config.serve import LatencyConfig, ServeConfig, TextConfig
from simulator.engine.core import Engine
from simulator.engine.pace.latency import (
    ConstantLatency,
    ConstantTimes,
    HostOverhead,
    LatencyModel,
    StepCoefficients,
    StepModel,
    TransferTimes,
    ZeroLatency,
)
from simulator.engine.spec.settings import SpecConfig
from simulator.engine.text.dataset_text import Dataset, DatasetText
from simulator.engine.text.phrases import PhraseBook
from simulator.engine.text.random_text import RandomText
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.engine.text.text_source import EchoText, TextSource
from simulator.engine.text.tokenizer import Tokenizer

_HEAD_SHARE = 0.04  # of a step's constant part, for each pass of a drafter


class Parts:
    """The parts that replicas of one process share, by what decides over them.

    Raises ConfigError on bad files.
    """

    def __init__(self) -> None:
        self._tokenizers: dict[tuple[str | None, str | None], Tokenizer] = {}
        self._books: dict[int, PhraseBook] = {}
        self._datasets: dict[tuple[str, int], Dataset] = {}

    def tokenizer(self, config: TextConfig) -> Tokenizer:
        key = config.tokenizer, config.chat_template
        found = self._tokenizers.get(key)
        if found is None:
            found = self._tokenizers[key] = _tokenizer(*key)
        return found

    def text(self, config: ServeConfig, seed: int) -> TextSource:
        """A source of its own for each engine: it holds a random state."""
        tokenizer = self.tokenizer(config.text)
        if config.text.mode == "echo":
            return EchoText(tokenizer)
        book = self._books.get(id(tokenizer))
        if book is None:
            book = self._books[id(tokenizer)] = PhraseBook(tokenizer)
        if config.text.dataset_path is None:
            return RandomText(book, max_model_len=config.engine.max_model_len, seed=seed)
        key = config.text.dataset_path, id(tokenizer)
        dataset = self._datasets.get(key)
        if dataset is None:
            from simulator.sources.dataset import read_dataset  # noqa: PLC0415 - most replicas have none

            rows = read_dataset(Path(config.text.dataset_path))
            dataset = self._datasets[key] = Dataset(rows, book)
        return DatasetText(dataset, seed=seed)

    def engine(self, config: ServeConfig) -> Engine:
        """A fresh engine; without --seed each differs from every other."""
        seed = config.seed if config.seed is not None else Random().getrandbits(32)
        return Engine(
            config.engine,
            latency_model(config.latency, config.engine.max_num_seqs, seed, config.engine.spec),
            self.text(config, seed),
            self.tokenizer(config.text),
            custom_buckets=config.custom_histogram_buckets or None,
        )


def _tokenizer(path: str | None, chat_template: str | None) -> Tokenizer:
    if path is not None:
        from simulator.sources.hf_tokenizer import HfTokenizer  # noqa: PLC0415 - an extra

        return HfTokenizer(Path(path), chat_template)
    return RegexTokenizer(_render)  # routes pass --chat-template along with each request


def _render(template: str, messages: Any, tools: Any, **options: Any) -> str:
    from simulator.sources.chat_template import render  # noqa: PLC0415 - jinja2, only where a template is used

    return render(template, messages, tools, **options)


def latency_model(
    config: LatencyConfig, max_num_seqs: int, seed: int, spec: SpecConfig | None = None
) -> LatencyModel:
    """The model that the configuration names; raises ConfigError on values that contradict each other."""
    if config.kind == "zero":
        return ZeroLatency()
    if config.kind == "step":
        return _step_model(config, seed, spec)
    return ConstantLatency(constant_times(config, max_num_seqs), seed=seed)


def constant_times(config: LatencyConfig, max_num_seqs: int) -> ConstantTimes:
    """llm-d's latencies; raises ConfigError on values that contradict each other."""
    return ConstantTimes(
        time_to_first_token=config.time_to_first_token,
        time_to_first_token_std_dev=config.time_to_first_token_std_dev,
        inter_token_latency=config.inter_token_latency,
        inter_token_latency_std_dev=config.inter_token_latency_std_dev,
        prefill_overhead=config.prefill_overhead,
        prefill_time_per_token=config.prefill_time_per_token,
        prefill_time_std_dev=config.prefill_time_std_dev,
        time_factor_under_load=config.time_factor_under_load,
        max_num_seqs=max_num_seqs,
        calculator=config.calculator,
        transfer=_transfer(config),
    )


def _transfer(config: LatencyConfig, per_token: float = 0.0) -> TransferTimes:
    return TransferTimes(
        kv_latency=config.kv_cache_transfer_latency,
        kv_latency_std_dev=config.kv_cache_transfer_latency_std_dev,
        kv_per_token=config.kv_cache_transfer_time_per_token or per_token,
        kv_per_token_std_dev=config.kv_cache_transfer_time_std_dev,
        lora_load=config.lora_load_time,
    )


def _step_model(config: LatencyConfig, seed: int, spec: SpecConfig | None) -> StepModel:
    profile = find_profile(config.profile) if config.profile else None
    values: dict[str, Any] = {}
    if profile is not None:
        values = {name: getattr(profile.coefficients, name) for name in StepCoefficients.__slots__}
    values |= config.step_coefficients
    values["k"] = int(values["k"])
    host = profile.host if profile is not None else HostOverhead()
    per_step, per_sequence = config.host_overhead_per_step, config.host_overhead_per_sequence
    host = HostOverhead(
        host.per_step_us if per_step is None else per_step * 1e6,
        host.per_sequence_us if per_sequence is None else per_sequence * 1e6,
    )
    per_token = profile.kv_transfer_per_token if profile is not None else 0.0
    coefficients = StepCoefficients(**values)
    return StepModel(
        coefficients,
        host,
        _transfer(config, per_token),
        jitter=config.step_jitter,
        seed=seed,
        drafting=_drafting(spec, coefficients),
    )


def _drafting(spec: SpecConfig | None, coefficients: StepCoefficients) -> float:
    """Seconds that the drafter adds to a step: a head of one layer, where nobody says, beside some 25."""
    if spec is None:
        return 0.0
    one = spec.draft_seconds
    return spec.draft_passes * (_HEAD_SHARE * coefficients.c0 * 1e-6 if one is None else one)
