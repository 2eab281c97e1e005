"""Comparing arms: order, hooks, second chances, false alarms, and two real servers told apart."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadgen.cli import main
from loadgen.compare.data import ArmRun, ArmsReport, faster, grouped, read_arm_run
from loadgen.compare.files import write_comparison
from loadgen.compare.hooks import arms_of_files, run_hook
from loadgen.compare.run import CompareOptions, compare_arms, judged, order, run_arms
from loadgen.errors import RunError, ScenarioError
from loadgen.records.rundir import Ceiling, read_meta, write_meta
from loadgen.run import runner
from loadgen.scenario.read import read_scenario
from loadgen.scenario.scenario import Arm, Expectation, Scenario
from tests.loadgen.synthetic import Fleet, write_run
from tests.ports import free_port

HERE = Path(__file__).parents[1]


def runs_of(root: Path, arms: dict[str, str], repeats: int = 5, **more: Any) -> list[ArmRun]:
    """Synthetic runs of policies by arm; noise differs from run to run as on a real machine."""
    out = []
    for repeat in range(1, repeats + 1):
        for number, (arm, policy) in enumerate(arms.items()):
            noise = random.Random(f"{repeat} {number} {more.get('seed', 1)}").uniform(0.02, 0.12)
            fleet = Fleet(**{"requests": 300, "policy": policy, "noise": noise, **more})
            out.append(read_arm_run(arm, repeat, write_run(root / f"{arm}-{repeat}", fleet)))
    return out


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def data(root: Path) -> ArmsReport:
    arms = {"prefix-aware": "prefix", "all-to-one": "one", "round-robin": "round-robin"}
    found = judged(None, grouped(runs_of(root, arms, 3, requests=500, groups=25)), "round-robin")
    write_comparison(root, found)
    return found


# --- what is said --------------------------------------------------------------------------------


def test_the_better_policy_beats_and_the_bad_one_loses(data: ArmsReport) -> None:
    assert data.verdicts == {"prefix-aware": "beats", "all-to-one": "loses to"}
    good, bad = data.sentences
    assert good.startswith("prefix-aware beats round-robin: TTFT p90 -")
    assert bad.startswith("all-to-one loses to round-robin: TTFT p90 ")
    assert data.trusted
    assert data.exit_code == 0


def test_requests_are_paired_by_id(data: ArmsReport) -> None:
    share = data.paired["all-to-one"]
    assert share.share < 0.1
    assert share.low <= share.share <= share.high
    assert faster([], []) is None


def test_all_files_of_a_comparison(root: Path, data: ArmsReport) -> None:
    page = (root / "comparison.html").read_text()
    for words in ("prefix-aware beats round-robin", "Arms side by side", "Differences", "How they routed"):
        assert words in page
    assert page.count("<svg") >= 10
    assert len(page) < 2_000_000
    assert json.loads((root / "comparison.json").read_text())["baseline"] == "round-robin"
    assert (root / "comparison.md").read_text().startswith("# ")
    assert "testsuite" in (root / "junit.xml").read_text()


def test_expectations_about_arms(tmp_path: Path) -> None:
    scenario = read_scenario(
        "model: m\nduration: 1s\nclasses: {c: {arrival: {process: poisson, rate: 5}}}\n"
        "expect: ['arm[a].ttft.p90 < 0.9 * arm[b].ttft.p90', 'delta[a].ttft.p90 < -99.9%', 'ttft.p9 < 1s']\n",
        "inline",
    )
    runs = runs_of(tmp_path, {"a": "prefix", "b": "one"}, 3)
    found = judged(scenario, grouped(runs), "b")
    assert [e.status for e in found.expectations] == ["passed", "failed"]
    assert found.exit_code == 1
    assert found.notes == ["1 expectations about single runs were not judged"]
    unknown = replace(scenario, expect=(Expectation("arm[c].ttft.p90 < 1s"),))
    assert judged(unknown, grouped(runs), "b").exit_code == 2


@pytest.mark.slow
def test_identical_arms_are_not_found_different_in_20_trials(tmp_path: Path) -> None:
    """At 95 % one false alarm in twenty is to be expected; three or more would be rarer than 8 %."""
    wrong = 0
    for trial in range(20):
        runs = runs_of(tmp_path / str(trial), {"a": "random", "b": "random"}, 5, seed=100 + trial, rate=90)
        wrong += judged(None, grouped(runs), "b").verdicts["a"] != "is not told apart from"
        shutil.rmtree(tmp_path / str(trial))
    assert wrong <= 2


def test_identical_arms_once(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {"a": "random", "b": "random"}, 3, seed=7, requests=150)
    assert judged(None, grouped(runs), "b").verdicts == {"a": "is not told apart from"}


# --- how arms are run ----------------------------------------------------------------------------


def test_no_arm_always_runs_first() -> None:
    arms = [Arm(name) for name in "abc"]
    orders = ["".join(arm.name for arm in order(arms, repeat)) for repeat in range(6)]
    assert orders == ["abc", "bca", "cab", "cba", "acb", "bac"]
    assert ["".join(a.name for a in order(arms[:2], r)) for r in range(4)] == ["ab", "ba", "ba", "ab"]


def scenario_of(*arms: Arm, target: str = "http://127.0.0.1:9") -> Scenario:
    text = (
        "model: m\nduration: 1s\nclasses: {c: {arrival: {process: constant, rate: 60}, output_tokens: 4}}\n"
    )
    return replace(read_scenario(text, "inline"), arms=arms, target=target)


@pytest.fixture
def fake_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs that take no time; the arm's name is its policy, `shaky` is not to be trusted the first time."""
    done: list[str] = []

    def execute(scenario: Scenario, options: runner.RunOptions) -> Path:
        assert options.out is not None
        assert options.plan is not None
        assert scenario.arms == ()
        done.append(f"{options.arm}{options.repeat}")
        path = write_run(options.out, Fleet(requests=120, policy="random", noise=0.01 * len(done)))
        if options.arm == "shaky" and done.count(f"shaky{options.repeat}") == 1:
            meta = read_meta(path)
            meta.ceiling = Ceiling(rate=10, cpu=0.1, total=10, asked=60, share=6)
            write_meta(path, meta)
        return path

    monkeypatch.setattr(runner, "execute", execute)
    return done


def test_arms_are_interleaved_each_with_its_hooks(tmp_path: Path, fake_runs: list[str]) -> None:
    note = tmp_path / "hooks"
    arms = [
        Arm(n, f"echo up $LOADGEN_ARM $LOADGEN_REPEAT $X >> {note}", f"echo down >> {note}", env={"X": "y"})
        for n in "ab"
    ]
    run_arms(scenario_of(*arms), CompareOptions(repeats=2, quiet=True), tmp_path / "out")
    assert fake_runs == ["a1", "b1", "b2", "a2"]
    lines = note.read_text().split("\n")
    assert lines[:4] == ["up a 1 y", "down", "up b 1 y", "down"]
    assert (tmp_path / "out" / "a-2" / "report.html").is_file()
    assert (tmp_path / "out" / "plan.jsonl").is_file()


def test_a_run_not_to_be_trusted_is_made_once_more(tmp_path: Path, fake_runs: list[str]) -> None:
    said: list[str] = []
    arms = (Arm("shaky"), Arm("firm"))
    runs = run_arms(scenario_of(*arms), CompareOptions(repeats=1), tmp_path / "out", said.append)
    assert fake_runs == ["shaky1", "shaky1", "firm1"]
    assert all(run.trusted for run in runs)
    assert "once more" in said[0]
    assert (tmp_path / "out" / "shaky-1-untrusted").is_dir()


def test_what_the_command_line_says_over_the_file_holds_for_every_arm(
    tmp_path: Path, fake_runs: list[str]
) -> None:
    """The directory's scenario.yaml is the file as it was read."""
    scenario = replace(scenario_of(Arm("a"), Arm("b")), warmup=1.0)
    assert "warmup" not in scenario.text
    runs = run_arms(scenario, CompareOptions(repeats=1, quiet=True), tmp_path / "out")
    for run in runs:
        assert run.report.run.warmup == 1.0
        assert 0 < run.report.run.requests < run.report.run.requests + run.report.run.warmup_requests
        assert min(record.intended for record in run.frame.records) >= 1.0


def test_the_fleet_goes_down_when_the_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(scenario: Scenario, options: runner.RunOptions) -> Path:
        raise RunError("the disk is full")

    monkeypatch.setattr(runner, "execute", execute)
    gone = tmp_path / "gone"
    arms = (Arm("a", "true", f"touch {gone}"), Arm("b"))
    with pytest.raises(RunError, match="disk is full"):
        run_arms(scenario_of(*arms), CompareOptions(repeats=1, quiet=True), tmp_path / "out")
    assert gone.exists()


def test_ctrl_c_ends_the_comparison_and_the_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(scenario: Scenario, options: runner.RunOptions) -> Path:
        assert options.out is not None
        path = write_run(options.out, Fleet(requests=20))
        meta = read_meta(path)
        meta.status = "interrupted"  # as a run writes it that Ctrl-C ended
        write_meta(path, meta)
        return path

    monkeypatch.setattr(runner, "execute", execute)
    gone = tmp_path / "gone"
    arms = (Arm("a", "true", f"touch {gone}"), Arm("b"))
    with pytest.raises(KeyboardInterrupt):
        run_arms(scenario_of(*arms), CompareOptions(repeats=1, quiet=True), tmp_path / "out")
    assert gone.exists()


def test_a_failing_teardown_does_not_hide_why_the_setup_failed(tmp_path: Path) -> None:
    arms = (Arm("a", "echo no such pool; exit 1", "echo nothing runs; exit 1"), Arm("b"))
    with pytest.raises(RunError, match="no such pool"):
        run_arms(scenario_of(*arms), CompareOptions(repeats=1, quiet=True), tmp_path / "out")


def test_a_hook_that_fails_says_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"(?s)arm a: `echo no such fleet; exit 3` ended with 3:.*no such fleet"
    ):
        run_hook("echo no such fleet; exit 3", Arm("a"), 1, tmp_path / "log")
    run_hook(None, Arm("a"), 1, tmp_path / "log")


def test_hooks_find_the_simfleet_beside_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    run_hook("command -v python", Arm("a"), 1, tmp_path / "log")
    assert str(Path(sys.executable).parent) in (tmp_path / "log").read_text()


def test_arms_from_picker_configurations(tmp_path: Path) -> None:
    files = [tmp_path / "page.yaml", tmp_path / "rr.yaml"]
    for file in files:
        file.write_text("kind: EndpointPickerConfig\n")
    page, _ = arms_of_files(files, None, None, None)
    assert page.name == "page"
    up = 'simfleet up --detach --name loadgen-compare -f "$LOADGEN_FLEET" --epp-config'
    assert page.setup == f"{up} {files[0]}"
    scorer = tmp_path / "my scorer.py"
    (with_plugin, _) = arms_of_files(files, None, None, None, [scorer])
    assert with_plugin.setup == f"{up} {files[0]} --plugin '{scorer}' --epp reference"
    with pytest.raises(ScenarioError, match="--plugin is for the setup of"):
        arms_of_files(files, "mine", None, None, [scorer])
    assert page.teardown == "simfleet down --name loadgen-compare"
    assert page.scrape is not None
    own, _ = arms_of_files(files, "bring up {arm}", "bring down", None)
    assert (own.setup, own.teardown, own.scrape) == (f"bring up {files[0]}", "bring down", None)
    with pytest.raises(ScenarioError, match="same file name"):
        arms_of_files([files[0], files[0]], None, None, None)
    with pytest.raises(ScenarioError, match=r"none\.yaml"):
        arms_of_files([tmp_path / "none.yaml"], None, None, None)
    files[0].write_text("- a list\n")
    with pytest.raises(ScenarioError, match="picker configuration"):
        arms_of_files(files, None, None, None)


@pytest.mark.parametrize(
    ("arms", "options", "message"),
    [
        (("a",), CompareOptions(), "at least two arms"),
        (("a", "b"), CompareOptions(baseline="c"), "no arm 'c'"),
        (("a", "b"), CompareOptions(repeats=0), "at least 1"),
    ],
)
def test_bad_comparisons(arms: tuple[str, ...], options: CompareOptions, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        compare_arms(scenario_of(*map(Arm, arms)), options)


# --- by the command line -------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
def test_two_servers_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port, pid = free_port(), tmp_path / "pid"
    scenario = tmp_path / "ab.yaml"
    arms = "".join(
        f"""
  {name}:
    setup: "{sys.executable} {HERE / "arm_server.py"} {port} {delay} & echo $! > {pid}"
    teardown: "kill $(cat {pid}); while grep -qs arm_server /proc/$(cat {pid})/cmdline; do sleep 0.02; done"
"""
        for name, delay in (("quick", 0.005), ("slow", 0.03))
    )
    scenario.write_text(
        f"name: two servers\ntarget: http://127.0.0.1:{port}\nmodel: m\nduration: 1s\nrepeats: 3\n"
        "classes: {c: {arrival: {process: constant, rate: 60}, input_tokens: 16, output_tokens: 4}}\n"
        f"arms:{arms}\nexpect: ['delta[quick].ttft.p50 < -50%']\n"
    )
    assert main(["compare", str(scenario), "--no-selftest", "-q", "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    # What a busy machine does to the tails of three short repeats can blur the sentence, never turn it round.
    assert "quick loses to slow" not in out
    assert "delta[quick].ttft.p50 < -50%" in out


def test_diff_of_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_run(tmp_path / "before", Fleet(requests=600, policy="one", rate=40))
    b = write_run(tmp_path / "after", Fleet(requests=600, policy="prefix", rate=40))
    assert main(["diff", str(a), str(b), "--out", str(tmp_path / "diff")]) == 0
    out = capsys.readouterr().out
    assert "after beats before: " in out
    assert "fewer than 3 repeats" in out
    assert (tmp_path / "diff" / "comparison.html").is_file()
    assert main(["diff", str(a), str(a)]) == 0
    assert "no difference found between before (B) and before (A)" in capsys.readouterr().out
    other = write_run(tmp_path / "other", Fleet(requests=300, seed=9))
    main(["diff", str(a), str(other)])
    assert "different plans" in capsys.readouterr().out


def test_values_stay_finite_in_the_files(root: Path, data: ArmsReport) -> None:
    text = (root / "comparison.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert all(math.isfinite(d.effect) for d in data.differences["prefix-aware"])
