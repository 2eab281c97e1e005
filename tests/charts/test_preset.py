"""The packaged preset `lab` is what the lab chart renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.commands.up import preset
from tests.charts.conftest import Helm

pytestmark = pytest.mark.charts


def identity(document: dict[str, Any]) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_the_preset_is_the_rendered_chart(helm: Helm) -> None:
    """After a change of the charts: helm template lab charts/lab -n lab --no-hooks > gateway/presets/lab/lab.yaml"""
    rendered = sorted(helm.template("lab", "--no-hooks"), key=identity)
    text = "---\n".join(Path(file).read_text() for file in preset())
    packaged = sorted((d for d in yaml.safe_load_all(text) if d), key=identity)
    assert [identity(d) for d in packaged] == [identity(d) for d in rendered]
    for ours, theirs in zip(packaged, rendered, strict=True):
        assert ours == theirs, identity(ours)
