"""The flags of `run`, `plan`, `sweep` and `compare`; how they want it done (spelling.py: what)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.errors import ScenarioError

if TYPE_CHECKING:
    from loadgen.scenario.options import RunOptions
    from loadgen.scenario.scenario import Scenario
    from loadgen.sweep.run import SweepOptions

CLASS_FLAGS = (
    ("--api", "api", "completions | chat | responses | messages | embeddings"),
    ("--prompt", "prompt", "one fixed prompt"),
    ("--input-tokens", "input_tokens", "prompt length: number or {mean, stddev}, {min, max}, {values}"),
    ("--output-tokens", "output_tokens", "answer length, in the same forms"),
    ("--max-tokens", "max_tokens", "max_tokens of every request, whatever --output-tokens draws"),
    ("--form", "form", "text | tokens"),
    ("--preset", "preset", "production traffic: chat | code | doc-qa | agent"),
    ("--objective", "objective", "x-gateway-inference-objective"),
    ("--fairness-id", "fairness_id", "x-gateway-inference-fairness-id"),
    ("--timeout", "timeout", "the client's own timeout (60s)"),
    ("--ttft-timeout", "ttft_timeout", "how long the first token of a stream may take (--timeout)"),
    ("--itl-timeout", "itl_timeout", "how long a stream may pause between two tokens (--timeout)"),
    ("--cancel-after", "cancel_after", "leave after so many tokens"),
    ("--priority", "priority", "vLLM's priority field"),
)
ARRIVAL_FLAGS = (
    ("--rate", "rate", "requests per second; of a whole scenario where one is named"),
    ("--arrival", "process", "poisson (default) | constant | gamma | burst | closed | trace | clients"),
    ("--requests", "requests", "how many, instead of or besides --duration"),
    ("--burstiness", "burstiness", "gamma's shape as in vLLM: below 1 is burstier than Poisson"),
    ("--ramp-to", "to", "let the rate move to this one over --duration"),
    ("--ramp-shape", "shape", "linear | exponential"),
    ("--users", "users", "closed loop with so many users"),
    ("--think", "think", "a user's pause between requests"),
    ("--burst-size", "size", "requests at one instant (--arrival burst)"),
    ("--every", "every", "seconds between bursts"),
    ("--time-scale", "time_scale", "times of a trace multiplied by this: 0.5 is twice as fast"),
)
TOP_FLAGS = (
    ("--grace", "grace", "how long what runs may go on after the last start (30s)"),
    ("--ready-timeout", "ready_timeout", "how long to wait for the target (10s)"),
    ("--warmup", "warmup", "leave the first seconds out of the figures"),
    ("--connections", "connections", "connections opened before the start"),
    ("--max-in-flight", "max_in_flight", "limit; what is due beyond it is recorded as missed"),
    ("--tokenizer", "tokenizer", "tokenizer.json of the model, or its directory, for exact lengths"),
)


def add_load_flags(parser: argparse.ArgumentParser) -> None:
    """What load to make."""
    basic = parser.add_argument_group("load")
    basic.add_argument("--target", help="http(s)://HOST:PORT of the gateway or server")
    basic.add_argument("--model", help="model name")
    basic.add_argument("--duration", help="30s, 5m ...")
    basic.add_argument("--seed", type=int, help="one seed, one plan (0)")
    basic.add_argument("--processes", type=int, help="worker processes (1)")
    for flag, key, words in (*ARRIVAL_FLAGS, *CLASS_FLAGS):
        basic.add_argument(flag, dest=f"load_{key}", metavar="V", help=words)
    basic.add_argument("--no-stream", action="store_true", help="ask for whole answers")
    basic.add_argument("--ignore-eos", action="store_true", help="answers of exactly max_tokens")
    basic.add_argument("--adapter", action="append", default=[], metavar="NAME[=WEIGHT]", help="LoRA mix")
    basic.add_argument("-H", "--header", action="append", default=[], metavar="KEY:VALUE")
    basic.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="environment variable with the API key (OPENAI_API_KEY, if it is set)",
    )
    basic.add_argument("--api-key", metavar="KEY", help="the API key itself, which `ps` shows to others")
    basic.add_argument(
        "--redact", action="append", default=[], metavar="NAME", help="a header or field that is secret too"
    )
    basic.add_argument("--prefix", metavar="V", help="{groups: 8, tokens: 512, zipf: 1.0} shared beginnings")
    basic.add_argument("--sessions", metavar="V", help="{turns: 4, think: 1s} conversations")
    basic.add_argument(
        "--trace",
        metavar="FORMAT:FILE",
        help="mooncake | azure | burstgpt | bailian | sharegpt | timed_trace | openai",
    )
    basic.add_argument("--trace-limit", type=int, metavar="N", help="the first N rows of --trace only")
    basic.add_argument(
        "--prompts", metavar="FILE", help="requests in OpenAI's fields, one a line (--trace openai:FILE)"
    )
    basic.add_argument("--retries", type=int, metavar="N", help="attempts in all; off by default")
    for flag, key, words in TOP_FLAGS:
        basic.add_argument(flag, dest=f"top_{key}", metavar="V", help=words)
    basic.add_argument("--http2", action="store_true", help="HTTP/2, over TLS by ALPN (extra h2)")
    basic.add_argument("--no-chunk-times", action="store_true", help="keep no time of each token")
    basic.add_argument("--insecure", action="store_true", help="take any certificate")
    basic.add_argument("--ca", help="file of the CA that signed the target's certificate")
    basic.add_argument("--server-name", help="name to verify instead of the URL's host")
    verdict = parser.add_argument_group("verdict")
    verdict.add_argument("--slo", action="append", default=[], metavar="METRIC=LIMIT", help="ttft=300ms ...")
    verdict.add_argument("--expect", action="append", default=[], metavar="EXPR", help="'ttft.p99 < 300ms'")
    verdict.add_argument(
        "--scrape", action="append", default=[], metavar="[NAME=]URL", help="a pod's /metrics"
    )
    verdict.add_argument("--fleet", help="command or file that gives `simfleet ps --format json`")
    verdict.add_argument(
        "--name", dest="stack", help="the stack that is meant, where the fleet lists several"
    )
    verdict.add_argument("--epp", action="append", default=[], metavar="URL", help="the picker's /metrics")
    verdict.add_argument("--prometheus", metavar="URL", help="a Prometheus that scrapes the pods")
    verdict.add_argument("--scrape-interval", metavar="V", help="between scrapes (1s)")
    verdict.add_argument("--decision-log", help="the picker's log of its decisions")


def add_conduct_flags(parser: argparse.ArgumentParser) -> None:
    """How to run."""
    group = parser.add_argument_group("conduct")
    group.add_argument("-o", "--out", type=Path, default=None, help="directory of the run (runs/NAME-TIME)")
    group.add_argument("-q", "--quiet", action="store_true", help="no live view")
    group.add_argument("--no-selftest", action="store_true", help="do not measure this client's ceiling")
    group.add_argument("--slice", default=None, metavar="I/N", help="this machine's part of the plan, from 0")
    group.add_argument("--start-at", type=float, default=None, metavar="UNIX", help="wall-clock start")


def add_telling_flags(parser: argparse.ArgumentParser) -> None:
    """What one run tells to others while it lasts."""
    parser.add_argument(
        "--traceparent", action="store_true", help="give each request a W3C trace context of its own"
    )
    parser.add_argument(
        "--metrics-port",
        type=port_number,
        metavar="PORT",
        help="serve the totals so far at /metrics on this port of 127.0.0.1 while the load runs (0: any)",
    )


def port_number(text: str) -> int:
    """A TCP port; argparse.ArgumentTypeError for what is none."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535, not {text!r}")
    return int(text)


def run_options(args: argparse.Namespace) -> RunOptions:
    """The conduct flags as options of a run; ScenarioError for a slice that is none."""
    from loadgen.scenario.options import RunOptions  # noqa: PLC0415

    part = (0, 1)
    if args.slice is not None:
        first, _, second = args.slice.partition("/")
        if not (first.isdigit() and second.isdigit() and int(first) < int(second)):
            raise ScenarioError(f"--slice must look like 0/4 (0 to 3 of 4), not {args.slice!r}")
        part = (int(first), int(second))
    return RunOptions(
        out=args.out,
        plan=getattr(args, "plan", None),
        quiet=args.quiet,
        selftest=not args.no_selftest,
        slice=part,
        start_at=args.start_at,
        metrics_port=getattr(args, "metrics_port", None),
        traceparent=getattr(args, "traceparent", False),
        command=tuple(args.command_line),
        ui=getattr(args, "ui", None),
    )


def sweep_options(args: argparse.Namespace, scenario: Scenario) -> SweepOptions:
    """What a sweep looks for; ScenarioError for a rate or share that is none."""
    from loadgen.sweep.run import SweepOptions  # noqa: PLC0415

    if args.slice is not None or args.start_at is not None:
        raise ScenarioError("a sweep is run by one machine: leave --slice and --start-at out")
    rates = tuple(positive(text, "--rates") for text in args.rates.split(",")) if args.rates else ()
    if rates and args.find is not None:
        raise ScenarioError("--rates runs these rates, --find looks for one; leave one of them out")
    if args.runs < 1:
        raise ScenarioError(f"--runs must be at least 1, not {args.runs}")
    return SweepOptions(
        rates=tuple(sorted(set(rates))),
        find=args.find or ("goodput" if scenario.slo else "saturation"),
        good=_share(args.good, "--good"),
        within=_share(args.within, "--within"),
        most=args.runs,
        out=args.out,
        quiet=args.quiet,
        selftest=not args.no_selftest,
        command=tuple(args.command_line),
    )


def positive(text: str, flag: str) -> float:
    """A rate; ScenarioError for what is none."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ScenarioError(f"{flag} takes requests per second such as 5,10,20, not {text!r}")
    return value


def _share(text: str, flag: str) -> float:
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number) / (100 if "%" in text else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise ScenarioError(f"{flag} takes a share such as 95%, not {text!r}")
    return value
