"""JSON schemas against what they describe: scenarios, pickers, run reports, the reader's own keys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from gateway.lint.editor_schema import NAME
from gateway.lint.editor_schema import schema as picker_schema
from loadgen.errors import ScenarioError
from loadgen.report.verdict import finish
from loadgen.scenario import document
from loadgen.scenario.read import packaged_names, packaged_text, read_scenario
from loadgen.schemas import SCHEMAS, schema
from tests.loadgen.synthetic import Fleet, write_run

ROOT = Path(__file__).parents[2]
PRESETS = ROOT / "gateway" / "presets" / "demo"
LEAST = {"model": "m", "classes": {"a": {"arrival": {"rate": 1, "duration": 1}}}}


def _errors(name: str, value: object) -> list[str]:
    found = jsonschema.Draft202012Validator(schema(name)).iter_errors(value)
    return [f"{list(error.path)}: {error.message}" for error in found]


@pytest.mark.parametrize("name", [*SCHEMAS, NAME])
def test_published_as_the_types_make_it(name: str) -> None:
    made = picker_schema() if name == NAME else schema(name)
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["$id"] == f"urn:vllm-simfleet:schema:{name}"
    published = ROOT / "docs" / "schemas" / f"{name}.schema.json"
    assert json.loads(published.read_text()) == json.loads(json.dumps(made)), "run docs/generate.py"


@pytest.mark.parametrize("name", packaged_names())
def test_packaged_scenarios(name: str) -> None:
    assert _errors("scenario", yaml.safe_load(packaged_text(name))) == []


def test_the_demos_scenario_and_its_pickers() -> None:
    assert _errors("scenario", yaml.safe_load((PRESETS / "mixed.yaml").read_text())) == []
    for path in (
        PRESETS / "page.yaml",
        PRESETS / "round-robin.yaml",
        *(ROOT / "examples/policies").glob("*.yaml"),
    ):
        document = yaml.safe_load(path.read_text())
        if document.get("kind") == "EndpointPickerConfig":
            jsonschema.validate(document, picker_schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": {"a": {"arival": {}}}}, "arival"),
        ({"duration": -1}, "-1"),
        ({"classes": {"a": {"api": "gossip"}}}, "gossip"),
        ({"slo": {"ttft": [1]}}, "[1]"),
    ],
)
def test_what_is_wrong_is_found(change: dict[str, Any], words: str) -> None:
    errors = _errors("scenario", {**LEAST, **change})
    assert errors
    assert words in errors[0]


def test_runs(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", Fleet())
    assert finish(path) == 0
    for name in ("report", "meta"):
        assert _errors(name, json.loads((path / f"{name}.json").read_text())) == []


def _asked(document_: dict[str, Any], *path: str) -> set[str]:
    """The keys that the reader knows where an unknown one stands, by its own words."""
    place: Any = document_
    for key in path:
        place = place.setdefault(key, {})
    place["0" * 30] = 1
    with pytest.raises(ScenarioError) as caught:
        read_scenario(yaml.safe_dump(document_), "s.yaml")
    known = re.search(r"known: (.*)", str(caught.value))
    assert known is not None, caught.value
    return set(known[1].split(", "))


def _arrival(**keys: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"model": "m", "classes": {"a": {"arrival": keys}}}


CLASS = ("classes", "a")
PARTS: list[tuple[type, Callable[[], dict[str, Any]], tuple[str, ...]]] = [
    (document.ScenarioDocument, lambda: json.loads(json.dumps(LEAST)), ()),
    (document.TrafficClass, _arrival(rate=1, duration=1), CLASS),
    (document.Arrival, _arrival(rate=1, duration=1), (*CLASS, "arrival")),
    (document.Arrival, _arrival(process="burst", size=1, requests=1), (*CLASS, "arrival")),
    (document.Arrival, _arrival(users=1, duration=1), (*CLASS, "arrival")),
    (document.Arrival, _arrival(process="closed", concurrency=1, duration=1), (*CLASS, "arrival")),
    (document.Tls, lambda: json.loads(json.dumps(LEAST)), ("tls",)),
    (document.Slo, lambda: json.loads(json.dumps(LEAST)), ("slo",)),
    (document.Scrape, lambda: json.loads(json.dumps(LEAST)), ("scrape",)),
    (document.FleetNeeds, lambda: json.loads(json.dumps(LEAST)), ("fleet",)),
]


def test_the_schema_has_the_keys_that_the_reader_asks_for() -> None:
    asked: dict[type, set[str]] = {}
    for part, make, path in PARTS:
        asked.setdefault(part, set()).update(_asked(make(), *path))
    for part, keys in asked.items():
        fields = {field.encode_name for field in msgspec.structs.fields(part)}
        assert keys - fields == set(), part
        assert fields - keys <= {"name"}, part  # of an item of a list


def test_commands_print_them() -> None:
    for command, id_ in (
        (["loadgen.cli", "schema", "scenario"], "scenario"),
        (["gateway.cli", "schema"], NAME),
    ):
        code = f"import sys; from {command[0]} import main; sys.exit(main({command[1:]!r}))"
        printed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert json.loads(printed.stdout)["$id"].endswith(id_)
