"""What lint prints and how it ends: the formats, the order of findings, exit codes, and where manifests come from."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ManifestError
from gateway.lint import run
from gateway.lint.finding import RULES, Finding, Severity
from gateway.lint.output import FORMATS, as_github, as_json, as_sarif, as_text
from kit.yamldoc import load_documents
from tests.gateway.lint.world import FILE, WORLD, documents, findings, world

ERROR = ("appProtocol: http2", "appProtocol: tcp")
WARNING = ("--tracing=false", "--tracing=false\n        - -v=5")
INFO = ("    failureMode: FailClose\n", "")


def finding(rule: str, file: str = "a.yaml", line: int = 1, message: str = "m") -> Finding:
    return Finding(RULES[rule], file, line, message, "c", "d")


ONE = Finding(
    RULES["picker-rbac"], "deploy/a.yaml", 7, "the account may not watch pods", "it restarts", "a rule"
)


def test_text_is_a_paragraph_a_finding_and_a_count() -> None:
    assert as_text([ONE]) == (
        "deploy/a.yaml:7: error [picker-rbac]\n"
        "    the account may not watch pods\n"
        "    what happens: it restarts\n"
        "    mend: a rule\n"
        "\n"
        "1 error\n"
    )


@pytest.mark.parametrize(
    ("rules", "total"),
    [
        ([], "nothing found"),
        (["picker-rbac"], "1 error"),
        (["picker-rbac", "picker-port"], "2 errors"),
        (["dead-flag"], "1 warning"),
        (["dead-flag", "dead-flag"], "2 warnings"),
        (["route-port"], "1 info"),
        (["route-port", "route-paths"], "2 info"),
        (["picker-rbac", "dead-flag", "dead-flag", "route-port"], "1 error, 2 warnings, 1 info"),
    ],
)
def test_text_counts_by_severity(rules: list[str], total: str) -> None:
    assert as_text([finding(rule) for rule in rules]).splitlines()[-1] == total


def test_text_keeps_names_whole_in_lines_of_100() -> None:
    name = "registry.k8s.io/" + "x" * 120
    lines = as_text([finding("picker-image", message=f"{'word ' * 30}{name} end")]).splitlines()
    assert f"      {name}" in [line.removesuffix(" end") for line in lines]
    assert all(len(line) <= 100 for line in lines if name not in line)


def test_json_has_every_field() -> None:
    assert json.loads(as_json([ONE, finding("route-port")])) == [
        {
            "rule": "picker-rbac",
            "severity": "error",
            "defect": 1,
            "file": "deploy/a.yaml",
            "line": 7,
            "message": "the account may not watch pods",
            "consequence": "it restarts",
            "mend": "a rule",
        },
        {
            "rule": "route-port",
            "severity": "info",
            "defect": None,
            "file": "a.yaml",
            "line": 1,
            "message": "m",
            "consequence": "c",
            "mend": "d",
        },
    ]
    assert json.loads(as_json([])) == []


def sarif(*given: Finding) -> Any:
    log = json.loads(as_sarif(list(given)))
    assert (log["version"], list(log)) == ("2.1.0", ["$schema", "version", "runs"])
    (only,) = log["runs"]
    return only


def test_sarif_has_the_rules_it_uses_once_each() -> None:
    told = sarif(finding("dead-flag"), finding("dead-flag", line=2), ONE)
    driver = told["tool"]["driver"]
    assert driver["name"] == "simfleet lint"
    assert {r["id"]: r["shortDescription"]["text"] for r in driver["rules"]} == {
        "dead-flag": "a flag or variable without effect",
        "picker-rbac": "the picker may not watch what it watches",
    }
    assert [r["ruleId"] for r in told["results"]] == ["dead-flag", "dead-flag", "picker-rbac"]
    assert sarif()["results"] == []


@pytest.mark.parametrize(
    ("rule", "level"), [("picker-rbac", "error"), ("dead-flag", "warning"), ("route-port", "note")]
)
def test_sarif_levels_and_places(rule: str, level: str) -> None:
    (result,) = sarif(finding(rule, "dir/a.yaml", 42))["results"]
    assert result["level"] == level
    assert result["message"] == {"text": "m. What happens: c. Mend: d"}
    (place,) = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "dir/a.yaml"},
        "region": {"startLine": 42},
    }


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("a b.yaml", "a%20b.yaml"),
        ("<stdin>", "%3Cstdin%3E"),
        ("50%.yaml", "50%25.yaml"),
        ("ü.yaml", "%C3%BC.yaml"),
    ],
)
def test_a_sarif_place_is_a_uri(file: str, uri: str) -> None:
    (result,) = sarif(finding("dead-flag", file))["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (ONE, "::error file=deploy/a.yaml,line=7,title=picker-rbac::the account may not watch pods. "
              "What happens: it restarts. Mend: a rule"),
        (finding("dead-flag"), "::warning file=a.yaml,line=1,title=dead-flag::m. What happens: c. Mend: d"),
        (finding("route-port"), "::notice file=a.yaml,line=1,title=route-port::m. What happens: c. Mend: d"),
        (finding("dead-flag", message="50%\r\nmore: a, b"),
         "::warning file=a.yaml,line=1,title=dead-flag::50%25%0D%0Amore: a, b. What happens: c. Mend: d"),
        (finding("dead-flag", "a,b:c%.yaml"),
         "::warning file=a%2Cb%3Ac%25.yaml,line=1,title=dead-flag::m. What happens: c. Mend: d"),
    ],
)  # fmt: skip
def test_github_annotations(given: Finding, line: str) -> None:
    assert as_github([given]) == line + "\n"
    assert as_github([]) == ""


def test_errors_come_first_then_files_then_lines() -> None:
    order = sorted(
        [
            finding("route-port", "a", 1),
            finding("dead-flag", "b", 1),
            finding("dead-flag", "a", 9),
            finding("dead-flag", "a", 2),
            finding("server-image", "a", 2),
            finding("picker-rbac", "z", 99),
        ],
        key=lambda f: f.sort_key,
    )
    assert [(f.rule.id, f.file, f.line) for f in order] == [
        ("picker-rbac", "z", 99),
        ("dead-flag", "a", 2),
        ("server-image", "a", 2),
        ("dead-flag", "a", 9),
        ("dead-flag", "b", 1),
        ("route-port", "a", 1),
    ]
    severities = [f.rule.severity for f in findings(world(INFO, WARNING, ERROR))]
    assert severities == [Severity.ERROR, Severity.WARNING, Severity.INFO]


def test_a_mistake_of_two_pools_is_told_once() -> None:
    """A second pool with the same picker looks at the same Service; the finding is the same one."""
    start = WORLD.index("apiVersion: inference.networking.k8s.io/v1")
    second = WORLD[start : WORLD.index("---", start)].replace("name: pool", "name: second")
    found = [f.rule.id for f in findings(world(ERROR) + "---\n" + second)]
    assert found.count("picker-protocol") == 1


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_the_catalogue(rule: Any) -> None:
    assert RULES[rule.id] is rule
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", rule.id)
    assert rule.title == rule.title.strip().rstrip(".")
    assert 0 <= rule.defect <= 17


# --- the command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "plain", "strict"),
    [((), 0, 0), ((INFO,), 0, 0), ((WARNING,), 0, 1), ((ERROR,), 1, 1), ((ERROR, WARNING, INFO), 1, 1)],
)
def test_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], edits: Any, plain: int, strict: int
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(world(*edits))
    assert run([str(file)]) == plain
    told = capsys.readouterr()
    assert run([str(file), "--strict"]) == strict
    assert capsys.readouterr() == told, "strict changes the exit code and nothing else"
    assert told.err == ""


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_format_is_what_its_function_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    file = tmp_path / "w.yaml"
    text = world(ERROR, WARNING, INFO)
    file.write_text(text)
    assert run([str(file), "--format", form]) == 1
    placed = [dataclasses.replace(f, file=str(file)) for f in findings(text)]
    assert capsys.readouterr().out == FORMATS[form](placed)


def test_what_cannot_be_read_is_told_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.yaml"
    for text, told in (
        ("kind: [\n", ":2: not YAML: expected the node content, but found '<stream end>'"),
        ("kind: Service\nkind: Pod\n", ":2: kind: stands twice; keep one"),
        ("apiVersion: v1\nkind: Service\n", ":1: document: metadata is missing"),
        ("- a\n", ":1: document: a Kubernetes object is a mapping with apiVersion, kind and metadata"),
        (WORLD + "---" + WORLD, ": Deployment apps/server: stands twice; the first is at "),
    ):
        file.write_text(text)
        assert run([str(file)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"simfleet lint: {file}")
        assert told in err


def test_sources_by_position_by_flag_and_by_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (tmp_path / f"{i}.yaml" for i in (1, 2))
    cut = WORLD.index("---", WORLD.index("kind: InferencePool")) + 4
    first.write_text(world(ERROR)[:cut])
    second.write_text(world(ERROR)[cut:])
    told = set()
    for argv in ([str(first), str(second)], ["-f", str(first), "--filename", str(second)],
                 [str(first), "-f", str(second)], [str(tmp_path)]):  # fmt: skip
        assert run(argv) == 1
        told.add(capsys.readouterr().out)
    assert len(told) == 1
    assert told.pop().startswith(f"{second}:")


def test_standard_input_and_a_namespace_for_what_has_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = world(ERROR).replace(", namespace: apps}", "}")
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert run(["-", "-n", "apps", "--format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error file=<stdin>,line=")


@pytest.mark.parametrize("argv", [["--format", "xml", "x"], ["--nothing"]])
def test_flags_that_there_are_not(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(argv)
    assert caught.value.code == 2
    assert "usage: simfleet lint" in capsys.readouterr().err


def test_the_worlds_own_reading_is_that_of_the_product() -> None:
    """What world.documents caches is what load_documents reads, line for line."""
    text = world(ERROR, WARNING)
    assert list(documents(text)) == list(load_documents(text, FILE, ManifestError))
