"""Every counter after the same 300 requests is that of real vLLM 0.33, and the families are the same.

`metrics_300.json` holds what a CPU server of vLLM counted from before the first request to after the last:
all counters, the counts of all histograms, and buckets and sums of those that are not times. Left out is one
family, iteration_tokens_total: of the sequences of one request some reach vLLM's engine a step later or not,
so that two runs of vLLM itself differ (1 214 and 1 220 steps).
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.recorded import COMMON, DATA, recorded_text
from tests.conformance.test_random import TEMPLATE
from tests.simulator.server.pods import pod
from tests.simulator.server.serving import serving

RECORDED = json.loads((DATA / "metrics_300.json").read_text())
KINDS = [
    *["cmpl"] * 5, "stream", "chat", "chat", "n", "messages", "responses", "bad", "long", "tok", "logprobs",
    "unknown", "list",
]  # fmt: skip


def requests() -> list[tuple[str, dict[str, Any]]]:
    """Requests whose counts do not depend on what a model says; as they were sent to vLLM."""
    rng = random.Random(12)
    base = [[rng.randrange(10, 4000) for _ in range(n)] for n in (300, 400, 150, 20)]
    made = []
    for i in range(300):
        kind = rng.choice(KINDS)
        n = rng.randint(1, 9)
        ids = rng.choice(base)[: rng.randrange(10, 400)]
        ids = ids + [rng.randrange(10, 4000) for _ in range(rng.randrange(1, 60))]
        made.append(_request(kind, n, ids, i, rng))
    return made


def _request(kind: str, n: int, ids: list[int], i: int, rng: random.Random) -> tuple[str, dict[str, Any]]:
    common: dict[str, Any] = {"model": "tiny", "max_tokens": n, "ignore_eos": True, "temperature": 0}
    match kind:
        case "chat":
            messages = [{"role": "user", "content": "word " * rng.randrange(1, 300)}]
            return "/v1/chat/completions", {**common, "messages": messages, "stream": rng.random() < 0.5}
        case "messages":
            said = [{"role": "user", "content": "hi " * rng.randrange(1, 50)}]
            return "/v1/messages", {"model": "tiny", "max_tokens": n, "messages": said, "temperature": 0}
        case "responses":
            text = "hi " * rng.randrange(1, 50)
            return "/v1/responses", {"model": "tiny", "max_output_tokens": n, "input": text, "temperature": 0}
        case "unknown":
            return "/v1/chat/completions", {
                **common,
                "model": "nope",
                "messages": [{"role": "user", "content": "x"}],
            }
        case "tok":
            return "/tokenize", {"model": "tiny", "prompt": "some words here"}
    more: dict[str, dict[str, Any]] = {
        "stream": {"stream": True, "stream_options": {"include_usage": True}},
        "n": {"n": 3, "temperature": 1, "seed": i},
        "list": {"prompt": [ids, ids[:40]]},
        "bad": {"temperature": -1},
        "long": {"prompt": [5] * 2000},
        "logprobs": {"logprobs": 2, "prompt_logprobs": 1},
    }
    return "/v1/completions", {**common, "prompt": ids, **more.get(kind, {})}


def series(page: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in page.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}


@pytest.mark.slow
def test_all_counters(tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(TEMPLATE)
    flags = ("--max-model-len", "1024", "--max-num-seqs", "128", "--chat-template", str(template))
    more = ("--dataset-path", str(recorded_text(tmp_path)), "--latency", "zero", "--step-model", "{}")
    with serving(*COMMON, *flags, *more) as server:
        before = series(server.request("GET", "/metrics").body.decode())
        statuses = [server.request("POST", path, body).status for path, body in requests()]
        assert statuses == RECORDED["statuses"]
        page = server.request("GET", "/metrics").body.decode()
    after = series(page)
    counted = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in RECORDED["counts"]}
    assert counted == RECORDED["counts"]
    told = {" ".join(line.split()[2:4]) for line in page.splitlines() if line.startswith("# TYPE")}
    assert told == set(RECORDED["families"])


def families(page: str) -> dict[str, list[Any]]:
    """Type and labels of each vllm:* family on a page."""
    kinds = dict(line.split()[2:4] for line in page.splitlines() if line.startswith("# TYPE"))
    found: dict[str, set[str]] = {}
    for line in page.splitlines():
        if line.startswith("vllm:") and not line.startswith("vllm:cache_config_info"):
            name, _, rest = line.partition("{")
            name = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
            labels = re.findall(r'(\w+)="', rest.rpartition("}")[0])
            found.setdefault(name, set()).update(label for label in labels if label != "le")
    return {name: [kinds[name], sorted(labels)] for name, labels in found.items()}


def test_families_with_every_feature_on() -> None:
    """Of a CPU server with drafts, reasoning and tools; NIXL's are those that its own class registers."""
    flags = (
        *("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 3}'),
        *("--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        *("--kv-transfer-config", '{"kv_connector": "NixlConnector", "kv_role": "kv_both"}'),
        *("--enable-sleep-mode", "--strict"),
    )
    with pod(*flags) as one:
        told = families(one.get("/metrics").body.decode())
    consumer = told.pop("vllm:num_requests_kv_fetch_by_stage")  # the recorded server had no connector
    assert consumer == ["gauge", ["engine", "model_name", "stage"]]
    assert told == json.loads((DATA / "metric_families.json").read_text())
