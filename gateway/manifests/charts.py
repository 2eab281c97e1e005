"""Helm's files given as manifests: told apart, with the command that makes manifests of them."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.errors import ManifestError
from kit.yamldoc import Document

# An action of Go's templates at the start of a line or as a value: no YAML of an object has it there.
_ACTION = re.compile(
    r"^\s*\{\{-?\s*(?:if|with|range|define|include|template|end|\$|/\*)|[:\-]\s+\{\{-?\s*[.$]", re.MULTILINE
)


def check_chart(folder: Path) -> None:
    """Raise ManifestError for the folder of a chart."""
    if (folder / "Chart.yaml").is_file():
        raise ManifestError(f"a Helm chart, not manifests: {_command('NAME', str(folder))}", str(folder))


def check_text(text: str, file: str) -> None:
    """Raise ManifestError for a chart's template; asked of what is no YAML."""
    if (found := _ACTION.search(text)) is not None and "{{" in found[0]:
        line = text.count("\n", 0, found.end()) + 1
        chart = _chart_of(Path(file))
        raise ManifestError(
            f"a template of a Helm chart, not manifests: {_command('NAME', chart)}", file, line
        )


def check_object(document: Document) -> None:
    """Raise ManifestError for a document that is no object, such as Chart.yaml or values."""
    data = document.data
    if not isinstance(data, dict) or "metadata" in data:
        return
    file = document.file
    if data.get("kind") == "EndpointPickerConfig":
        text = f"a picker's configuration: mount it by a ConfigMap, or `simfleet up --epp-config {file}`"
    elif "apiVersion" not in data:
        values = _command("NAME", _chart_of(Path(file)), file)
        text = f"apiVersion is missing: no object. If these are values of a Helm chart: {values}"
    elif {"name", "version"} <= data.keys() and "kind" not in data:
        chart = _command("NAME", str(Path(file).parent))
        text = f"the Chart.yaml of a Helm chart, not manifests: {chart}"
    else:
        return
    raise ManifestError(text, file, document.line)


def _chart_of(file: Path) -> str:
    """The nearest folder above with a Chart.yaml, else a word for one."""
    found = next((p for p in file.parents if (p / "Chart.yaml").is_file()), None)
    return str(found) if found else "CHART"


def _command(name: str, chart: str, values: str | None = None) -> str:
    flag = f" -f {values}" if values else ""
    return f"`helm template {name} {chart}{flag} | simfleet up -f -`"
