"""Every key of a class: what it refuses, where it says so, and what would be right."""

from __future__ import annotations

import pytest

from tests.loadgen.scenario.reading import ARRIVAL, one_class, refused


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            "api: chats",
            ".api: must be one of completions, chat, responses, messages, embeddings, not 'chats'; "
            "did you mean chat?",
        ),
        ("path: v1/x", ".path: must be a URL's path such as /v1/completions, not 'v1/x'"),
        ("path: /v1 x", ".path: must be a URL's path such as /v1/completions, not '/v1 x'"),
        ("stream: 1", ".stream: must be true or false, not '1'"),
        ("max_tokens: 0", ".max_tokens: must be at least 1, not 0"),
        ("timeout: 0", ".timeout: must be at least 0.001 s, not 0"),
        ("itl_timeout: 0", ".itl_timeout: must be at least 0.001 s, not 0"),
        (
            "ttft_timeout: 1s, stream: false",
            ".ttft_timeout: is a limit on tokens, which whole answers (`stream: false`) do not show",
        ),
        ("priority: high", ".priority: must be a number, not 'high'"),
        ("body: text", ".body: must be a mapping (key: value), not 'text'"),
        ("headers: [a]", ".headers: must be a mapping (key: value), not a list"),
        ('headers: {x: "a\\nb"}', ": header 'x' holds a line break"),
        ('headers: {x: "a\\0b"}', ": header 'x' holds a line break"),
        ("headers: {x y: a}", ": header 'x y' is no header name: letters, digits and !#$%&'*+-.^_`|~ only"),
        ("headers: {'': a}", ": header '' is no header name"),
        ("headers: {x: 日本}", ": header 'x' holds characters that HTTP cannot carry; percent-encode them"),
        (
            "objective: 日本",
            ": header 'x-gateway-inference-objective' holds characters that HTTP cannot carry",
        ),
        (
            "headers: {Content-Length: 5}",
            ": header 'content-length' is set by the client itself; leave it out",
        ),
        ("headers: {Connection: close}", ": header 'connection' is set by the client itself; leave it out"),
        ("slo_headers: {e2e: 1s}", ".slo_headers.e2e: unknown key; known: tpot, ttft"),
        ("cancel_after: 0", ".cancel_after: must be at least 1, not 0"),
        (
            "cancel_after: {tokens: 5, share: 2}",
            ".cancel_after.share: must be between 0 and 1 (0% and 100%), not 2",
        ),
        ("cancel_after: {tokens: 5, mean: 2}", ".cancel_after.mean: unknown key; "),
        ("retry: {}", ".retry: needs `attempts:`"),
        ("retry: {attempts: 0}", ".retry.attempts: must be at least 1, not 0"),
        ("retry: {attempts: 2, on: [shed]}", ".retry.on[0]: must be one of ok, shed_429"),
        ("retry: {attempts: 2, factor: 0.5}", ".retry.factor: must be at least 1, not 0.5"),
        ("retry: {attempts: 2, jitter: 2}", ".retry.jitter: must be between 0 and 1 (0% and 100%), not 2"),
        ("form: ids", ".form: must be one of text, tokens, not 'ids'"),
        ("form: tokens, prompt: x", ".form: `form: tokens` goes with synthetic and trace prompts only"),
        ("form: tokens, preset: chat", ".form: `form: tokens` goes with synthetic and trace prompts only"),
        (
            "form: tokens, sessions: {turns: 2}",
            ".form: `form: tokens` goes with synthetic and trace prompts only",
        ),
        ("form: tokens, api: chat", ".api: token ids are prompts of `api: completions` only"),
        ("vocabulary: 1000", ".vocabulary: must be at least 1100, not 1000"),
        ("prefix: {groups: 2}", ".prefix: needs `tokens:`"),
        ("prefix: {tokens: 2}", ".prefix: needs `groups:`"),
        ("prefix: {groups: 0, tokens: 2}", ".prefix.groups: must be at least 1, not 0"),
        ("prefix: {groups: 2, tokens: 2, zipf: 1, hot: 0.5}", ".prefix.hot: give either `zipf:` or `hot:`"),
        ("prefix: {groups: 2, tokens: 2, zipf: -1}", ".prefix.zipf: must be at least 0, not -1"),
        ("sessions: {}", ".sessions: needs `turns:`"),
        ("sessions: {turns: 0}", ".sessions.turns: must be at least 1, not 0"),
        (
            "sessions: {turns: 2, on_error: stop}",
            ".sessions.on_error: must be one of abort, continue, not 'stop'",
        ),
        (
            "preset: chats",
            ".preset: must be one of chat, code, doc-qa, agent, not 'chats'; did you mean chat?",
        ),
        (
            "prompt: x, preset: chat",
            ".preset: a class has one source of prompts: `prompt:`, `preset:` or `trace:`",
        ),
        ("prompt: ''", ".prompt: is empty; leave it out for prompts of `input_tokens:` words"),
        (
            "prompt: x, prefix: {groups: 1, tokens: 2}",
            ".prefix: `prompt:` says that itself; leave one of them out",
        ),
        ("prompt: x, input_tokens: 5", ".input_tokens: `prompt:` says that itself; leave one of them out"),
        (
            "preset: chat, sessions: {turns: 2}",
            ".sessions: `preset:` says that itself; leave one of them out",
        ),
        (
            "preset: chat, output_tokens: 2",
            ".output_tokens: `preset:` says that itself; leave one of them out",
        ),
        ("models: {a: 0}", ".models: the weights of the models are all 0"),
        ("adapters: {a: -1}", ".adapters.a: must be at least 0, not -1"),
        ("weights: 5", ".weights: unknown key; did you mean `weight`?"),
    ],
)
def test_classes_that_are_refused(fields: str, error: str) -> None:
    found = refused(one_class, f"{ARRIVAL}, {fields}")
    assert found.startswith(f"s.yaml:3: classes.a{error}"), found
