"""Random scenarios for the scheduler: small engines under pressure, so that every branch is reached often."""

from __future__ import annotations

from random import Random
from typing import Any


def scenario(seed: int) -> dict[str, Any]:
    """One scenario in the oracle's form. Every prompt fits the engine, so that every run ends."""
    rng = Random(seed)
    block_size = rng.choice([4, 8, 16, 16, 16])
    num_blocks = rng.randint(6, 40)
    capacity = (num_blocks - 1) * block_size
    watermark = rng.choice([0.0, 0.0, 0.0, 0.05, 0.2])
    max_model_len = rng.choice([64, 256, 512])
    cfg = {
        "max_num_seqs": rng.randint(1, 8),
        "max_num_batched_tokens": rng.choice([8, 16, 32, 64, 128, 256]),
        "max_model_len": max_model_len,
        "block_size": block_size,
        "num_blocks": num_blocks,
        "policy": rng.choice(["fcfs", "fcfs", "priority"]),
        "async": rng.random() < 0.5,
        "max_loras": rng.choice([0, 0, 1, 2]),
        "long_prefill_token_threshold": rng.choice([0, 0, 4, 16, 40]),
        "enable_prefix_caching": rng.random() < 0.8,
        "watermark": watermark,
    }
    longest = max(1, min(max_model_len - 1, int(capacity * (1 - watermark)) - 2 * block_size))
    return {"cfg": cfg, "reqs": _requests(rng, cfg, longest, capacity)}


def _requests(rng: Random, cfg: dict[str, Any], longest: int, capacity: int) -> list[dict[str, Any]]:
    prefixes = [[rng.randint(10, 40) for _ in range(rng.randint(1, longest))] for _ in range(3)]
    span = rng.choice([1, 10, 60])
    reqs: list[dict[str, Any]] = []
    for i in range(rng.randint(2, 14)):
        length = rng.randint(1, max(1, rng.choice([longest, longest // 2, longest // 4])))
        prefix = rng.choice(prefixes)[: rng.randint(0, length)] if rng.random() < 0.7 else []
        prompt = prefix + [rng.randint(10, 40) for _ in range(length - len(prefix))]
        if rng.random() < 0.15 and reqs:
            prompt = list(rng.choice(reqs)["prompt"])
        if rng.random() < 0.1:
            prompt = prompt[:1] + [7] * (len(prompt) - 1)  # what the oracle's model says
        room = max(1, min(capacity, cfg["max_model_len"]) - len(prompt) - cfg["block_size"])
        r: dict[str, Any] = {
            "id": f"r{i}",
            "at_step": rng.randint(0, span),
            "prompt": prompt,
            "max_tokens": rng.randint(1, rng.choice([3, room, room])) if room > 3 else rng.randint(1, room),
        }
        if rng.random() < 0.5:
            r["priority"] = rng.randint(0, 3)
        if cfg["max_loras"] and rng.random() < 0.6:
            r["lora"] = rng.choice(["L1", "L2", "L3"])
        if rng.random() < 0.2:
            r["salt"] = rng.choice(["s", "t"])
        if rng.random() < 0.2:
            r["abort_at"] = r["at_step"] + rng.randint(0, 40)
        reqs.append(r)
    return reqs


def spec_scenario(seed: int) -> dict[str, Any]:
    """The same under speculative decoding of every kind. Room is left for drafts and what they look ahead."""
    rng = Random(f"spec/{seed}")
    made = scenario(seed)
    cfg = made["cfg"]
    tokens = rng.randint(1, 5)
    rates = sorted((rng.random() for _ in range(tokens)), reverse=True)
    spec: dict[str, Any] = {
        "method": rng.choice(["ngram", "eagle", "eagle3", "mtp", "draft_model", "dflash"]),
        "tokens": tokens,
        "rates": rates,
        "block_drop": rng.random() < 0.3,
        "parallel": rng.random() < 0.2,
    }
    if spec["method"] == "mtp" and cfg["block_size"] >= tokens:
        spec["mtp_layers"] = rng.choice([1, 3])
    cfg["spec"] = spec
    if cfg["long_prefill_token_threshold"]:  # below that vLLM's own assertion on padded decodes fails
        cfg["long_prefill_token_threshold"] = max(cfg["long_prefill_token_threshold"], tokens + 1)
    cfg["lines"] = ["drafts"]
    cfg["max_num_batched_tokens"] = max(cfg["max_num_batched_tokens"], 16)
    cfg["async"] = cfg["async"] and spec["method"] != "ngram"
    capacity = (cfg["num_blocks"] - 1) * cfg["block_size"]
    for r in made["reqs"]:
        room = min(capacity, cfg["max_model_len"]) - len(r["prompt"]) - 2 * cfg["block_size"] - 2 * tokens
        r["max_tokens"] = max(1, min(r["max_tokens"], room))
    return made


def flag_scenario(seed: int) -> dict[str, Any]:
    """The same with the flags of 0.33 that bend the schedule, some of them with speculation."""
    rng = Random(f"flags/{seed}")
    made = spec_scenario(seed) if rng.random() < 0.3 else scenario(seed)
    cfg = made["cfg"]
    cfg["lines"] = ["drafts"]
    if rng.random() < 0.5:
        cfg["max_num_active_seqs"] = rng.randint(1, cfg["max_num_seqs"])
    if rng.random() < 0.5:
        cfg["max_num_scheduled_tokens"] = rng.randint(8, cfg["max_num_batched_tokens"])
    cfg["long_prefill_token_threshold"] = rng.choice([0, 4, 16, 40]) if not cfg.get("spec") else 0
    cfg["adaptive"] = rng.random() < 0.5
    cfg["interval"] = rng.choice([1, 1, 2, 3, 8])
    cfg["reserve_full_isl"] = rng.random() < 0.5
    return made


def pull_scenario(seed: int) -> dict[str, Any]:
    """The same in a decode engine: the prompts of most requests are pulled, which takes a number of steps.

    Not those of one token where adapters are few: vLLM puts such a one back among those without blocks.
    """
    rng = Random(f"pull/{seed}")
    made = scenario(seed)
    cfg = made["cfg"]
    cfg["async"] = False
    cfg["kv_role"] = "kv_consumer"
    cfg["lines"] = ["drafts"]
    for r in made["reqs"]:
        if rng.random() < 0.6:
            delay = rng.choice([0, 1, 3, 10])
            if len(r["prompt"]) > 1 or not cfg["max_loras"]:
                r["pull"] = delay
    return made


def rank_scenario(seed: int) -> tuple[list[dict[str, Any]], list[list[list[float]]]]:
    """Engines of one server, each with its own requests, and loads of theirs for the one who picks."""
    rng = Random(f"ranks/{seed}")
    ranks = rng.randint(2, 4)
    made = scenario(seed)
    parts: list[dict[str, Any]] = [
        {"cfg": {**made["cfg"], "lines": ["drafts"]}, "reqs": []} for _ in range(ranks)
    ]
    for request in made["reqs"]:
        rng.choice(parts)["reqs"].append(request)
    loads = [[_load(rng) for _ in range(ranks)] for _ in range(rng.randint(3, 30))]
    return [part for part in parts if part["reqs"]], loads


def _load(rng: Random) -> list[float]:
    """Waiting, running, KV usage and in flight: often alike, so that ties are many."""
    waiting, running = rng.choice([0, 0, 1, 4, 20]), rng.choice([0, 0, 1, 3, 8])
    return [waiting, running, rng.choice([0.0, 0.3, 0.5, 0.8, 1.0]), rng.randint(0, waiting + running + 1)]
