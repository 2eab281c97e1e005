"""EndpointPickerConfig: what is read, what is refused, and what is put in where nothing is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.picker.compat import (
    GIE_V12,
    GIE_V13,
    GIE_V14,
    GIE_V15,
    LLMD_V010,
    Compat,
    by_name,
    for_api_version,
)
from gateway.picker.config import parse_config, quantity_of, read_yaml
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.builtin import UtilizationDetector
from gateway.picker.plugins.loader import Loaded
from gateway.picker.plugins.prefix_plugins import PrefixProducer, TrackingPrefixScorer
from gateway.picker.plugins.saturation import UtilizationLimits
from tests.gateway.picker.factories import API, config, load

ROOT = Path(__file__).parents[3]
PAGE = ROOT.parent / "shared" / "page" / "endpoint-picker.yaml"
QUEUE = "{type: queue-scorer}"
ONE_PROFILE = "schedulingProfiles:\n- name: default\n  plugins:\n"


def refusal(text: str, compat: Compat = GIE_V12) -> str:
    with pytest.raises(PickerConfigError) as caught:
        load(text, compat)
    assert caught.value.exit_code == 2
    return str(caught.value)


def weights(loaded: Loaded) -> list[tuple[str, float]]:
    return [(scorer.name, weight) for scorer, weight in loaded.profile.scorers]


@pytest.mark.skipif(not PAGE.exists(), reason="the page's manifests are not beside the repository")
def test_the_pages_configuration() -> None:
    import yaml

    documents = yaml.safe_load_all(PAGE.read_text())
    text = next(d["data"]["default-plugins.yaml"] for d in documents if d["kind"] == "ConfigMap")
    loaded = load(text, for_api_version(API["gie"]))
    assert weights(loaded) == [
        ("queue-scorer", 2.0),
        ("kv-cache-utilization-scorer", 2.0),
        ("prefix-cache-scorer", 3.0),
    ]
    assert loaded.profile.picker.type_name == "max-score-picker"


def test_defaults_are_put_in() -> None:
    loaded = load(config(QUEUE, "{type: random-picker, name: dice}"))
    assert loaded.profile.name == "default"
    assert weights(loaded) == [("queue-scorer", 1.0)]
    assert loaded.profile.picker.name == "dice"
    profile = load(config(QUEUE, rest=ONE_PROFILE + "  - {pluginRef: queue-scorer}\n"))
    assert weights(profile) == [("queue-scorer", 1.0)]


def test_the_default_configuration_of_later_releases() -> None:
    from tests.gateway.picker.factories import BUILTIN, InflightLoad, Loader, random

    def loader(compat: Compat) -> Loader:
        return Loader(compat, BUILTIN, random.Random(), InflightLoad(), lambda _: None)

    assert [weight for _, weight in weights(loader(GIE_V14).load(None))] == [2.0, 2.0, 3.0]
    with pytest.raises(PickerConfigError, match=r"gie-v1\.2 needs a configuration"):
        loader(GIE_V12).load(None)


def test_api_versions() -> None:
    assert for_api_version("inference.networking.x-k8s.io/v1alpha1") is GIE_V12
    assert for_api_version("llm-d.ai/v1alpha1") is LLMD_V010
    assert for_api_version(None) is LLMD_V010
    load(config(QUEUE, api="gie"), LLMD_V010)  # deprecated there, still read
    assert "no kind" in refusal(config(QUEUE, api="llm-d"), GIE_V15)
    with pytest.raises(PickerConfigError, match=r"choose one of gie-v1\.0"):
        by_name("v9")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: EndpointPickerConfig\n", '"apiVersion" is missing'),
        (f"apiVersion: {API['gie']}\nkind: Nonsense\n", 'no kind "Nonsense"'),
        ("- a\n", "a mapping with apiVersion"),
        ("a: [\n", "not YAML"),
        (config(QUEUE, rest="surprise: 1\n"), 'unknown field "surprise"'),
        (config("{type: queue-scorer, weight: 1}"), 'unknown field "plugins[0].weight"'),
        (
            config(QUEUE, rest=ONE_PROFILE + "  - {pluginRef: queue-scorer, wieght: 1}\n"),
            'unknown field "schedulingProfiles[0].plugins[0].wieght"',
        ),
        (
            config(QUEUE, rest="dataLayer: {}\n"),
            'unknown field "dataLayer" in gie-v1.2 (gie-v1.5, llm-d-v0.9, llm-d-v0.10',
        ),
        (config(QUEUE, rest=ONE_PROFILE + "  - {pluginRef: queue-scorer, weight: heavy}\n"), "weight"),
        (
            config(QUEUE, rest=ONE_PROFILE + "  - {pluginRef: queue-scorer, weight: 1.5}\n"),
            "no fractional weights",
        ),
        (config(QUEUE, rest="plugins: []\n"), 'key "plugins" already set in map'),
        (config("{name: x}"), "is missing a type"),
        (config(QUEUE, QUEUE), "plugin name 'queue-scorer' used more than once"),
        (config("{type: qeue-scorer}"), "plugin type 'qeue-scorer' is not found in registry; there are"),
        (
            config("{type: topology-extractor}"),
            "is a type of llm-d-v0.10, llm-d-head: run the real picker",
        ),
        (config(QUEUE, rest="schedulingProfiles:\n- plugins: []\n"), "must have a name"),
        (config(QUEUE, rest=ONE_PROFILE + "  - {weight: 1}\n"), "must have a plugin reference"),
        (
            config(QUEUE, rest=ONE_PROFILE + "  - {pluginRef: other}\n"),
            "other is a reference to an undefined",
        ),
        (
            config(QUEUE, rest="schedulingProfiles:\n- {name: a, plugins: []}\n- {name: a, plugins: []}\n"),
            "the name 'a' has been specified for more than one",
        ),
        (
            config(QUEUE, rest="schedulingProfiles:\n- {name: a, plugins: []}\n- {name: b, plugins: []}\n"),
            "no profile handler was specified",
        ),
        (
            config("{type: random-picker}", "{type: max-score-picker}"),
            "failed to set 'max-score-picker' as picker, already have a registered picker plugin 'random",
        ),
        (config(QUEUE, rest="featureGates: [warpDrive]\n"), "feature gate 'warpDrive' is unknown"),
        (
            config("{type: prefix-cache-scorer, parameters: {blockSize: big}}"),
            "failed to parse the parameters",
        ),
        (
            config(QUEUE, rest="saturationDetector: {queueDepth: 5}\n"),
            'unknown field "saturationDetector.queueDepth"',
        ),
        (
            config(QUEUE, rest="saturationDetector: {metricsStalenessThreshold: 5 minutes}\n"),
            "metricsStalenessThreshold",
        ),
    ],
)
def test_refusals_of_v12(text: str, words: str) -> None:
    assert words in refusal(text)


def test_weights_may_be_fractions_from_v14_on() -> None:
    text = config(QUEUE, rest=ONE_PROFILE + "  - {pluginRef: queue-scorer, weight: 1.5}\n")
    assert "no fractional weights" in refusal(text, GIE_V13)
    assert weights(load(text, GIE_V14)) == [("queue-scorer", 1.5)]


def test_unknown_parameters_warn_in_gie_and_are_refused_by_llm_d() -> None:
    text = config("{type: active-request-scorer, parameters: {idleTreshold: 1}}")
    heard: list[str] = []
    load(text, GIE_V15, heard)
    assert any('unknown field "idleTreshold"' in message for message in heard)
    assert 'unknown field "idleTreshold" in llm-d-v0.10; it has' in refusal(text, LLMD_V010)


def test_types_of_later_releases_warn() -> None:
    heard: list[str] = []
    load(config("{type: token-load-scorer}"), GIE_V12, heard)
    assert heard == [
        "gie-v1.2 has no plugin type token-load-scorer; "
        "gie-v1.5, llm-d-v0.9, llm-d-v0.10, llm-d-head have it: used all the same"
    ]


def test_prefix_scorer_brings_its_producer() -> None:
    scorer = "{type: prefix-cache-scorer, parameters: {blockSizeTokens: 32, lruCapacityPerServer: 9}}"
    assert isinstance(load(config(scorer)).plugins["prefix-cache-scorer"], TrackingPrefixScorer)
    producer = load(config(scorer), GIE_V15).plugins["approx-prefix-cache-producer"]
    assert isinstance(producer, PrefixProducer)
    assert (producer.tracker.settings.block_tokens, producer.tracker.settings.capacity) == (32, 9)


def test_saturation_thresholds() -> None:
    def limits(rest: str, compat: Compat = GIE_V12) -> UtilizationLimits:
        detector = load(config(QUEUE, rest=rest), compat).detector
        assert isinstance(detector, UtilizationDetector)
        return detector.limits

    assert limits("") == UtilizationLimits(5, 0.8, 0.2)
    given = "{queueDepthThreshold: 9, kvCacheUtilThreshold: 0.5, metricsStalenessThreshold: 1s}"
    assert limits(f"saturationDetector: {given}\n") == UtilizationLimits(9, 0.5, 1.0)
    odd = "saturationDetector: {queueDepthThreshold: -1, kvCacheUtilThreshold: 1.0}\n"
    assert limits(odd) == UtilizationLimits(5, 0.8, 0.2)


def test_saturation_detector_as_a_plugin() -> None:
    detector = "{type: utilization-detector, name: d, parameters: {queueDepthThreshold: 2, headroom: 0.5}}"
    loaded = load(config(QUEUE, detector, rest="saturationDetector: {pluginRef: d}\n"), GIE_V15)
    assert isinstance(loaded.detector, UtilizationDetector)
    assert loaded.detector.limits == UtilizationLimits(2, 0.8, 0.2, 0.5)
    assert "undefined plugin 'x'" in refusal(
        config(QUEUE, rest="saturationDetector: {pluginRef: x}\n"), GIE_V15
    )
    wrong = config(QUEUE, rest="saturationDetector: {pluginRef: queue-scorer}\n")
    assert "is not a saturation detector" in refusal(wrong, GIE_V15)
    bad = "{type: utilization-detector, parameters: {kvCacheUtilThreshold: 1.5}}"
    assert "kvCacheUtilThreshold in (0.0, 1.0]" in refusal(config(bad), GIE_V15)


def test_flow_control_settings() -> None:
    rest = """\
featureGates: [flowControl]
flowControl:
  maxBytes: 1Gi
  maxRequests: 1k
  defaultRequestTTL: 30s
  defaultNegativePriorityBand: {maxRequests: 3}
  priorityBands:
  - {priority: 10, maxBytes: 500M, orderingPolicyRef: edf}
"""
    text = config(QUEUE, "{type: edf-ordering-policy, name: edf}", api="llm-d", rest=rest)
    limits = load(text, LLMD_V010).flow_control
    assert limits is not None
    assert (limits.max_bytes, limits.max_requests, limits.request_ttl) == (2**30, 1000, 30.0)
    assert limits.no_endpoint_ttl == 60.0
    assert limits.band(10).max_bytes == 500_000_000
    assert limits.band(10).ordering == "edf-ordering-policy"
    assert limits.band(-1).max_requests == 3
    assert limits.band(0).max_requests == 5000
    assert load(config(QUEUE, api="llm-d"), LLMD_V010).flow_control is None
    off = config(QUEUE, api="llm-d", rest="featureGates: ['flowControl=false']\n")
    assert load(off, LLMD_V010).flow_control is None


@pytest.mark.parametrize(
    ("text", "value"), [("100", 100), ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 3 * 2**29), (7, 7)]
)
def test_quantities(text: str | int, value: int) -> None:
    assert quantity_of(text, "x") == value


def test_bad_quantity() -> None:
    with pytest.raises(PickerConfigError, match="is not a quantity"):
        quantity_of("lots", "flowControl.maxBytes")


def test_json_is_yaml() -> None:
    document = {
        "apiVersion": API["gie"],
        "kind": "EndpointPickerConfig",
        "plugins": [{"type": "queue-scorer"}],
    }
    assert parse_config(json.dumps(document)).plugins[0].type == "queue-scorer"
    assert read_yaml("a: 1") == {"a": 1}


def test_passthrough_parser() -> None:
    rest = "parser: {pluginRef: passthrough-parser}\n"
    assert load(config(QUEUE, "{type: passthrough-parser}", rest=rest), GIE_V15).parsers == (
        "passthrough-parser",
    )
    assert load(config(QUEUE), GIE_V15).parsers is None
    assert "parser references undefined plugin 'nobody'" in refusal(
        config(QUEUE, rest="parser: {pluginRef: nobody}\n"), GIE_V15
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "policies").glob("*.yaml")), ids=lambda p: p.stem
)
def test_policies_to_compare_with(path: Path) -> None:
    loaded = load(path.read_text())
    assert loaded.profile.picker.type_name == f"{path.stem}-picker"
    assert loaded.profile.scorers == []
