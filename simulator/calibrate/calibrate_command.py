"""`simfleet calibrate`: a profile of one's own server, from a probe of it or from recorded runs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from kit.console import complain, say
from simulator.calibrate.fit import Fitted, Scores, calibrate
from simulator.calibrate.probe import Limits, limits, probe
from simulator.calibrate.readers import read_runs
from simulator.calibrate.trial import MeasuredRun, coefficients_of
from simulator.config.compat import DEFAULT_COMPAT, compat
from simulator.config.profilefile import PROFILE_VERSION
from simulator.engine.config import EngineConfig
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.errors import ConfigError, EngineError

_METRICS = ("ttft", "tpot", "e2e")
_TITLES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}
_BLOCK_SIZE = 16
_MODEL_LEN = 32768


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="recorded runs: a trace with `measured` times, a run directory of loadgen, a JSON of "
        "`vllm bench serve --save-result --save-detailed`",
    )
    live = parser.add_argument_group("a live server")
    live.add_argument("--target", metavar="URL", help="probe this server for a few minutes")
    live.add_argument("--model", help="the model's name there")
    live.add_argument("--probe-out", type=Path, metavar="DIR", help="where the probe's runs stay")
    engine = parser.add_argument_group("the server's scheduler (as it was started; a live one is asked)")
    engine.add_argument("--num-gpu-blocks", type=int, help="KV blocks, as vLLM's log or /metrics says")
    engine.add_argument("--block-size", type=int)
    engine.add_argument("--max-num-seqs", type=int, default=256)
    engine.add_argument("--max-num-batched-tokens", type=int, default=2048)
    engine.add_argument("--max-model-len", type=int)
    engine.add_argument("--compat", default=DEFAULT_COMPAT, help="whose scheduling: vllm-0.33, vllm-0.11")
    engine.add_argument("--async-scheduling", action=argparse.BooleanOptionalAction, help="default: compat's")
    out = parser.add_argument_group("output")
    out.add_argument("-o", "--out", type=Path, required=True, help="the profile, for --profile FILE")
    out.add_argument("--name", default="calibrated", help="the profile's name")
    out.add_argument("--gpu", default="unknown", help="what it ran on, for people")
    out.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """0: the profile is written. Raises ConfigError on bad input; 130 where Ctrl-C ended it."""
    if bool(args.runs) == bool(args.target):
        raise ConfigError("give recorded runs, or --target with --model, and not both")
    if args.target and not args.model:
        raise ConfigError("--target needs --model, the name that requests ask for")
    if args.out.exists() and not _is_profile(args.out):
        raise ConfigError(f"{args.out} is there and no profile, so it stays as it is: give another --out")
    quiet = (lambda _: None) if args.quiet else say
    told = Limits()
    paths: list[Path] = args.runs
    if args.target:
        target = args.target.rstrip("/")
        told = limits(target, args.model)
        place = args.probe_out or args.out.with_suffix("")
        place = place.with_name(f"{place.name}-probe-{time.strftime('%Y%m%d-%H%M%S')}")
        place.mkdir(parents=True)
        paths = probe(
            target, args.model, place, args.max_model_len or told.max_model_len or _MODEL_LEN, quiet
        )
    runs, notes = _read(paths)
    config, supposed = _config(args, told, runs)
    try:
        found = calibrate(runs, config, quiet)
    except EngineError as error:
        raise ConfigError(
            f"a request of the runs does not fit the scheduler that was told: {error}"
        ) from error
    notes += supposed + [f"not covered: {note}" for note in found.notes]
    _write(args, found, config, notes, runs)
    _tell(args, found, notes)
    return 0


def _is_profile(path: Path) -> bool:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and "profile" in value


def _read(paths: list[Path]) -> tuple[list[MeasuredRun], list[str]]:
    runs: list[MeasuredRun] = []
    notes: list[str] = []
    encode = RegexTokenizer().encode
    for path in paths:
        found, said = read_runs(path, encode)
        runs += found
        notes += said
    return runs, notes


def _config(
    args: argparse.Namespace, told: Limits, runs: list[MeasuredRun]
) -> tuple[EngineConfig, list[str]]:
    """The scheduler of the server, and what of it nobody has said."""
    behaviour, notes = compat(args.compat), []
    block = args.block_size or told.block_size or _BLOCK_SIZE
    longest = max(r.prompt.length + r.output_tokens for run in runs for r in run.requests)
    length = max(args.max_model_len or told.max_model_len or _MODEL_LEN, longest + 1)
    blocks = args.num_gpu_blocks or told.num_gpu_blocks
    if blocks is None:
        everything = sum(r.prompt.length + r.output_tokens for run in runs for r in run.requests)
        blocks = everything // block + len(runs) + 2
        notes.append("no --num-gpu-blocks: the KV cache is taken to be large enough for everything")
    asynchronous = behaviour.async_scheduling if args.async_scheduling is None else args.async_scheduling
    config = EngineConfig(
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_model_len=length,
        block_size=block,
        num_gpu_blocks=blocks,
        async_scheduling=asynchronous,
        prefix_index="dict",
        **dataclasses.asdict(behaviour.engine),
    )
    return config, notes


def _write(
    args: argparse.Namespace,
    found: Fitted,
    config: EngineConfig,
    notes: list[str],
    runs: list[MeasuredRun],
) -> None:
    steps = coefficients_of(found.beta, found.knee)
    value: dict[str, Any] = {
        "profile": PROFILE_VERSION,
        "name": args.name,
        "model": args.model or "unknown",
        "gpu": args.gpu,
        "source": f"simfleet calibrate, {time.strftime('%Y-%m-%d')}: {', '.join(run.name for run in runs)}",
        "coefficients_us": {name: getattr(steps, name) for name in ("c0", "c1", "c2", "k", "c3", "c4", "c5")},
        "api_overhead_us": found.beta[-1],
        "engine": {
            "max_num_seqs": config.max_num_seqs,
            "max_num_batched_tokens": config.max_num_batched_tokens,
            "num_gpu_blocks": config.num_gpu_blocks,
            "block_size": config.block_size,
        },
        "fitted_error_percent": _errors(found.fitted),
        "held_out_error_percent": _errors(found.held_out),
        "covered": dataclasses.asdict(found.reach),
        "notes": notes,
    }
    try:
        args.out.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {args.out}: {error.strerror}") from error


def _errors(scores: Scores) -> dict[str, Any]:
    return {
        "requests": scores.requests,
        "mean": scores.mean,
        "mape": scores.mape,
        "ttft_quantile_distance": scores.ttft_distance,
    }


def _tell(args: argparse.Namespace, found: Fitted, notes: list[str]) -> None:
    """What a person wants to know at the end."""
    for title, scores in (("fitted", found.fitted), ("held out", found.held_out)):
        parts = [
            f"{_TITLES[name]} mean {scores.mean[name]:+.2f} %, each {scores.mape[name]:.2f} %"
            for name in _METRICS
            if name in scores.mean
        ]
        distance = scores.ttft_distance
        if distance is not None:
            parts.append(f"TTFT of unqueued requests as a distribution {distance:.1f} % off")
        say(f"{title} ({scores.requests} requests): {'; '.join(parts)}")
    for note in notes:
        complain(f"note: {note}")
    say(f"{args.out}: simfleet serve --profile {args.out}")
