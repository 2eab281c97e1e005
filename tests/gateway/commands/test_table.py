"""The live table of a stack: names from manifests are text and nothing else."""

from __future__ import annotations

import io

from rich.console import Console

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
