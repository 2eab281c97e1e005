"""Every key at the top of a scenario: the values it takes, what becomes of them, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.scenario.read import Overrides, read_scenario
from loadgen.scenario.scenario import (
    Event,
    FleetNeeds,
    Scrape,
    Tls,
)
from tests.loadgen.scenario.reading import ARRIVAL, refused, top


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("name: a name", "name", "a name"),
        ("", "name", "s"),
        ("description: what", "description", "what"),
        ("target: http://127.0.0.1:1", "target", "http://127.0.0.1:1"),
        ("seed: 7", "seed", 7),
        ("", "seed", 0),
        ("processes: 4", "processes", 4),
        ("", "processes", 1),
        ("tokenizer: models/big", "tokenizer", Path("models/big")),
        ("", "tokenizer", None),
        ("connections: 16", "connections", 16),
        ("connections: 0", "connections", 0),
        ("max_in_flight: 10", "max_in_flight", 10),
        ("", "max_in_flight", 8192),
        ("grace: 2s", "grace", 2.0),
        ("", "grace", 30.0),
        ("ready_timeout: 1m", "ready_timeout", 60.0),
        ("idle_timeout: 500ms", "idle_timeout", 0.5),
        ("", "idle_timeout", 4.0),
        ("warmup: 3", "warmup", 3.0),
        ("chunk_times: false", "chunk_times", False),
        ("", "chunk_times", True),
        ("http2: true", "http2", True),
        ("repeats: 3", "repeats", 3),
        ("api_key_env: MY_KEY", "api_key_env", "MY_KEY"),
        ("", "api_key_env", None),
        ("", "repeats", 5),
        ("tls: {insecure: true}", "tls", Tls(insecure=True)),
        ("tls: {ca: ca.pem, server_name: h}", "tls", Tls(ca="ca.pem", server_name="h")),
        (
            "slo: {ttft: 300ms, tpot: 20ms, itl: 1, ntpot: 2, e2e: 3}",
            "slo",
            {"ttft": 0.3, "tpot": 0.02, "itl": 1.0, "ntpot": 2.0, "e2e": 3.0},
        ),
        ("scrape: {pods: '127.0.0.1:8000'}", "scrape", Scrape(pods=("127.0.0.1:8000",))),
        (
            "scrape: {pods: [a, b], epp: e, interval: 50ms}",
            "scrape",
            Scrape(pods=("a", "b"), epp=("e",), interval=0.05),
        ),
        ("scrape: {fleet: ps, prometheus: 'http://p'}", "scrape", Scrape(fleet="ps", prometheus="http://p")),
        ("scrape: {decision_log: d.jsonl}", "scrape", Scrape(decision_log="d.jsonl")),
        (
            "fleet: {replicas: 3, args: [--x, 1], objectives: {low: -1}, picker: {kind: K}}",
            "fleet",
            FleetNeeds(3, ("--x", "1"), {"low": -1}, {"kind": "K"}),
        ),
        ("fleet: {}", "fleet", FleetNeeds()),
        ("timeline: [{at: 1s, run: kill}]", "timeline", (Event(1.0, "kill", run="kill", line=1),)),
        (
            "timeline: [{at: 0, url: 'http://x', method: get, body: b, name: n}]",
            "timeline",
            (Event(0.0, "n", method="GET", url="http://x", body="b", line=1),),
        ),
    ],
)
def test_keys_at_the_top(line: str, attribute: str, value: object) -> None:
    assert getattr(top(line), attribute) == value


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("naem: x", "naem: unknown key; did you mean `name`?"),
        ("target: [a]", "target: must be a text, not a list"),
        ("seed: -1", "seed: must be at least 0, not -1"),
        ("seed: 1.5", "seed: must be a whole number, not 1.5"),
        ("processes: 0", "processes: must be between 1 and 256, not 0"),
        ("processes: 257", "processes: must be between 1 and 256, not 257"),
        ("connections: -1", "connections: must be at least 0, not -1"),
        ("max_in_flight: 0", "max_in_flight: must be at least 1, not 0"),
        ("grace: never", "grace: must be a duration such as 30s, 250ms or 1h30m, not 'never'"),
        ("duration: 0", "duration: must be at least 0.001 s, not 0"),
        ("idle_timeout: 0", "idle_timeout: must be at least 0.001 s, not 0"),
        ("warmup: -1", "warmup: must be a duration such as 30s, 250ms or 1h30m, not '-1'"),
        ("chunk_times: 1", "chunk_times: must be true or false, not '1'"),
        ("http2: maybe", "http2: must be true or false, not 'maybe'"),
        ("repeats: 0", "repeats: must be at least 1, not 0"),
        ("tls: {cert: x}", "tls.cert: unknown key; known: ca, insecure, server_name"),
        ("tls: yes", "tls: must be a mapping (key: value), not 'yes'"),
        ("slo: {tfft: 1s}", "slo.tfft: unknown key; did you mean `ttft`?"),
        ("slo: {ttft: fast}", "slo.ttft: must be a duration such as 30s, 250ms or 1h30m, not 'fast'"),
        ("scrape: {interval: 1ms}", "scrape.interval: must be at least 0.01 s, not 0.001"),
        ("scrape: {pod: a}", "scrape.pod: unknown key; did you mean `pods`?"),
        ("scrape: [a]", "scrape: must be a mapping (key: value), not a list"),
        ("fleet: {replicas: 0}", "fleet.replicas: must be at least 1, not 0"),
        ("fleet: {args: --x}", "fleet.args: must be a list, not '--x'"),
        ("fleet: {objectives: {low: high}}", "fleet.objectives.low: must be a number, not 'high'"),
        ("fleet: {picker: file.yaml}", "fleet.picker: must be a mapping (key: value), not 'file.yaml'"),
        ("timeline: {at: 1s}", "timeline: must be a list, not a mapping"),
        (
            "timeline: [{at: 1s}]",
            "timeline[0]: needs either `run:` (a shell command) or `url:` (a control-API call)",
        ),
        (
            "timeline: [{at: 1s, url: '127.0.0.1:9/x'}]",
            "timeline[0].url: must look like http://HOST:PORT/PATH, not '127.0.0.1:9/x'",
        ),
        ("timeline: [{at: 1s, run: a, url: b}]", "timeline[0]: needs either `run:`"),
        ("timeline: [{run: a}]", "timeline[0]: needs `at:`"),
        ("timeline: [{at: 1s, run: a, when: 2s}]", "timeline[0].when: unknown key"),
        ("expect: ttft.p99 < 1s", "expect: must be a list, not 'ttft.p99 < 1s'"),
        ("expect: ['ttft.p99 <']", "expect[0]: expected a figure or a number, found the end"),
        ("arms: {a: {setpu: x}}", "arms.a.setpu: unknown key; did you mean `setup`?"),
        ("arms: [{setup: x}]", "arms[0]: needs `name:`"),
        ("arms: [{name: a}, {name: a}]", "arms[1]: arm a stands above already; give each a name of its own"),
        ("arms: {a: {env: [x]}}", "arms.a.env: must be a mapping (key: value), not a list"),
        (
            "arms: {a: {scrape: {intervall: 1s}}}",
            "arms.a.scrape.intervall: unknown key; did you mean `interval`?",
        ),
        ("classes: {}", "classes: holds no class"),
        ("classes: [{arrival: {}}]", "classes[0]: needs `name:`"),
        (
            "classes: [{name: a, arrival: {rate: 1}}, {name: a}]",
            "classes[1]: class a stands above already; give each a name of its own",
        ),
    ],
)
def test_keys_at_the_top_that_are_refused(line: str, error: str) -> None:
    assert refused(top, line).startswith(f"s.yaml:1: {error}")


def test_paths_at_the_top_are_relative_to_the_file(tmp_path: Path) -> None:
    found = top("scrape: {decision_log: d.jsonl}", directory=tmp_path).scrape
    assert found is not None
    assert found.decision_log == str(tmp_path / "d.jsonl")


def test_arms_as_list_and_as_mapping() -> None:
    fields = "setup: up, teardown: down, target: 'http://127.0.0.1:1', env: {A: 1}, scrape: {pods: [p]}"
    (listed,) = top(f"arms: [{{name: a, {fields}}}]").arms
    (mapped,) = top(f"arms: {{a: {{{fields}}}}}").arms
    assert listed == mapped
    assert (listed.name, listed.setup, listed.teardown) == ("a", "up", "down")
    assert (listed.target, listed.env, listed.scrape) == (
        "http://127.0.0.1:1",
        {"A": "1"},
        Scrape(pods=("p",)),
    )


def test_classes_as_list_and_as_mapping() -> None:
    listed = read_scenario(f"model: m\nclasses: [{{name: a, {ARRIVAL}}}]", "s.yaml").classes
    mapped = read_scenario(f"model: m\nclasses: {{a: {{{ARRIVAL}}}}}", "s.yaml").classes
    assert listed[0].name == mapped[0].name == "a"
    assert listed[0].arrival == mapped[0].arrival


def test_defaults_alone_are_one_class() -> None:
    (spec,) = top("").classes
    assert (spec.name, spec.models[0].name, spec.timeout, spec.stream) == ("default", "m", 60.0, True)


def test_what_the_user_marks_is_a_secret() -> None:
    spec = top("redact: [X-Tenant]")
    assert spec.secrets.is_sensitive("x-tenant")
    assert not spec.secrets.is_sensitive("x-team")


@pytest.mark.parametrize("line", ["zzzzzz: 1", "classes: {a: {zzzzzz: 1, arrival: {rate: 1, requests: 1}}}"])
def test_every_key_of_the_code_is_tried(line: str) -> None:
    """The keys that a reader asks for are the ones that its error lists."""
    tried = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*_*s.py"))
    listed = refused(top, line).partition("known: ")[2].split(", ")
    assert len(listed) > 15
    assert [key for key in listed if f"{key}:" not in tried] == []


def overlaid(extra: dict[str, object]) -> Scrape | None:
    text = "classes: {a: {arrival: {rate: 1, duration: 1s}}}\nmodel: m\nscrape: {fleet: ps, interval: 2s}\n"
    return read_scenario(text, "f.yaml", Path(), Overrides(extra=extra)).scrape


def test_flags_of_scraping_keep_what_they_do_not_say() -> None:
    assert overlaid({"scrape": {"stack": "s"}}) == Scrape(fleet="ps", stack="s", interval=2.0)
    assert overlaid({"scrape": {"interval": "1s"}}) == Scrape(fleet="ps", interval=1.0)
    assert overlaid({"scrape": {"pods": ["h:1"]}}) == Scrape(pods=("h:1",), fleet="ps", interval=2.0)


def test_a_stack_by_name_is_one_of_this_machines() -> None:
    found = top("scrape: {stack: s}").scrape
    assert found == Scrape(fleet="simfleet ps --format json", stack="s")
