"""What loadgen finds where it is told to write stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.compare.files import write_comparison
from loadgen.errors import RunError, ScenarioError
from loadgen.plan.plan import read_plan_header
from loadgen.records.rundir import RUN_FILES, fresh_directory
from loadgen.scenario.read import read_scenario

SCENARIO = """
name: NAME
model: m
target: http://127.0.0.1:9
ready_timeout: 10ms
classes: {a: {arrival: {rate: 5, duration: 1s}, input_tokens: 4, output_tokens: 4}}
arms: {ARM: {}, other: {}}
"""


def scenario(tmp_path: Path, name: str = "s", arm: str = "one", arms: bool = True) -> Path:
    text = SCENARIO.replace("NAME", name).replace("ARM", arm)
    file = tmp_path / "s.yaml"
    file.write_text(text if arms else text[: text.index("arms:")])
    return file


@pytest.mark.parametrize(
    "name",
    [
        *("records.jsonl", "records-3.jsonl", "meta.json", "plan.jsonl", "scenario.yaml", "scrapes.jsonl"),
        *("events.jsonl", "report.md", "report.html", "junit.xml"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_a_directory_with_such_a_file(tmp_path: Path, name: str, kind: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    if kind == "file":
        (out / name).write_text("mine")
    elif kind == "directory":
        (out / name).mkdir()
    else:
        (out / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match=rf"{out} holds (a run|{name}) already.*give another --out"):
        fresh_directory(out, RUN_FILES)
    assert sorted(p.name for p in out.iterdir()) == sorted(["notes.txt", name])


def test_other_files_are_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("mine")
    fresh_directory(tmp_path)
    fresh_directory(tmp_path / "a" / "b")
    with pytest.raises(RunError, match=r"cannot make .*log"):
        fresh_directory(tmp_path / "log" / "x")


def test_a_run_that_could_not_begin_leaves_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for _ in range(2):  # the second is not hindered by what the first left
        assert main(["run", str(scenario(tmp_path, arms=False)), "-o", str(out), "-q"]) != 0
        assert "holds" not in capsys.readouterr().err
        assert [p.name for p in out.iterdir()] == ["notes.txt"]


def test_a_plan_given_from_the_directory_of_the_run_stays(tmp_path: Path) -> None:
    file = str(scenario(tmp_path, arms=False))
    out = tmp_path / "out"
    out.mkdir()
    assert main(["plan", file, "-o", str(out / "plan.jsonl")]) == 0
    before = (out / "plan.jsonl").read_bytes()
    assert main(["run", file, "--plan", str(out / "plan.jsonl"), "-o", str(out), "-q"]) != 0
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {"plan.jsonl": before}


def test_a_plan_replaces_plans_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = scenario(tmp_path, arms=False)
    plan = tmp_path / "plan.jsonl"
    assert main(["plan", str(file), "-o", str(plan)]) == 0
    assert main(["plan", str(file), "-o", str(plan), "--seed", "7"]) == 0
    assert read_plan_header(plan).seed == 7
    link = tmp_path / "link.jsonl"
    link.symlink_to(plan)
    (tmp_path / "empty").write_text("")
    for name in ("s.yaml", "link.jsonl", "empty", "."):
        capsys.readouterr()
        assert main(["plan", str(file), "-o", str(tmp_path / name)]) != 0
        assert "stays as it is" in capsys.readouterr().err
    assert link.is_symlink()
    assert "classes:" in file.read_text()


@pytest.mark.parametrize("name", ["plan.jsonl", "comparison.md", "junit.xml", "one.log", "one-1", "other-12"])
def test_a_comparison_into_a_directory_with_such_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    assert main(["compare", str(scenario(tmp_path)), "-o", str(out), "-q"]) != 0
    assert f"holds {name} already" in capsys.readouterr().err
    assert {p.name: p.read_text() for p in out.iterdir()} == {name: "mine"}


def test_comparison_files_beside_a_run(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text("of the run")
    with pytest.raises(RunError, match=r"holds junit\.xml already"):
        write_comparison(tmp_path, {})


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", ".", "..", ".git", "''", "x" * 101])
def test_names_that_are_no_directories(tmp_path: Path, name: str) -> None:
    for change in ({"name": name}, {"arm": name}):
        text = scenario(tmp_path, **change).read_text()  # type: ignore[arg-type]
        with pytest.raises(ScenarioError, match="results are kept under this name"):
            read_scenario(text, "s.yaml")
