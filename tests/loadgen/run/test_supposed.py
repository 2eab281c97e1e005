"""The fleet that runs against the one a scenario supposes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.run.fleetlist import Fleet, Server, parse_fleet
from loadgen.run.supposed import differences, foreign_pods, warmup_words
from loadgen.scenario.fleetneeds import apply_needs
from loadgen.scenario.read import load_scenario, packaged_names
from loadgen.scenario.scenario import FleetNeeds, Scenario

HOT = load_scenario("hot-prefix")
FAST = ("--model", "m", "--profile", "llama-3.1-8b/h100")


def supposing(*args: str, replicas: int | None = None) -> Scenario:
    return replace(HOT, fleet=FleetNeeds(replicas, args))


def fleet_of(*servers: Server) -> Fleet:
    return Fleet([], servers=servers)


def pods(count: int, *args: str, latency: str | None = "step") -> Fleet:
    return fleet_of(*(Server(f"p-{i}", args, latency) for i in range(count)))


def test_a_fleet_that_fits_is_not_spoken_of() -> None:
    assert HOT.fleet is not None
    assert HOT.fleet.replicas is not None
    assert differences(HOT, pods(HOT.fleet.replicas, "--model", "m", *HOT.fleet.args)) == []


@pytest.mark.parametrize(
    "given",
    [
        ("--profile=a/b", "--max_num_seqs", "4"),
        ("--max-num-seqs=4", "--profile", "a/b", "--port", "1"),
    ],
)
def test_flags_are_compared_by_what_they_mean(given: tuple[str, ...]) -> None:
    assert differences(supposing("--profile", "a/b", "--max-num-seqs", "4"), pods(1, *given)) == []


def test_what_is_not_as_supposed_is_said_with_its_consequence() -> None:
    (words,) = differences(supposing("--profile", "llama-3.1-8b/h100", "--x", replicas=3), pods(2, *FAST))
    assert "not the one that hot-prefix supposes: 2 pods, not 3; pods without --x;" in words
    assert "expectations are about that one" in words
    assert "loadgen scenarios hot-prefix --manifests -" in words


def test_pods_that_differ_are_counted_and_long_lists_are_cut() -> None:
    mixed = fleet_of(Server("a", FAST, "step"), Server("b", ("--profile", "other"), "step"))
    (words,) = differences(supposing(*FAST[2:]), mixed)
    assert "1 of 2 pods without --profile llama-3.1-8b/h100" in words
    (many,) = differences(supposing(*(f"--f{i}" for i in range(7))), pods(1))
    assert "--f3; 3 flags more" in many
    assert "--f4" not in many


def test_pods_without_a_latency_model_are_said_unless_asked_for() -> None:
    timeless = pods(2, "--model", "m", latency="zero")
    (alone,) = differences(replace(HOT, fleet=None), timeless)
    assert alone.startswith("pods have no latency model: times say nothing")
    assert len(differences(HOT, timeless)) == 2
    assert (
        differences(supposing("--max-model-len", "9"), pods(2, "--max-model-len", "9", latency="zero")) == []
    )
    some = fleet_of(Server("a", FAST, "step"), Server("b", FAST, "zero"))
    assert differences(replace(HOT, fleet=None), some)[0].startswith("1 of 2 pods have no latency model")


def test_of_a_listing_that_tells_nothing_nothing_is_said() -> None:
    silent = fleet_of(*(Server(f"p-{i}") for i in range(3)))
    assert differences(replace(HOT, fleet=None), silent) == []
    assert differences(HOT, silent) == [], "three pods were wanted, of whose flags nobody knows"


@pytest.mark.parametrize("name", packaged_names())
def test_the_fleet_that_manifests_are_made_to_be_fits(name: str) -> None:
    """What `--manifests` writes is what a run expects to find."""
    scenario = load_scenario(name)
    needs = scenario.fleet or FleetNeeds()
    container = {"name": "sim", "args": ["--model", "m", "--max-loras", "9"]}
    template = {"spec": {"containers": [container]}}
    pool = {"kind": "InferencePool", "metadata": {"name": "p"}}
    server = {"kind": "Deployment", "spec": {"replicas": 7, "template": template}}
    config = {"kind": "ConfigMap", "data": {"p.yaml": "kind: EndpointPickerConfig\n"}}
    made = apply_needs([server, pool, config], needs)
    spec = made[0]["spec"]
    args = spec["template"]["spec"]["containers"][0]["args"]
    fleet = pods(spec["replicas"], *args)
    assert differences(scenario, fleet) == []


def test_a_listing_tells_servers_and_those_of_other_stacks() -> None:
    pod = {"name": "a", "address": "127.0.0.2", "ports": [1], "args": ["--x", 1], "latency": "zero"}
    other = {"name": "b", "pods": [{**pod, "name": "z"}, {**pod, "name": "a"}]}
    plain = {"name": "c", "address": "127.0.0.3", "ports": [1]}
    listing = {"stacks": [{"name": "mine", "pods": [pod, plain]}, other]}
    fleet = parse_fleet(json.dumps(listing).encode(), "here", "mine")
    assert fleet.servers == (Server("a", ("--x", "1"), "zero"), Server("c"))
    assert foreign_pods(fleet) == {"z": "b"}, "a name that both have tells nothing"


@pytest.mark.parametrize(
    ("warmup", "span", "words"),
    [
        (0, 5, None),
        (0, 0, None),
        (2, 5, None),
        (4, 5, "takes 80% of the 5 s"),
        (5, 5, "nothing is left to judge"),
        (9, 5, "covers the whole plan"),
    ],
)
def test_a_warm_up_that_eats_the_run_is_said(warmup: float, span: float, words: str | None) -> None:
    said = warmup_words(warmup, span)
    assert said is None if words is None else words in (said or "")


def test_files_are_named_as_they_were_given(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("")
    (words,) = differences(replace(supposing("--x"), source=str(file)), pods(1))
    assert f"loadgen scenarios {file} --manifests -" in words
