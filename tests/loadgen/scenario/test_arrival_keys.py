"""Distributions, `arrival:` and `load:`: every key, the values it takes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.scenario.read import Overrides, read_scenario
from loadgen.scenario.scenario import (
    Arrival,
    Distribution,
    OnOff,
    Stage,
)
from tests.loadgen.scenario.reading import ARRIVAL, arrival, one_class, refused

INF = float("inf")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("128", Distribution("fixed", 128, low=128, high=128)),
        ("{value: 5}", Distribution("fixed", 5, low=1)),
        ("{mean: 5}", Distribution("fixed", 5, low=1)),
        ("{mean: 5, stddev: 0}", Distribution("fixed", 5, low=1)),
        ("{mean: 5, stddev: 2}", Distribution("normal", 5, 2, low=1)),
        ("{mean: 5, stddev: 2, min: 3, max: 9}", Distribution("normal", 5, 2, 3, 9)),
        ("{min: 2, max: 4}", Distribution("uniform", low=2, high=4)),
        ("{type: exponential, mean: 5}", Distribution("exponential", 5, low=1)),
        ("{distribution: lognormal, mean: 5, stddev: 5, max: 50}", Distribution("lognormal", 5, 5, 1, 50)),
        ("{values: [1, 2]}", Distribution("empirical", low=1, values=(1, 2))),
        (
            "{values: [1, 2], weights: [3, 1]}",
            Distribution("empirical", low=1, values=(1, 2), weights=(3, 1)),
        ),
    ],
)
def test_distributions(text: str, wanted: Distribution) -> None:
    assert one_class(f"{ARRIVAL}, input_tokens: {text}").workload.input_tokens == wanted
    assert one_class(f"{ARRIVAL}, output_tokens: {text}").workload.output_tokens == wanted


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("0", ": must be at least 1, not 0"),
        ("1.5", ": must be a whole number, not 1.5"),
        ("2000000000", ": must be at most 1e+09, not 2e+09"),
        ("many", ": must be a number, not 'many'"),
        ("{}", ": needs mean (and stddev), min and max, or values"),
        ("{stddev: 5}", ": needs mean (and stddev), min and max, or values"),
        ("{min: 5}", ": needs mean (and stddev), min and max, or values"),
        ("{mean: -5}", ".mean: must be at least 0, not -5"),
        ("{mean: .inf}", ".mean: must be a finite number, not '.inf'"),
        ("{min: 1, max: 1.0e+300}", ".max: must be at most 1e+09, not 1e+300"),
        ("{min: 5, max: 2}", ": max 2 is below min 5"),
        ("{mean: 5, max: 0.5}", ": max 0.5 is below min 1"),
        ("{distribution: zipf, mean: 5}", ".distribution: must be one of fixed, uniform, normal, lognormal"),
        ("{distribution: uniform, mean: 5}", ": a uniform distribution needs `min:`"),
        ("{distribution: uniform, min: 5}", ": a uniform distribution needs `max:`"),
        ("{distribution: lognormal, stddev: 5}", ": a lognormal distribution needs `mean:`"),
        ("{distribution: lognormal, mean: 0, stddev: 5}", ": a lognormal distribution needs `mean:` above 0"),
        ("{distribution: empirical}", ": an empirical distribution needs `values:`"),
        ("{values: []}", ": needs mean (and stddev), min and max, or values"),
        ("{values: [1, 2], weights: [1]}", ": has 2 values and 1 weights; give one weight to each value"),
        ("{values: [1, 2], weights: [0, 0]}", ": the weights of the values are all 0"),
        ("{values: [1, 2], weights: [1, -1]}", ".weights[1]: must be at least 0, not -1"),
        ("{mean: 5, sttdev: 2}", ".sttdev: unknown key; did you mean `stddev`?"),
    ],
)
def test_distributions_that_are_refused(text: str, error: str) -> None:
    for key in ("input_tokens", "output_tokens"):
        found = refused(one_class, f"{ARRIVAL}, {key}: {text}")
        assert found.startswith(f"s.yaml:3: classes.a.{key}{error}")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("500ms", Distribution("fixed", 0.5, low=0.5, high=0.5)),
        ("0", Distribution("fixed")),
        ("{mean: 2s, distribution: exponential}", Distribution("exponential", 2.0)),
        ("{min: 1s, max: 1m}", Distribution("uniform", low=1, high=60)),
        ("{values: [1ms, 1h]}", Distribution("empirical", values=(0.001, 3600.0))),
    ],
)
def test_distributions_of_time(text: str, wanted: Distribution) -> None:
    if text == "0":
        wanted = Distribution("fixed", low=0, high=0)
    assert arrival(f"users: 1, requests: 1, think: {text}").think == wanted


# --- arrivals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ("rate: 5, duration: 2s", Arrival("poisson", (Stage(2, 5),), duration=2)),
        ("rate: 5, requests: 9", Arrival("poisson", (Stage(INF, 5),), requests=9)),
        (
            "process: constant, rate: 0.5, duration: 2, requests: 1",
            Arrival("constant", (Stage(2, 0.5),), duration=2, requests=1),
        ),
        ("process: gamma, rate: 5, duration: 2", Arrival("gamma", (Stage(2, 5),), duration=2)),
        (
            "process: gamma, burstiness: 0.25, rate: 5, duration: 2",
            Arrival("gamma", (Stage(2, 5),), burstiness=0.25, duration=2),
        ),
        ("rate: 5, to: 50, duration: 2", Arrival("poisson", (Stage(2, 5, 50),), duration=2)),
        (
            "rate: 5, to: 50, shape: exponential, duration: 2",
            Arrival("poisson", (Stage(2, 5, 50, "exponential"),), duration=2),
        ),
        (
            "stages: [{rate: 1, duration: 2}, {rate: 0, duration: 1s, to: 4}]",
            Arrival("poisson", (Stage(2, 1), Stage(1, 0, 4))),
        ),
        ("rate: 5, duration: 2, offset: 3s", Arrival("poisson", (Stage(2, 5),), offset=3, duration=2)),
        (
            "rate: 5, duration: 9, on_off: {on: 1s, off: 2s}",
            Arrival("poisson", (Stage(9, 5),), on_off=OnOff(1, 2), duration=9),
        ),
        (
            "rate: 5, duration: 9, on_off: {on: 1, off: 2, off_rate: 10%, random: true}",
            Arrival("poisson", (Stage(9, 5),), on_off=OnOff(1, 2, 0.1, True), duration=9),
        ),
        ("process: burst, size: 5, every: 2s, duration: 4", Arrival("burst", size=5, every=2, duration=4)),
        ("process: burst, size: 5", Arrival("burst", size=5, requests=5)),
        ("process: burst, size: 5, requests: 7", Arrival("burst", size=5, requests=7)),
        ("users: 3, requests: 9", Arrival("closed", users=3, requests=9)),
        ("concurrency: 3, process: closed, duration: 9", Arrival("closed", users=3, duration=9)),
        (
            "users: 3, requests: 9, pause_on_error: 1s",
            Arrival("closed", users=3, requests=9, pause_on_error=1),
        ),
    ],
)
def test_arrivals(fields: str, wanted: Arrival) -> None:
    assert arrival(fields) == wanted


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ("", ": needs either `rate:` or `stages:`"),
        ("rate: 5", ": needs `duration:` or `requests:` (here, or `duration:` at the top)"),
        ("rate: 0, duration: 1", ".rate: must be at least 1e-06, not 0"),
        ("rate: .inf, duration: 1", ".rate: must be a finite number, not '.inf'"),
        ("rate: 5, stages: [], duration: 1", ": needs either `rate:` or `stages:`"),
        ("stages: []", ".stages: holds no stage"),
        ("stages: {rate: 1}", ".stages: must be a list, not a mapping"),
        ("stages: [{rate: 1}]", ".stages[0]: needs `duration:`"),
        ("stages: [{duration: 1}]", ".stages[0]: needs `rate:`"),
        ("stages: [{rate: -1, duration: 1}]", ".stages[0].rate: must be at least 0, not -1"),
        ("stages: [{rate: 1, duration: 0}]", ".stages[0].duration: must be at least 0.001 s, not 0"),
        (
            "stages: [{rate: 1, duration: 1, shape: exponential}]",
            ".stages[0]: an exponential ramp needs `rate:` and `to:` above 0",
        ),
        (
            "stages: [{rate: 0, to: 5, duration: 1, shape: exponential}]",
            ".stages[0]: an exponential ramp needs `rate:` and `to:` above 0",
        ),
        (
            "stages: [{rate: 1, duration: 1, shape: square}]",
            ".stages[0].shape: must be one of linear, exponential",
        ),
        ("rate: 5, to: 9, requests: 5", ".to: a ramp needs `duration:`"),
        ("rate: 5, to: 0, duration: 5", ".to: must be at least 1e-06, not 0"),
        (
            "process: posson, rate: 5",
            ".process: must be one of constant, poisson, gamma, clients, burst, trace, "
            "closed, not 'posson'; did you mean poisson?",
        ),
        (
            "rate: 5, duration: 1, burstiness: 2",
            ".burstiness: only `process: gamma` has a burstiness, not poisson",
        ),
        ("process: gamma, burstiness: 0, rate: 5, duration: 1", ".burstiness: must be at least 0.001, not 0"),
        ("rate: 5, requests: 0", ".requests: must be at least 1, not 0"),
        ("rate: 5, requests: 5, on_off: {on: 1s, off: 1s}", ".on_off: periods need `duration:`, besides"),
        ("rate: 5, duration: 5, on_off: {on: 1s}", ".on_off: needs `off:`"),
        ("rate: 5, duration: 5, on_off: {on: 0, off: 1s}", ".on_off.on: must be at least 0.001 s, not 0"),
        (
            "rate: 5, duration: 5, on_off: {on: 1, off: 1, off_rate: 2}",
            ".on_off.off_rate: must be between 0 and 1",
        ),
        ("process: burst, duration: 5", ": needs `size:`"),
        ("process: burst, size: 0, duration: 5", ".size: must be at least 1, not 0"),
        ("process: burst, size: 5, every: 1s", ": needs `duration:` or `requests:`"),
        ("process: burst, size: 5, every: 0, duration: 1", ".every: must be at least 0.001 s, not 0"),
        ("process: closed, requests: 5", ": a closed loop needs `users:`"),
        ("users: 5", ": needs `duration:` or `requests:`"),
        ("users: 0, requests: 5", ".users: must be at least 1, not 0"),
        ("users: , process: closed, requests: 5", ": a closed loop needs `users:`"),
        ("users: 5, requests: 5, rate: 5", ".rate: unknown key"),
        ("process: clients, rate: 5, duration: 1", ": `process: clients` needs the class's `preset:`"),
        ("rate: 5, duration: 1, time_scale: 0", ".time_scale: must be at least 1e-09, not 0"),
        ("rate: 5, duration: 1, think: 1s", ".think: unknown key"),
    ],
)
def test_arrivals_that_are_refused(fields: str, error: str) -> None:
    found = refused(arrival, fields)
    assert found.startswith(f"s.yaml:3: classes.a.arrival{error}"), found


def test_the_process_that_a_source_of_prompts_brings(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    spec = one_class("preset: chat, arrival: {rate: 1, duration: 1}")
    assert spec.arrival.process == "clients"
    trace = "trace: {file: t, format: azure}"
    assert one_class(f"{trace}, arrival: {{}}", directory=tmp_path).arrival.process == "trace"
    assert (
        one_class(f"{trace}, arrival: {{users: 2, requests: 4}}", directory=tmp_path).arrival.process
        == "closed"
    )


def test_the_scenarios_duration_is_every_classs() -> None:
    text = "model: m\nduration: 7s\nclasses: {a: {arrival: {rate: 1}}, b: {arrival: {rate: 1, duration: 2s}}}"
    a, b = read_scenario(text, "s.yaml").classes
    assert (a.arrival.stages[0].duration, b.arrival.stages[0].duration) == (7.0, 2.0)
    a, b = read_scenario(text, "s.yaml", None, Overrides(duration=9.0)).classes
    assert (a.arrival.stages[0].duration, b.arrival.stages[0].duration) == (9.0, 2.0)


def loads(text: str) -> list[Arrival]:
    return [spec.arrival for spec in read_scenario(f"model: m\n{text}", "s.yaml").classes]


def test_a_load_is_split_by_weights_wherever_they_stand() -> None:
    load = "load: {type: poisson, stages: [{rate: 12, duration: 5}, {rate: 6, to: 24, duration: 1}]}\n"
    own = loads(load + "classes: {a: {weight: 2}, b: {}, c: {weight: 0}}")
    assert [each.stages[0].rate for each in own] == [8, 4, 0]
    assert [each.stages[1].end_rate for each in own] == [16, 8, 0]
    inherited = loads(load + "defaults: {weight: 5}\nclasses: {a: {}, b: {}, c: {weight: 10}}")
    assert [each.stages[0].rate for each in inherited] == [3, 3, 6]


def test_a_class_with_an_arrival_of_its_own_takes_no_part_of_the_load() -> None:
    load = "load: {stages: [{rate: 12, duration: 5}]}\n"
    a, b = loads(load + "classes: {a: {weight: 3}, b: {arrival: {rate: 1, requests: 1}}}")
    assert (a.process, a.stages[0].rate, b.process) == ("constant", 12, "poisson")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("load: {}\ndefaults: {}", "2: load: needs `stages:`"),
        ("load: {stages: []}\ndefaults: {}", "2: load.stages: holds no stage"),
        (
            "load: {type: gamma, stages: []}\ndefaults: {}",
            "2: load.type: must be one of constant, poisson, concurrent, not 'gamma'",
        ),
        ("load: {stage: []}\ndefaults: {}", "2: load.stage: unknown key; did you mean `stages`?"),
        (
            "load: {type: concurrent, stages: [{num_requests: 5}]}\ndefaults: {}",
            "2: load.stages[0]: needs `concurrency_level:`",
        ),
        (
            "load: {type: concurrent, stages: [{num_requests: 5, concurrency_level: 2}, {}]}\ndefaults: {}",
            "2: load.stages[1]: one concurrent stage a run",
        ),
        (
            "load: {type: concurrent, stages: [{num_requests: 5, concurrency_level: 2}]}\n"
            "classes: {a: {}, b: {}}",
            "3: classes.b: a concurrent `load:` is one class's",
        ),
        (
            "load: {stages: [{rate: 1, duration: 1}]}\nclasses: {a: {weight: -1}}",
            "3: classes.a.weight: must be at least 0, not -1",
        ),
        ("classes: {a: {}}", "2: classes.a: needs `arrival:` (or the scenario a `load:`)"),
        ("classes: {a: {arival: {rate: 1}}}", "2: classes.a.arival: unknown key; did you mean `arrival`?"),
        ("classes: {a: {arrival: }}", "2: classes.a.arrival: is empty; give it a value"),
    ],
)
def test_loads_that_are_refused(text: str, error: str) -> None:
    found = refused(loads, text)
    assert found.startswith(f"s.yaml:{error}"), found
