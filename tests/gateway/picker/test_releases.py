"""The table of releases: what each one's configuration may hold, and which release a configuration is for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gateway.picker.compat import TABLE, Compat, for_document, of_image, strange_in
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.builtin import BUILTIN
from gateway.picker.releases import (
    canonical,
    document_of,
    names_of_releases,
    plugin_types,
    unknown_fields,
    wrong_types,
)
from tests.gateway.picker.factories import API, config, load

REGISTERED = {  # as many types as each release's runner registers
    "gie-v1.0": 9,
    "gie-v1.1": 9,
    "gie-v1.2": 10,
    "gie-v1.3": 14,
    "gie-v1.4": 20,
    "gie-v1.5": 36,
    "llm-d-v0.4": 22,
    "llm-d-v0.5": 26,
    "llm-d-v0.7": 42,
    "llm-d-v0.9": 71,
    "llm-d-v0.10": 96,
    "llm-d-head": 97,
}


def parsed(text: str) -> Any:
    return yaml.safe_load(text)


def refused(text: str, compat: Compat) -> str:
    try:
        load(text, compat)
    except PickerConfigError as error:
        return str(error)
    return ""


def test_every_row_of_the_table_has_its_facts() -> None:
    assert list(names_of_releases()) == list(TABLE) == list(REGISTERED)
    for release, count in REGISTERED.items():
        assert sum(release in known.releases for known in plugin_types().values()) == count
        assert {"apiVersion", "kind", "plugins", "schedulingProfiles"} <= document_of(release).keys()


@pytest.mark.parametrize("release", TABLE)
def test_each_type_of_a_release_is_built_or_refused_by_name(release: str) -> None:
    """What a type alone needs besides may be missing; nobody calls it unknown or takes it in silence."""
    compat = TABLE[release]
    for known in plugin_types().values():
        if release not in known.releases:
            continue
        text = config(f"{{type: {known.name}}}", api="llm-d" if compat.strict_parameters else "gie")
        if known.name in BUILTIN:
            assert "registry" not in refused(text, compat)  # at most something that it needs
            continue
        with pytest.raises(PickerConfigError) as caught:
            load(text, compat)
        assert known.name in str(caught.value)
        assert release in str(caught.value)


def test_what_is_ours_alone_is_no_type_of_a_release() -> None:
    assert BUILTIN.keys() - plugin_types().keys() == {"round-robin-picker", "least-request-picker"}


def test_unknown_fields_are_found_at_any_depth() -> None:
    tree = {"a": [{"b": "int"}], "c": "object", "D": {"e": ["string"]}}
    value = {"a": [{"b": 1}, {"x": 1}], "c": {"anything": 1}, "d": {"e": [], "f": 1}}
    assert list(unknown_fields(value, tree)) == ["a[1].x", "d"]
    assert list(unknown_fields(value, tree, any_case=True)) == ["a[1].x", "d.f"]
    assert canonical(value, tree)["D"] == {"e": [], "f": 1}
    assert list(wrong_types({"a": [{"b": True}], "c": 1, "D": {"e": "x"}}, tree)) == [
        "a[0].b: True is no int",
        "c: 1 is no object",
        "D.e: a list is expected, not 'x'",
    ]


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("registry.k8s.io/gateway-api-inference-extension/epp:v1.0.0", "gie-v1.0"),
        ("registry.k8s.io/gateway-api-inference-extension/epp:v1.5.0", "gie-v1.5"),
        ("localhost:5000/gateway-api-inference-extension/epp:v20251119-2aaf2a6", "gie-v1.2"),
        ("ghcr.io/llm-d/llm-d-inference-scheduler:v0.4.0", "llm-d-v0.4"),
        ("ghcr.io/llm-d/llm-d-inference-scheduler:v0.6.0", "llm-d-v0.7"),
        ("ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.9.0", "llm-d-v0.9"),
        ("ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0-rc.1", "llm-d-v0.10"),
        ("ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.11.2", "llm-d-head"),
        ("ghcr.io/llm-d/llm-d-router-endpoint-picker:main", "llm-d-head"),
        ("ghcr.io/llm-d/llm-d-router-endpoint-picker@sha256:00", None),
        ("localhost:5000/epp", None),
        ("my/own:v1", None),
    ],
)
def test_the_release_of_an_image(image: str, release: str | None) -> None:
    found = of_image(image)
    assert (found.name if found else None) == release


FLOW = "featureGates: [flowControl]\nflowControl: {defaultRequestTTL: 30s}\n"


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (config("{type: queue-scorer}"), "gie-v1.2"),
        (config("{type: running-requests-size-scorer}"), "gie-v1.3"),
        (config("{type: queue-scorer}", rest=FLOW), "gie-v1.4"),
        (config("{type: token-load-scorer}"), "gie-v1.5"),
        (config("{type: decode-filter}"), "llm-d-v0.7"),
        (config("{type: pd-profile-handler, parameters: {threshold: 1}}"), "llm-d-v0.5"),
        (config("{type: label-selector-filter}"), "llm-d-v0.10"),
        (config("{type: queue-scorer}", api="llm-d"), "llm-d-v0.10"),
        (config("{type: sglanghttp-parser}", api="llm-d"), "llm-d-head"),
        (
            config("{type: program-aware-fairness, parameters: {lasDecayFactor: 1.0}}", api="llm-d"),
            "llm-d-v0.10",
        ),
        (config("{type: nobodys-scorer}"), "gie-v1.2"),
        (config("{type: queue-scorer}", rest="strange: 1\n"), "gie-v1.2"),
    ],
)
def test_the_release_by_what_a_configuration_says(text: str, release: str) -> None:
    assert for_document(parsed(text)).name == release


def test_the_image_decides_before_the_group_of_the_api() -> None:
    """Flow control under the old group beside an image of llm-d's is llm-d's."""
    document = parsed(config("{type: queue-scorer}", rest=FLOW))
    assert document["apiVersion"] == API["gie"]
    assert for_document(document, "ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0").name == "llm-d-v0.10"
    assert for_document(document, "my/own:1").name == "gie-v1.4"
    assert for_document("no mapping").name == "llm-d-v0.10"


def test_what_a_release_would_find_strange() -> None:
    text = config(
        "{type: metrics-data-source, parameters: {PORT: 1, prot: 2}}",
        rest="featureGates: [dataLayer]\nrequestHandler: {parsers: []}\n",
    )
    assert list(strange_in(parsed(text), TABLE["llm-d-v0.10"])) == ["feature gate dataLayer", "prot"]
    assert list(strange_in(parsed(text), TABLE["gie-v1.5"])) == ["requestHandler", "PORT", "prot"]


def test_parameters_are_read_in_any_case_as_go_does() -> None:
    loaded = load(
        config("{type: max-score-picker, parameters: {MaxNumOfEndpoints: 2}}"), TABLE["llm-d-v0.10"]
    )
    assert loaded.specs["max-score-picker"].parameters == {"maxNumOfEndpoints": 2}


def test_alpha_types_need_the_flag() -> None:
    from gateway.picker.plugins.known_types import parameters_of

    text = config("{type: session-affinity-scorer}", api="llm-d")
    load(text, TABLE["llm-d-v0.10"])
    spec = load(text, TABLE["llm-d-v0.9"]).specs["session-affinity-scorer"]
    parameters_of(spec, TABLE["llm-d-v0.9"], print, experimental=False)
    with pytest.raises(PickerConfigError, match="--allow-experimental-plugins is not set"):
        parameters_of(spec, TABLE["llm-d-v0.10"], print, experimental=False)
