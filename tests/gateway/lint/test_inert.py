"""Settings of an EndpointPickerConfig that the reference picker does not act on are named, by lint and its log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import ManifestError
from gateway.lint import lint
from gateway.manifests.load import read
from gateway.picker.app import Picker
from gateway.picker.config import parse_config, without_effect
from gateway.picker.options import parse_options
from kit.yamldoc import Document
from tests.e2e import worlds

PLUGINS = {
    "active-request-scorer": {"inFlightLoadProducerName": "a", "requestTimeout": "1m", "idleThreshold": 1},
    "token-load-scorer": {"inFlightLoadProducerName": "a"},
    "no-hit-lru-scorer": {"lruSize": 9, "prefixPluginType": "a", "prefixPluginName": "b"},
    "prefix-cache-scorer": {"prefixMatchInfoProducerName": "a"},
    "queue-scorer": {},
    "inflight-load-producer": {},
}


def config(**more: Any) -> str:
    plugins = [{"type": name, "parameters": parameters} for name, parameters in PLUGINS.items()]
    scorers = [{"pluginRef": name} for name in PLUGINS if name.endswith("-scorer")]
    profile = {"name": "default", "plugins": scorers}
    whole = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": plugins,
        "schedulingProfiles": [profile],
        **more,
    }
    return yaml.safe_dump(whole)


OF_PLUGINS = [
    "plugins[0].parameters.inFlightLoadProducerName",
    "plugins[0].parameters.requestTimeout",
    "plugins[1].parameters.inFlightLoadProducerName",
    "plugins[2].parameters.prefixPluginName",
    "plugins[2].parameters.prefixPluginType",
    "plugins[3].parameters.prefixMatchInfoProducerName",
]


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        ({}, []),
        ({"dataLayer": {"injectDefaults": False}}, ["dataLayer.injectDefaults"]),
        ({"dataLayer": {"peerDiscovery": {"pluginRef": "x"}}}, ["dataLayer.peerDiscovery"]),
        (
            {"dataLayer": {"crossReplicaSyncerPluginRef": "x", "crossReplicaSyncInterval": "1s"}},
            ["dataLayer.crossReplicaSyncerPluginRef", "dataLayer.crossReplicaSyncInterval"],
        ),
        ({"flowControl": {"enableEviction": True}}, ["flowControl.enableEviction"]),
        ({"flowControl": {"enableEviction": False, "maxRequests": 3}}, []),
    ],
)
def test_paths(more: dict[str, Any], paths: list[str]) -> None:
    assert list(without_effect(parse_config(config(**more)))) == OF_PLUGINS + paths


def test_the_picker_s_log_names_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "c.yaml"
    whole = yaml.safe_load(config(flowControl={"enableEviction": True}))
    whole["plugins"].append({"type": "inflight-load-producer", "name": "a"})  # which the token scorer needs
    file.write_text(yaml.safe_dump(whole))
    argv = [f"--config-file={file}", "--pool-name=p", f"--endpoints-file={tmp_path}/e.yaml"]
    with caplog.at_level(logging.WARNING, "picker"):
        Picker(parse_options(argv))
    told = [r.getMessage().partition(" has no effect in the reference picker")[0] for r in caplog.records]
    assert [m for m in told if "." in m and " " not in m] == [*OF_PLUGINS, "flowControl.enableEviction"]


def test_lint_names_them_at_the_config_map() -> None:
    objects = [worlds.servers("x"), worlds.pool("p", "x", "epp"), *worlds.picker("epp", "p", config())]
    found = lint(read(Document("m.yaml", i, each, ManifestError) for i, each in enumerate(objects)))
    inert = [f for f in found if f.rule.id == "picker-inert-setting"]
    assert sorted(f.message.rpartition(" sets ")[2] for f in inert) == sorted(OF_PLUGINS)
    assert all("--epp PATH" in f.mend for f in inert)
