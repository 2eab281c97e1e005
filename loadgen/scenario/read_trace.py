"""Reads `trace:` out of a scenario's YAML, and which API a file of requests is meant for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from loadgen.scenario.scenario import Api, Trace
from loadgen.scenario.yamlnodes import Node

# Mooncake's own, vLLM's default of --timed-trace-chunk-hash-size, and Bailian's.
BLOCK_SIZES = {"mooncake": 512, "timed_trace": 16, "bailian": 16}
TRACE_FORMATS = ("mooncake", "azure", "burstgpt", "bailian", "sharegpt", "timed_trace", "openai")
_BATCH_URLS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
_KEYS = (("messages", "chat"), ("prompt", "completions"), ("input", "responses"))


def read_trace_source(node: Node, directory: Path, *, replay: bool) -> Trace:
    """A `trace:` mapping; with `replay` its file need not be there. ScenarioError where it must."""
    file, block, limit = node.need("file"), node.get("block_size"), node.get("limit")
    kind = node.need("format").choice(TRACE_FORMATS)
    path = directory / file.text()
    if not replay and not path.is_file():
        raise file.error(f"no such file: {path}")
    node.done()
    return Trace(
        path=path,
        format=kind,  # type: ignore[arg-type]  # choice() made sure of it
        block_size=block.integer(1) if block else BLOCK_SIZES.get(kind, 512),
        limit=limit.integer(1) if limit else None,
    )


def api_of_prompts(trace: Trace) -> Api | None:
    """The API that the first request of a file in OpenAI's fields is for; None where it cannot be told."""
    if trace.format != "openai" or not trace.path.is_file():
        return None
    with trace.path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        line = json.loads(first.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None  # planning says what is wrong with it, and where
    if not isinstance(line, dict):
        return None
    named = _BATCH_URLS.get(str(line.get("url")))
    body = line["body"] if isinstance(line.get("body"), dict) else line
    found = named or next((api for key, api in _KEYS if key in body), None)
    return cast("Api | None", found)
