"""Helm's files given as manifests: refused with the command that makes manifests of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ManifestError
from gateway.manifests.load import load

ROOT = Path(__file__).parents[3]
SIMULATOR = ROOT / "charts" / "simulator"


def refused(path: Path) -> str:
    with pytest.raises(ManifestError) as error:
        load([str(path)])
    return str(error.value)


def test_a_chart_s_folder_and_files() -> None:
    render = f"`helm template NAME {SIMULATOR} | simfleet up -f -`"
    assert render in refused(SIMULATOR)
    assert render in refused(SIMULATOR / "Chart.yaml")
    assert render in refused(SIMULATOR / "templates" / "all.yaml")
    values = SIMULATOR / "values.yaml"
    assert f"`helm template NAME {SIMULATOR} -f {values} | simfleet up -f -`" in refused(values)


def test_values_of_a_chart_elsewhere(tmp_path: Path) -> None:
    values = tmp_path / "mine.yaml"
    values.write_text("replicaCount: 3\nimage: {tag: v1}\n")
    assert f"`helm template NAME CHART -f {values} | simfleet up -f -`" in refused(values)


def test_a_picker_s_configuration(tmp_path: Path) -> None:
    config = tmp_path / "epp.yaml"
    config.write_text(
        "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nplugins: []\n"
    )
    assert f"`simfleet up --epp-config {config}`" in refused(config)


def test_templates_of_others_within_an_object_are_no_chart_s(tmp_path: Path) -> None:
    """Alertmanager and Jinja write braces too, in texts."""
    file = tmp_path / "cm.yaml"
    text = '    {{ define "x" }}\n    {{- if .a }}b{{ end }}\n    y: {{ $labels.pod }}\n'
    file.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  t: |\n{text}")
    assert len(load([str(file)]).config_maps) == 1
    file.write_text("a: [\n")
    assert "Helm" not in refused(file)


def test_variables_that_are_still_to_be_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "svc.yaml"
    written = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "${NAME}"}, "spec": {}}
    file.write_text(json.dumps(written))
    words = refused(file)
    assert "is '${NAME}'" in words
    assert "`... | envsubst | simfleet up -f -`" in words
