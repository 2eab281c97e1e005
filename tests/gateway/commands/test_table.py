"""The live table of a stack: names from manifests are text and nothing else."""

from __future__ import annotations

import io

from rich.console import Console

from gateway.commands.ps import pods_table
from gateway.commands.table import render

ODD = "[/]\x1b]0;title\x07\n"


def test_names_are_neither_markup_nor_escape_sequences() -> None:
    pod = {"name": f"pod{ODD}", "address": "127.0.0.2", "ports": [8000, 8001], "state": f"ready{ODD}"}
    report = {
        "name": f"stack{ODD}",
        "url": None,
        "pods": [{**pod, "adapters": [f"adapter{ODD}"], "kv_cache_usage": 0.5}],
        "pickers": [{"name": f"picker{ODD}", "kind": "reference", "state": "ready"}],
        "events": [f"event{ODD}"],
    }
    out = io.StringIO()
    console = Console(file=out, width=250, force_terminal=True, color_system=None)
    console.print(render(report, {"127.0.0.2:8000": 2.0}, {}, {"2xx": 3}))
    text = out.getvalue()
    assert "\x1b" not in text
    for word in ("stack", "pod", "adapter", "picker", "event", "ready"):
        assert f"{word}[/]\\x1b]0;title\\x07\\n" in text, text
    assert "answers  2xx 3" in text
    assert "50.0" in text


def pods(count: int, **fields: object) -> list[dict[str, object]]:
    return [
        {
            "name": f"inference-model-server-kf2kzzrd57-{i:05d}",
            "address": f"127.0.0.{2 + i}",
            "ports": [8000],
            "state": "draining",
            "running": 128,
            "waiting": 1000,
            "kv_cache_usage": 1.0,
            "prefix_cache_hit_rate": 1.0,
            "pool": "inference-pool",
            "models": ["meta-llama/Llama-3.1-8B-Instruct"],
            "adapters": ["reviews-1", "reviews-2", "an-adapter-with-a-long-name"],
            **fields,
        }
        for i in range(count)
    ]


def drawn(width: int, table: object) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue().splitlines()


def test_the_live_table_fits_eighty_columns_and_cuts_nothing_but_adapters() -> None:
    report = {"name": "default", "url": "http://127.0.0.1:8080", "pods": pods(3), "pickers": [], "events": []}
    lines = drawn(80, render(report, {"127.0.0.2:8000": 1234.5}, {"127.0.0.2:8000": 1234.5}, {}))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "pods inference-model-server-kf2kzzrd57-..." in text
    row = next(line for line in lines if "...00000" in line)
    for word in ("127.0.0.2:8000", "draining", "128", "1000", "100.0", "1234.5", "reviews-1"):
        assert word in row


def test_names_that_share_nothing_worth_leaving_out_are_whole() -> None:
    every = [{**pods(1)[0], "name": name} for name in ("vllm-0", "vllm-1")]
    text = "\n".join(drawn(80, pods_table(every)))
    assert "vllm-0" in text
    assert "vllm-1" in text


def test_wide_has_whole_names_and_more_columns() -> None:
    text = "\n".join(drawn(400, pods_table(pods(2, requests=7, generated_tokens=99), wide=True)))
    for word in (
        "inference-model-server-kf2kzzrd57-00001",
        "an-adapter-with-a-long-name",
        "Llama-3.1-8B",
        "99",
    ):
        assert word in text
