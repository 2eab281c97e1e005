"""loadgen beside other load generators, one after the other on the same `simfleet serve`: TTFT, TPOT, E2E.

    python bench/beside.py [--tools DIR ...] [--requests 100] [--rate 5]

aiperf, vllm bench, guidellm and inference-perf are run where they are found, in the folders of `--tools` or
on the PATH (each is best installed in an environment of its own). All send the same: completions of 50 tokens
at a constant rate. Every tool counts from the moment at which it sends; guidellm's TPOT is what others call
NTPOT, so its inter-token latency stands here; inference-perf counts tokens with the tokenizer, so the server
uses the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.entry import parser
from loadgen.records.frame import Frame
from loadgen.records.table import read_records

TTFT, PACE, TOKENS, PROMPT = 50.0, 5.0, 50, 64
"""Milliseconds, milliseconds, and tokens of each answer and prompt."""
LIMIT = 300.0
"""Seconds that a tool may take."""
Means = dict[str, float]


@dataclass(frozen=True)
class Work:
    """What a tool is to do, and where it may write."""

    url: str
    folder: Path
    tokenizer: Path
    requests: int
    rate: float
    places: str = field(default_factory=lambda: os.environ.get("PATH", ""))
    """Folders to look for programs in, as in PATH."""

    def program(self, name: str) -> str | None:
        return shutil.which(name, path=self.places)

    def call(self, *command: str, fine: tuple[int, ...] = (0,)) -> None:
        """Run a tool; RuntimeError with its last words when it ends with a code that is not `fine`."""
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        if Path(command[0]).name == "aiperf":  # offline it takes no tokenizer from a folder
            del environment["HF_HUB_OFFLINE"]
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=environment,
            timeout=LIMIT,
            capture_output=True,
            text=True,
        )
        if done.returncode not in fine:
            words = (done.stdout + done.stderr).strip()[-600:]
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {words}")


def _program(name: str, *arguments: str) -> list[str]:
    """One of our own programs, of this environment."""
    return [str(Path(sys.executable).with_name(name)), *arguments]


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def loadgen(work: Work) -> Means:
    """Ours; from the actual start, as the others count."""
    out = work.folder / "loadgen"
    load = ["--rate", f"{work.rate:g}", "--arrival", "constant", "--requests", str(work.requests)]
    size = ["--input-tokens", str(PROMPT), "--output-tokens", str(TOKENS), "--ignore-eos"]
    flags = ["--target", work.url, "--model", "sim", *load, *size, "-q", "--no-selftest", "-o", str(out)]
    work.call(*_program("loadgen", "run", *flags), fine=(0, 2))  # 2: late starts, which these figures show
    frame = Frame(read_records(out))
    values = {name: frame.latency(f"{name}_sent")[0] for name in ("ttft", "e2e")}
    values["tpot"] = frame.latency("tpot")[0]
    return {name: float(np.mean(each)) * 1000 for name, each in values.items()}


def aiperf(work: Work) -> Means:
    out = work.folder / "aiperf"
    load = ["--request-rate", f"{work.rate:g}", "--request-rate-mode", "constant"]
    size = ["--request-count", str(work.requests), "--isl", str(PROMPT), "--osl", str(TOKENS)]
    more = ["--extra-inputs", "ignore_eos:true", "--use-server-token-count", "--ui", "simple"]
    where = ["--url", work.url, "--model", "sim", "--endpoint-type", "completions", "--streaming"]
    place = ["--tokenizer", str(work.tokenizer), "--output-artifact-dir", str(out)]
    work.call(str(work.program("aiperf")), "profile", *where, *load, *size, *more, *place)
    found = _read(out / "profile_export_aiperf.json")
    names = {"ttft": "time_to_first_token", "tpot": "inter_token_latency", "e2e": "request_latency"}
    return {name: float(found[key]["avg"]) for name, key in names.items()}


def vllm(work: Work) -> Means:
    out = work.folder / "vllm"
    where = ["--base-url", work.url, "--endpoint", "/v1/completions", "--model", "sim", "--backend", "vllm"]
    size = ["--dataset-name", "random", "--random-input-len", str(PROMPT), "--random-output-len", str(TOKENS)]
    load = ["--num-prompts", str(work.requests), "--request-rate", f"{work.rate:g}", "--burstiness", "100000"]
    more = ["--ignore-eos", "--tokenizer", str(work.tokenizer), "--percentile-metrics", "ttft,tpot,e2el"]
    keep = ["--save-result", "--result-dir", str(out), "--result-filename", "result.json"]
    work.call(str(work.program("vllm")), "bench", "serve", *where, *size, *load, *more, *keep)
    found = _read(out / "result.json")
    return {
        name: float(found[f"mean_{key}_ms"])
        for name, key in zip(NAMES, ("ttft", "tpot", "e2el"), strict=True)
    }


def guidellm(work: Work) -> Means:
    out = work.folder / "guidellm.json"
    backend = f"kind=openai_http,target={work.url},model=sim,request_format=/v1/completions"
    what = f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={TOKENS}"
    work.call(
        str(work.program("guidellm")), "run", "--backend", backend, "--data", what,
        "--profile", f"kind=constant,rate={work.rate:g}",
        "--constraint", f"kind=max_requests,count={work.requests}",
        "--tokenizer", f"kind=huggingface_auto,model={work.tokenizer}",
        "--output", f"kind=json,path={out}", "--disable-console-interactive",
    )  # fmt: skip
    found = _read(out)["benchmarks"][0]["metrics"]
    names = {"ttft": "time_to_first_token_ms", "tpot": "inter_token_latency_ms", "e2e": "request_latency"}
    means = {name: float(found[key]["successful"]["mean"]) for name, key in names.items()}
    return {**means, "e2e": means["e2e"] * 1000}


def inference_perf(work: Work) -> Means:
    out, config = work.folder / "inference-perf", work.folder / "inference-perf.yaml"

    def exactly(tokens: int) -> dict[str, float]:
        return {"min": tokens, "max": tokens, "mean": tokens, "std_dev": 0, "total_count": work.requests}

    document = {
        "api": {"type": "completion", "streaming": True},
        "data": {
            "type": "random", "input_distribution": exactly(PROMPT), "output_distribution": exactly(TOKENS)
        },
        "load": {
            "type": "constant",
            "num_workers": 1,
            "stages": [{"rate": work.rate, "duration": round(work.requests / work.rate)}],
        },
        "server": {"type": "vllm", "model_name": "sim", "base_url": work.url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": str(work.tokenizer)},
        "report": {"request_lifecycle": {"summary": True}},
        "storage": {"local_storage": {"path": str(out)}},
    }  # fmt: skip
    config.write_text(json.dumps(document))  # JSON is YAML
    work.call(str(work.program("inference-perf")), "-c", str(config))
    found = _read(out / "summary_lifecycle_metrics.json")["successes"]["latency"]
    names = {"ttft": "time_to_first_token", "tpot": "time_per_output_token", "e2e": "request_latency"}
    return {name: float(found[key]["mean"]) * 1000 for name, key in names.items()}


NAMES = ("ttft", "tpot", "e2e")
TOOLS: dict[str, Callable[[Work], Means]] = {
    "aiperf": aiperf,
    "vllm": vllm,
    "guidellm": guidellm,
    "inference-perf": inference_perf,
}
"""By the name of their program."""


def write_tokenizer(folder: Path) -> Path:
    """A small byte-level tokenizer, so that no tool has to fetch one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    train = trainers.BpeTrainer(
        vocab_size=800, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    words = [
        f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "se", "ta") for b in ("ber", "dal", "fin", "gor", "hum")
    ]
    tokenizer.train_from_iterator([" ".join(words)], train)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "pad_token": "<eos>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 800}))
    return folder


class Simulator:
    """`simfleet serve` with a known truth."""

    def __init__(self, port: int, tokenizer: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        pace = ["--time-to-first-token", f"{TTFT:g}ms", "--inter-token-latency", f"{PACE:g}ms"]
        model = ["sim", "--port", str(port), "--tokenizer", str(tokenizer)]
        command = _program("simfleet", "serve", *model, *pace)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the simulator did not start")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--tools", action="append", default=[], metavar="DIR", help="folders of programs")
    options.add_argument("--requests", type=int, default=100)
    options.add_argument("--rate", type=float, default=5.0)
    options.add_argument("--port", type=int, default=18123)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = write_tokenizer(folder / "tokenizer")
        places = os.pathsep.join([*args.tools, os.environ.get("PATH", "")])
        with Simulator(args.port, tokenizer) as server:
            work = Work(server.url, folder, tokenizer, args.requests, args.rate, places)
            print("| tool | TTFT mean | TPOT mean | E2E mean |\n| --- | --- | --- | --- |")
            print(f"| truth | {TTFT:.2f} ms | {PACE:.3f} ms | {TTFT + PACE * (TOKENS - 1):.2f} ms |")
            for tool, run in {"loadgen": loadgen, **TOOLS}.items():
                if tool != "loadgen" and work.program(tool) is None:
                    print(f"{tool}: not found", file=sys.stderr)
                    continue
                found = run(work)
                print(f"| {tool} | {found['ttft']:.2f} ms | {found['tpot']:.3f} ms | {found['e2e']:.2f} ms |")


if __name__ == "__main__":
    main()
