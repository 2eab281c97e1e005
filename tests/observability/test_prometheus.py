"""Every query of the charts' dashboards and rules, and what public dashboards read, against real series."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.conftest import ROOT, RULES, Prometheus
from tests.observability.public_dashboards import GIE, NOT_OURS, VLLM

pytestmark = pytest.mark.prometheus

DASHBOARDS = sorted((ROOT / "charts").glob("*/files/dashboards/*.json"))
FOR_CLUSTERS = "istio_"  # metrics of Istio's own gateways


def _queries(path: Path) -> list[str]:
    panels = json.loads(path.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def _rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def _operands(expression: str) -> list[str]:
    """The sides of an alert's comparison that are no numbers; the whole of any other expression."""
    sides = re.split(r"\s(?:>|==)\s", expression, maxsplit=1)
    return [side for side in sides if not re.fullmatch(r"[\d.\s]+", side)]


def _labels(series: list[dict[str, Any]]) -> set[str]:
    return {name for one in series for name in one["metric"]}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_the_dashboards_has_series(path: Path, prometheus: Prometheus) -> None:
    empty = [query for query in _queries(path) if not prometheus.query(query)]
    assert empty == [query for query in _queries(path) if FOR_CLUSTERS in query]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.parents[1].name)
def test_every_side_of_the_rules_has_series(path: Path, prometheus: Prometheus) -> None:
    sides = [side for rule in _rules(path) for side in _operands(rule["expr"])]
    assert [side for side in sides if not prometheus.query(side)] == []


def test_prometheus_evaluates_the_rules(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    evaluated = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(evaluated) == {r.get("alert") or r["record"] for path in RULES for r in _rules(path)}
    assert set(evaluated.values()) == {"ok"}


@pytest.mark.parametrize("table", [GIE, VLLM], ids=["gie", "vllm"])
def test_what_public_dashboards_read_is_there_with_its_labels(
    table: dict[str, tuple[str, ...]], prometheus: Prometheus
) -> None:
    missing = []
    for family, labels in table.items():
        series = prometheus.query(family)
        missing += (
            [family] if not series else [f"{family}: {n}" for n in labels if n not in series[0]["metric"]]
        )
    assert missing == []


def test_what_is_not_ours_is_told_in_the_docs(prometheus: Prometheus) -> None:
    told = (ROOT / "docs" / "observability.md").read_text()
    for family in NOT_OURS:
        assert not prometheus.query(family)
        assert family.removesuffix("_bucket") in told


def test_promtool_reads_dashboards_and_rules(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no `promtool` on the PATH: apt install prometheus")
    queries = [q.replace("$__rate_interval", "1m") for path in DASHBOARDS for q in _queries(path)]
    rules = [{"record": f"query_{i}", "expr": query} for i, query in enumerate(queries)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "queries.yaml", *RULES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
