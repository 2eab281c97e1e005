"""Every key of a class: the values it takes, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadgen.scenario.read import read_scenario
from loadgen.scenario.scenario import (
    Distribution,
    Prefix,
    Retry,
    Sessions,
    Trace,
)
from tests.loadgen.scenario.reading import ARRIVAL, one_class, refused


@pytest.mark.parametrize(
    ("fields", "attribute", "value"),
    [
        ("api: chat", "path", "/v1/chat/completions"),
        ("api: responses", "path", "/v1/responses"),
        ("", "path", "/v1/completions"),
        ("path: /v2/x", "path", "/v2/x"),
        ("stream: false", "stream", False),
        ("ignore_eos: true", "ignore_eos", True),
        ("session_token: true", "session_token", True),
        ("max_tokens: 9", "max_tokens", 9),
        ("timeout: 5s", "timeout", 5.0),
        ("ttft_timeout: 2s", "ttft_timeout", 2.0),
        ("itl_timeout: 250ms", "itl_timeout", 0.25),
        ("priority: -3", "priority", -3),
        ("body: {temperature: 0.5, stop: [a]}", "body", {"temperature": 0.5, "stop": ["a"]}),
        ("headers: {X-A: b, x-n: 5}", "headers", {"x-a": "b", "x-n": "5"}),
        ("headers: {Host: gw.example}", "headers", {"host": "gw.example"}),
        (
            "objective: o, fairness_id: f",
            "headers",
            {"x-gateway-inference-objective": "o", "x-gateway-inference-fairness-id": "f"},
        ),
        (
            "slo_headers: {ttft: 300ms, tpot: 1.5ms}",
            "headers",
            {"x-slo-ttft-ms": "300", "x-slo-tpot-ms": "1.5"},
        ),
        ("cancel_after: 5", "cancel_after", Distribution("fixed", 5, low=5, high=5)),
        ("cancel_after: {min: 2, max: 4}", "cancel_after", Distribution("uniform", low=2, high=4)),
        ("cancel_after: {tokens: {min: 2, max: 4}, share: 10%}", "cancel_share", 0.1),
        ("retry: {attempts: 3}", "retry", Retry(attempts=3)),
        (
            "retry: {attempts: 2, on: [reset, timeout], backoff: 1s, factor: 1, max_backoff: 2s, jitter: 0, "
            "retry_after: false}",
            "retry",
            Retry(2, ("reset", "timeout"), 1.0, 1.0, 2.0, 0.0, False),
        ),
    ],
)
def test_switches_of_a_class(fields: str, attribute: str, value: object) -> None:
    assert getattr(one_class(", ".join(filter(None, (ARRIVAL, fields)))), attribute) == value


@pytest.mark.parametrize(
    ("fields", "attribute", "value"),
    [
        ("prompt: say hi", "prompt", "say hi"),
        ("form: tokens, vocabulary: 1100", "vocabulary", 1100),
        ("form: tokens", "form", "tokens"),
        ("prefix: {groups: 2, tokens: 5}", "prefix", Prefix(2, Distribution("fixed", 5, low=5, high=5))),
        (
            "prefix: {groups: 2, tokens: 5, zipf: 1.2}",
            "prefix",
            Prefix(2, Distribution("fixed", 5, low=5, high=5), 1.2),
        ),
        (
            "prefix: {groups: 2, tokens: 5, hot: 80%}",
            "prefix",
            Prefix(2, Distribution("fixed", 5, low=5, high=5), 0.0, 0.8),
        ),
        (
            "sessions: {turns: 3}",
            "sessions",
            Sessions(Distribution("fixed", 3, low=3, high=3), Distribution("fixed")),
        ),
        (
            "sessions: {turns: 3, think: 1s, input_tokens: 4, on_error: continue}",
            "sessions",
            Sessions(
                Distribution("fixed", 3, low=3, high=3),
                Distribution("fixed", 1, low=1, high=1),
                Distribution("fixed", 4, low=4, high=4),
                "continue",
            ),
        ),
        ("preset: agent", "preset", "agent"),
    ],
)
def test_workloads(fields: str, attribute: str, value: object) -> None:
    assert getattr(one_class(f"{ARRIVAL}, {fields}").workload, attribute) == value


def test_what_defaults_say_may_be_of_no_use_to_a_class() -> None:
    text = (
        f"model: m\ndefaults: {{{ARRIVAL}, input_tokens: 5, output_tokens: 6}}\n"
        "classes: {a: {}, b: {preset: chat}, c: {prompt: x}}"
    )
    a, b, c = read_scenario(text, "s.yaml").classes
    assert a.workload.input_tokens.mean == 5
    assert (b.workload.preset, c.workload.prompt) == ("chat", "x")


@pytest.mark.parametrize(
    ("fields", "shares"),
    [
        ("", [("m", 1.0, False)]),
        ("model: other", [("other", 1.0, False)]),
        ("models: [x, y]", [("x", 1.0, False), ("y", 1.0, False)]),
        ("models: {x: 3, y: 1}", [("x", 3.0, False), ("y", 1.0, False)]),
        ("adapters: [l]", [("l", 1.0, True)]),
        ("model: base, adapters: {l: 2}", [("l", 2.0, True)]),
        ("models: {base: 1}, adapters: {l: 2}", [("base", 1.0, False), ("l", 2.0, True)]),
    ],
)
def test_models_and_adapters(fields: str, shares: list[tuple[str, float, bool]]) -> None:
    spec = one_class(", ".join(filter(None, (ARRIVAL, fields))))
    assert [(share.name, share.weight, share.adapter) for share in spec.models] == shares


def test_a_classs_headers_lie_over_the_defaults() -> None:
    text = (
        f"model: m\ndefaults: {{{ARRIVAL}, headers: {{X-A: a, x-b: b}}, timeout: 9s}}\n"
        "classes: {a: {headers: {x-a: mine}, timeout: 1s}, b: {}}"
    )
    a, b = read_scenario(text, "s.yaml").classes
    assert (a.headers, a.timeout) == ({"x-a": "mine", "x-b": "b"}, 1.0)
    assert (b.headers, b.timeout) == ({"x-a": "a", "x-b": "b"}, 9.0)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ("format: mooncake", ("mooncake", 512, None)),
        ("format: timed_trace", ("timed_trace", 16, None)),
        ("format: azure, limit: 5", ("azure", 512, 5)),
        ("format: mooncake, block_size: 64", ("mooncake", 64, None)),
    ],
)
def test_traces(tmp_path: Path, fields: str, wanted: tuple[Any, int, int | None]) -> None:
    (tmp_path / "t").write_text("x")
    spec = one_class(f"trace: {{file: t, {fields}}}, arrival: {{}}", directory=tmp_path)
    assert spec.workload.trace == Trace(tmp_path / "t", *wanted)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ("trace: {format: azure}", ".trace: needs `file:`"),
        ("trace: {file: t}", ".trace: needs `format:`"),
        (
            "trace: {file: t, format: csv}",
            ".trace.format: must be one of mooncake, azure, burstgpt, bailian, sharegpt, timed_trace, openai",
        ),
        ("trace: {file: no, format: azure}", ".trace.file: no such file: "),
        ("trace: {file: ., format: azure}", ".trace.file: no such file: "),
        ("trace: {file: t, format: azure, limit: 0}", ".trace.limit: must be at least 1, not 0"),
        ("trace: {file: t, format: mooncake, block_size: 0}", ".trace.block_size: must be at least 1, not 0"),
        (
            "trace: {file: t, format: azure, blocksize: 5}",
            ".trace.blocksize: unknown key; did you mean `block_size`?",
        ),
        ("trace: {file: t, format: azure}, input_tokens: 5", ".input_tokens: `trace:` says that itself"),
        (
            "trace: {file: t, format: sharegpt}, form: tokens",
            ".form: `form: tokens` goes with synthetic and trace",
        ),
    ],
)
def test_traces_that_are_refused(tmp_path: Path, fields: str, error: str) -> None:
    (tmp_path / "t").write_text("x")
    found = refused(one_class, f"{fields}, arrival: {{}}", directory=tmp_path)
    assert found.startswith(f"s.yaml:3: classes.a{error}"), found


def test_a_replayed_plan_needs_no_trace_file(tmp_path: Path) -> None:
    spec = one_class("trace: {file: gone, format: azure}, arrival: {}", directory=tmp_path, replay=True)
    assert spec.workload.trace == Trace(tmp_path / "gone", "azure")
