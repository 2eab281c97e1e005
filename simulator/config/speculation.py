"""--speculative-config and its short forms -> the engine's SpecConfig.

A simulator has no draft model: how many of its tokens are accepted is said by --spec-acceptance, or by vLLM's
own synthetic rates. What a method reserves follows vLLM 0.33 (`VllmConfig`, `SpeculativeConfig`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simulator.config.commandline.given import Values
from simulator.engine.spec.settings import SpecConfig, by_length, by_rate
from simulator.errors import ConfigError

_METHODS = (
    "ngram", "ngram_gpu", "draft_model", "suffix", "custom_class", "eagle", "eagle3", "mtp", "dflash",
    "dspark",
)  # fmt: skip
_NO_MODEL = ("ngram", "ngram_gpu", "suffix")  # their drafts cost nothing worth counting
_BLOCK_WRITERS = ("dflash", "dspark")  # write all draft tokens in one pass
_SYNCHRONOUS = ("ngram", "suffix", "custom_class")  # vLLM switches async scheduling off
_READ = (
    "num_speculative_tokens", "model", "method", "parallel_drafting", "disable_eagle_block_drop",
    "disable_lookahead_block_hashes", "rejection_sample_method", "synthetic_acceptance_rates",
    "synthetic_acceptance_length",
)  # fmt: skip
_UNREAD_NAMES = """
enforce_eager draft_tensor_parallel_size quantization moe_backend attention_backend kv_cache_dtype
max_model_len revision code_revision index_share_for_mtp_iteration disable_padded_drafter_batch
draft_lm_head_quantization
use_local_argmax_reduction use_heterogeneous_vocab prompt_lookup_max prompt_lookup_min target_model_config
target_parallel_config draft_model_config draft_parallel_config suffix_decoding_max_tree_depth
suffix_decoding_max_cached_requests suffix_decoding_max_spec_factor suffix_decoding_min_token_prob
draft_load_config enable_adaptive_verification draft_sample_method dspark_draft_topk xpress_topc
fly_window_size fly_entropy_threshold fly_entropy_top_k num_speculative_tokens_per_batch_size
"""
_UNREAD = frozenset(_UNREAD_NAMES.split())
_USUAL_RATE = 0.7  # where nobody says: the next token is accepted as often, given those before it
EAGLE_LIKE = ("eagle", "eagle3", "mtp", "dflash", "dspark")  # drafts from the target's hidden states


def drafter(
    method: str,
    num_tokens: int,
    acceptance: tuple[float, ...],
    *,
    mtp_layers: int = 1,
    parallel: bool = False,
    lookahead_hashes: bool = True,
    block_drop: bool = True,
    draft_seconds: float | None = None,
) -> SpecConfig:
    """The numbers of a method. `lookahead_hashes` False: prefix hits lose their last block instead."""
    eagle = method in EAGLE_LIKE
    block_writer = method in _BLOCK_WRITERS
    prefill_lookahead = 0
    if eagle:
        several = method == "mtp" and min(mtp_layers, num_tokens) > 1
        prefill_lookahead = num_tokens if several else 1
    lookahead = num_tokens if eagle or method == "draft_model" else 0
    if method == "dflash":
        lookahead += 1
    needs_drop = eagle and not block_writer and block_drop
    return SpecConfig(
        num_tokens,
        acceptance,
        method,
        lookahead=lookahead,
        prefill_lookahead=prefill_lookahead,
        hash_lookahead=prefill_lookahead if needs_drop and lookahead_hashes else 0,
        drops_block=needs_drop and not lookahead_hashes,
        draft_slots=_draft_slots(method, num_tokens, parallel=parallel),
        draft_seconds=draft_seconds,
        draft_passes=0 if method in _NO_MODEL else 1 if parallel or block_writer else num_tokens,
    )


def _draft_slots(method: str, num_tokens: int, *, parallel: bool) -> int:
    """Room in the batch that a drafting sequence takes beside its tokens."""
    if method in _BLOCK_WRITERS:
        return 0
    if method == "draft_model":
        return num_tokens if parallel else 1
    return num_tokens - 1 if parallel else 0


def spec_config(values: Values, *, caching: bool, connector: bool) -> tuple[SpecConfig | None, list[str]]:
    """What the flags say, and warnings for a person; None: no speculation.

    Raises ConfigError for methods and fields that vLLM 0.33 does not have, and for rates that cannot be.
    """
    given = _given(values)
    where = values.where("speculative-config")
    if not given:
        alone = [f"--{name}" for name in ("spec-acceptance", "spec-draft-time") if name in values]
        return None, [f"{' and '.join(alone)}: nothing without --speculative-config"] if alone else []
    _check_keys(given, where)
    method = _method(given, where)
    count = _count(given, method, where)
    drop = not given.get("disable_eagle_block_drop", False)
    hashes = caching and not connector and not given.get("disable_lookahead_block_hashes", False)
    unread = sorted({key for key in given if key in _UNREAD} - {"prompt_lookup_max", "prompt_lookup_min"})
    warnings = [f"{where}: {', '.join(unread)} change nothing here"] if unread else []
    made = drafter(
        method,
        count,
        _acceptance(values, given, count, where),
        parallel=bool(given.get("parallel_drafting", False)),
        lookahead_hashes=hashes,
        block_drop=drop,
        draft_seconds=values.get("spec-draft-time"),
    )
    return made, warnings


def is_synchronous(spec: SpecConfig | None) -> bool:
    """Whether vLLM's first model runner schedules without a step ahead."""
    return spec is not None and spec.method in _SYNCHRONOUS


def _given(values: Values) -> dict[str, Any]:
    """--speculative-config together with its short forms."""
    given = dict(values.mapping("speculative-config"))
    for flag, key in (
        ("spec-method", "method"),
        ("spec-model", "model"),
        ("spec-tokens", "num_speculative_tokens"),
    ):
        value = values.get(flag)
        if value is None:
            continue
        if key in given:
            raise ConfigError(f"--{flag} and --speculative-config['{key}'] are mutually exclusive")
        given[key] = value
    return given


def _check_keys(given: Mapping[str, Any], where: str) -> None:
    for key in given:
        if key == "tensor_parallel_size":
            raise ConfigError(f"{where}: pass draft_tensor_parallel_size instead of tensor_parallel_size")
        if key not in _READ and key not in _UNREAD:
            raise ConfigError(
                f"{where}: unknown key {key!r}; vLLM 0.33 has {', '.join(sorted({*_READ, *_UNREAD}))}"
            )


def _count(given: Mapping[str, Any], method: str, where: str) -> int:
    """Draft tokens a step."""
    count = given.get("num_speculative_tokens")
    if count is None and method == "suffix":
        count = given.get("suffix_decoding_max_tree_depth") or 24
    if type(count) is not int or count < 1:
        raise ConfigError(f"{where}: num_speculative_tokens must be an integer from 1 on, not {count!r}")
    return count


def _method(given: Mapping[str, Any], where: str) -> str:
    """As vLLM finds it: named, or by the draft model's name."""
    method, model = given.get("method"), str(given.get("model") or "")
    if method is None:
        if model in ("ngram", "[ngram]"):
            return "ngram"
        if not model:
            raise ConfigError(f"{where}: a method or a model is needed; methods are {', '.join(_METHODS)}")
        found = re.search(r"eagle3|eagle|dflash|dspark|mtp", model.lower())
        return found[0] if found else "draft_model"
    name = "ngram" if method == "[ngram]" else "mtp" if str(method).endswith("_mtp") else method
    if name not in _METHODS:
        raise ConfigError(f"{where}: method {method!r} is none of {', '.join(_METHODS)}")
    return str(name)


def _acceptance(values: Values, given: Mapping[str, Any], count: int, where: str) -> tuple[float, ...]:
    """One rate a position: --spec-acceptance, else vLLM's synthetic rates, else the usual."""
    text = values.text("spec-acceptance")
    if text is not None:
        return acceptance(text, count, values.where("spec-acceptance"))
    rates, length = given.get("synthetic_acceptance_rates"), given.get("synthetic_acceptance_length")
    if given.get("rejection_sample_method") == "synthetic":
        if (rates is None) == (length is None):
            raise ConfigError(
                f"{where}: rejection_sample_method='synthetic' requires exactly one of "
                "synthetic_acceptance_rates or synthetic_acceptance_length"
            )
        if rates is not None:
            return tuple(float(rate) for rate in rates)
        return _of_length(length, count, where)
    if rates is not None or length is not None:
        raise ConfigError(
            f"{where}: synthetic_acceptance_rates / synthetic_acceptance_length are only valid with "
            "rejection_sample_method='synthetic'"
        )
    return by_rate(_USUAL_RATE, count)


def _of_length(length: Any, count: int, where: str) -> tuple[float, ...]:
    if isinstance(length, bool) or not isinstance(length, int | float) or not 1 <= length <= count + 1:
        raise ConfigError(f"{where}: a mean acceptance length must be from 1 to {count + 1}, not {length!r}")
    return by_length(float(length), count)


def acceptance(text: str, count: int, where: str) -> tuple[float, ...]:
    """`0.7` at each position, `0.8,0.6,0.4` for each one, or `length:2.4`; raises ConfigError."""
    try:
        if text.startswith("length:"):
            return _of_length(float(text.removeprefix("length:")), count, where)
        rates = tuple(map(float, text.split(",")))
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is no rate; write 0.7, 0.8,0.6,0.4 or length:2.4") from None
    if not all(0 <= rate <= 1 for rate in rates):
        raise ConfigError(f"{where}: rates must be from 0 to 1, not {text}")
    if len(rates) == 1:
        return by_rate(rates[0], count)
    if len(rates) != count:
        raise ConfigError(f"{where}: {count} rates are needed, one a position, not {len(rates)}")
    return rates
