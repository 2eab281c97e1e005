"""The command line of `simfleet replay`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from kit.console import complain, show
from simulator.config.compat import DEFAULT_COMPAT, compat
from simulator.config.flags.values import duration
from simulator.config.profilefile import find_profile
from simulator.engine.config import EngineConfig
from simulator.engine.pace.latency import HostOverhead, StepCoefficients, StepModel
from simulator.engine.pace.profiles import Profile
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.errors import ConfigError
from simulator.replay import report
from simulator.replay.lab import POLICIES, Lab
from simulator.replay.trace import fitting, read_trace, scale_rate

_COEFFICIENTS = ("c0", "c1", "c2", "k", "c3", "c4", "c5")
_PROGRESS_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "trace", type=Path, help="folder with requests.jsonl, a JSON Lines file, an Azure CSV"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N requests")
    parser.add_argument("--rate-scale", type=float, default=1.0, metavar="X", help="arrivals X times as fast")
    _add_latency(parser.add_argument_group("latency"))
    _add_engine(parser.add_argument_group("engine (defaults: the profile's, else vLLM's)"))
    _add_output(parser.add_argument_group("output"))


def _add_latency(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--profile", help="step model of a model and GPU; `simfleet profiles` lists them")
    group.add_argument(
        "--step-model", metavar="JSON", help='coefficients in microseconds: {"c0": 17040, ...} or 7 numbers'
    )
    group.add_argument(
        "--host-overhead-per-step", metavar="TIME", help="such as 2000us; default the profile's"
    )
    group.add_argument("--host-overhead-per-sequence", metavar="TIME", help="such as 10us")
    group.add_argument("--step-jitter", type=float, default=0.0, metavar="SHARE", help="deviation of a step")
    group.add_argument("--seed", type=int, default=0)


def _add_engine(group: argparse._ArgumentGroup) -> None:
    boolean = argparse.BooleanOptionalAction
    group.add_argument("--engines", type=int, default=1, metavar="N", help="equal engines behind one policy")
    group.add_argument(
        "--policy",
        choices=POLICIES,
        default="round-robin",
        help="prefix: where most of the prompt is cached, then where fewest requests are; "
        "`simfleet simulate` runs a picker's own configuration",
    )
    group.add_argument("--compat", default=DEFAULT_COMPAT, help="whose scheduling: vllm-0.33, vllm-0.11")
    group.add_argument("--num-gpu-blocks", type=int, help="null block included, as vLLM counts")
    group.add_argument("--block-size", type=int, default=16)
    group.add_argument("--max-num-seqs", type=int)
    group.add_argument("--max-num-batched-tokens", type=int)
    group.add_argument("--max-model-len", type=int, default=32768)
    group.add_argument("--long-prefill-token-threshold", type=int, default=0)
    group.add_argument("--enable-prefix-caching", action=boolean, default=True)
    group.add_argument("--enable-chunked-prefill", action=boolean, default=True)
    group.add_argument("--async-scheduling", action=boolean, help="default: compat's")


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", metavar="FILE", help="the report as JSON; - for standard output")
    group.add_argument("--requests-out", type=Path, metavar="FILE", help="one JSON line per request")
    group.add_argument(
        "--series-out", type=Path, metavar="FILE", help="load of each engine over time, JSON Lines"
    )
    group.add_argument("--series-interval", default="1s", metavar="TIME", help="between its rows (1s)")
    group.add_argument(
        "--check-invariants",
        action="store_true",
        help="check the engine's state after every step (slow); exit 1 where it contradicts itself",
    )
    group.add_argument("--quiet", action="store_true", help="no progress")
    group.add_argument(
        "--max-mean-error", type=float, metavar="PERCENT", help="exit 1 when a mean is further off than this"
    )
    group.add_argument(
        "--max-mape",
        metavar="TTFT/TPOT/E2E",
        help="exit 1 when a per-request error is larger, such as 8/6/3 (percent)",
    )


def run(args: argparse.Namespace) -> int:
    """0: done, and within the bounds given; 1: out of bounds. Raises ConfigError on bad input."""
    profile, model = _step_model(args)
    config = _engine_config(args, profile)
    bounds = _bounds(args)
    if args.engines < 1:
        raise ConfigError("--engines must be at least 1")
    if args.rate_scale <= 0:
        raise ConfigError("--rate-scale must be above 0")
    requests = scale_rate(read_trace(args.trace, RegexTokenizer().encode, args.limit), args.rate_scale)
    coefficients, host = model
    requests, left_out = fitting(requests, config)
    if left_out is not None:
        complain(f"{args.trace}: {left_out}")
    if not requests:
        raise ConfigError(f"trace {args.trace} holds no request that fits")
    lab = Lab(
        config,
        lambda i: StepModel(coefficients, host, jitter=args.step_jitter, seed=args.seed + i),
        num_engines=args.engines,
        policy=args.policy,
        seed=args.seed,
        sample_every=None if args.series_out is None else duration(args.series_interval, "--series-interval"),
    )
    finished = lab.replay(requests, None if args.quiet else _progress(sys.stderr))
    found = report.to_json(finished, _settings(args, config, coefficients, host))
    found["left_out"] = left_out.count if left_out is not None else 0
    _write(args, found, list(report.request_rows(finished)), finished.series)
    return _judge(found, bounds)


def _step_model(args: argparse.Namespace) -> tuple[Profile | None, tuple[StepCoefficients, HostOverhead]]:
    profile = None
    if args.profile is not None:
        profile = find_profile(args.profile)
    if args.step_model is not None:
        coefficients = parse_coefficients(args.step_model)
    elif profile is not None:
        coefficients = profile.coefficients
    else:
        raise ConfigError("give --profile NAME (`simfleet profiles` lists them) or --step-model")
    host = profile.host if profile is not None else HostOverhead()
    per_step, per_sequence = args.host_overhead_per_step, args.host_overhead_per_sequence
    return profile, (
        coefficients,
        HostOverhead(
            host.per_step_us if per_step is None else _micros(per_step, "--host-overhead-per-step"),
            host.per_sequence_us
            if per_sequence is None
            else _micros(per_sequence, "--host-overhead-per-sequence"),
        ),
    )


def _micros(text: str, flag: str) -> float:
    return round(duration(text, flag) * 1e6, 6)


def parse_coefficients(text: str) -> StepCoefficients:
    """A JSON object with c0..c5 and k, or seven numbers in the order c0,c1,c2,k,c3,c4,c5.

    Raises ConfigError.
    """
    where = "--step-model"
    try:
        value = json.loads(text if text.lstrip().startswith(("{", "[")) else f"[{text}]")
    except ValueError as error:
        raise ConfigError(f"{where} {text!r}: {error}") from error
    if isinstance(value, list) and len(value) == len(_COEFFICIENTS):
        value = dict(zip(_COEFFICIENTS, value, strict=True))
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: needs the seven numbers {', '.join(_COEFFICIENTS)}")
    value = {str(name).lower(): number for name, number in value.items()}
    wrong = [name for name in _COEFFICIENTS if type(value.get(name)) not in {int, float}]
    unknown = [name for name in value if name not in _COEFFICIENTS]
    if wrong or unknown:
        raise ConfigError(
            f"{where}: needs numbers for {', '.join(_COEFFICIENTS)}; "
            f"missing or wrong: {wrong}, unknown: {unknown}"
        )
    return StepCoefficients(**value)


def _engine_config(args: argparse.Namespace, profile: Profile | None) -> EngineConfig:
    behaviour = compat(args.compat)
    blocks = args.num_gpu_blocks or (profile.num_gpu_blocks if profile else None)
    if blocks is None:
        raise ConfigError("give --num-gpu-blocks (or --profile, which has a default for it)")
    gpu = profile.gpu if profile else None
    return EngineConfig(
        max_num_seqs=args.max_num_seqs or (gpu.max_num_seqs if gpu else 256),
        max_num_batched_tokens=args.max_num_batched_tokens or (gpu.max_num_batched_tokens if gpu else 2048),
        max_model_len=args.max_model_len,
        block_size=args.block_size,
        num_gpu_blocks=blocks,
        enable_prefix_caching=args.enable_prefix_caching,
        enable_chunked_prefill=args.enable_chunked_prefill,
        long_prefill_token_threshold=args.long_prefill_token_threshold,
        async_scheduling=behaviour.async_scheduling
        if args.async_scheduling is None
        else args.async_scheduling,
        check_invariants=args.check_invariants,
        **dataclasses.asdict(behaviour.engine),
        api_overhead=profile.api_us * 1e-6 if profile is not None else 0.0,
        seed=args.seed,
        prefix_index="dict",
    )


def _bounds(args: argparse.Namespace) -> tuple[float | None, dict[str, float]]:
    mapes: dict[str, float] = {}
    if args.max_mape is not None:
        try:
            values = [float(part) for part in args.max_mape.split("/")]
            mapes = dict(zip(report.METRICS, values, strict=True))
        except ValueError as error:
            raise ConfigError(f"--max-mape {args.max_mape!r}: write three numbers such as 8/6/3") from error
    return args.max_mean_error, mapes


def _settings(
    args: argparse.Namespace, config: EngineConfig, coefficients: StepCoefficients, host: HostOverhead
) -> dict[str, Any]:
    return {
        "trace": str(args.trace),
        "profile": args.profile,
        "compat": args.compat,
        "engines": args.engines,
        "policy": args.policy,
        "seed": args.seed,
        "coefficients_us": {name: getattr(coefficients, name) for name in _COEFFICIENTS},
        "host_overhead_us": {"per_step": host.per_step_us, "per_sequence": host.per_sequence_us},
        "num_gpu_blocks": config.num_gpu_blocks,
        "block_size": config.block_size,
        "max_num_seqs": config.max_num_seqs,
        "max_num_batched_tokens": config.max_num_batched_tokens,
        "max_model_len": config.max_model_len,
        "async_scheduling": config.async_scheduling,
        "admission": config.admission,
    }


def _progress(stream: TextIO) -> Callable[[int, int, float], None] | None:
    """One line that rewrites itself; nothing where nobody watches."""
    if not stream.isatty():
        return None
    shown = 0.0

    def show(done: int, total: int, virtual: float) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _PROGRESS_SECONDS or done == total:
            shown = now
            end = "\n" if done == total else "\r"
            stream.write(f"{done}/{total} requests, {virtual:.1f} virtual seconds{end}")
            stream.flush()

    return show


def _write(
    args: argparse.Namespace,
    found: dict[str, Any],
    rows: list[dict[str, Any]],
    series: list[dict[str, Any]],
) -> None:
    try:
        for file, lines in ((args.requests_out, rows), (args.series_out, series)):
            if file is not None:
                file.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
        if args.json not in {None, "-"}:
            Path(args.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from error
    text = json.dumps(found, indent=2) + "\n" if args.json == "-" else report.to_text(found)
    show(text)


def _judge(found: dict[str, Any], bounds: tuple[float | None, dict[str, float]]) -> int:
    max_mean, max_mapes = bounds
    failures = []
    for metric, summary in found["metrics"].items():
        error, mape = summary["error_percent"], summary["mape_percent"]
        if error is None:
            if max_mean is not None or max_mapes:
                raise ConfigError("the trace has no measured times to hold the bounds against")
            continue
        if max_mean is not None and abs(error["mean"]) > max_mean:
            failures.append(f"mean {metric} is off by {error['mean']:+.2f} %, allowed {max_mean} %")
        if metric in max_mapes and mape > max_mapes[metric]:
            failures.append(f"MAPE of {metric} is {mape:.2f} %, allowed {max_mapes[metric]} %")
    for failure in failures:
        complain(failure)
    return 1 if failures else 0
