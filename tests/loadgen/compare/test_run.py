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
from loadgen.compare import arms as arms_module
from loadgen.compare.arms import CompareOptions, order
from loadgen.compare.data import ArmRun, ArmsReport, faster, grouped, read_arm_run
from loadgen.compare.files import write_comparison
from loadgen.compare.hooks import arms_of_files, run_hook
from loadgen.compare.run import compare_arms, judged, run_arms
from loadgen.errors import RunError, ScenarioError
from loadgen.judge.looks import alpha_of
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
    run_arms(scenario_of(*arms), CompareOptions(repeats=2, quiet=True), tmp_path / "out", str)
    assert fake_runs == ["a1", "b1", "b2", "a2"]
    lines = note.read_text().split("\n")
    assert lines[:4] == ["up a 1 y", "down", "up b 1 y", "down"]
    assert (tmp_path / "out" / "a-2" / "report.html").is_file()
    first, second = ((tmp_path / "out" / f"plan-{n}.jsonl").read_text() for n in (1, 2))
    assert first.splitlines()[1:] != second.splitlines()[1:]  # each repeat has its own seed


@pytest.mark.usefixtures("fake_runs")
@pytest.mark.parametrize("same", [True, False])
def test_one_plan_for_all_repeats_is_said(
    tmp_path: Path, same: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    options = CompareOptions(out=tmp_path / "out", repeats=2, quiet=True, same_plan=same)
    compare_arms(scenario_of(Arm("a"), Arm("b")), options)
    assert ("holds for that plan alone" in capsys.readouterr().out) == same
    notes = json.loads((tmp_path / "out" / "comparison.json").read_text())["notes"]
    assert any("that plan alone" in note for note in notes) == same


def test_a_run_not_to_be_trusted_is_made_once_more(tmp_path: Path, fake_runs: list[str]) -> None:
    said: list[str] = []
    arms = (Arm("shaky"), Arm("firm"))
    runs = run_arms(scenario_of(*arms), CompareOptions(repeats=1), tmp_path / "out", said.append).runs
    assert fake_runs == ["shaky1", "shaky1", "firm1"]
    assert all(run.trusted for run in runs)
    assert said[0] == f"shaky against firm: 1 repeats, into {tmp_path / 'out'}"
    assert said[1].startswith("repeat 1 of 1, shaky: begins (2 runs, ")
    assert "once more" in said[2]
    assert (tmp_path / "out" / "shaky-1-untrusted").is_dir()


def test_what_the_command_line_says_over_the_file_holds_for_every_arm(
    tmp_path: Path, fake_runs: list[str]
) -> None:
    """The directory's scenario.yaml is the file as it was read."""
    scenario = replace(scenario_of(Arm("a"), Arm("b")), warmup=1.0)
    assert "warmup" not in scenario.text
    runs = run_arms(scenario, CompareOptions(repeats=1, quiet=True), tmp_path / "out", str).runs
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
        compare_arms(scenario_of(*arms), CompareOptions(repeats=1, quiet=True, out=tmp_path / "out"))
    assert gone.exists()


@pytest.fixture
def third_repeat_ends(
    monkeypatch: pytest.MonkeyPatch, fake_runs: list[str]
) -> dict[str, BaseException | str]:
    """What ends the load of arm b in repeat 3 (or `repeat`): an exception, or a status."""
    fate: dict[str, BaseException | str] = {}
    whole = runner.execute

    def execute(scenario: Scenario, options: runner.RunOptions) -> Path:
        path = whole(scenario, options)
        if (options.arm, options.repeat) == ("b", fate.get("repeat", 3)):
            if isinstance(fate["how"], BaseException):
                raise fate["how"]
            meta = read_meta(path)
            meta.status = "interrupted"  # as a run writes it that Ctrl-C ended
            write_meta(path, meta)
        return path

    monkeypatch.setattr(runner, "execute", execute)
    return fate


@pytest.mark.parametrize("how", ["status", KeyboardInterrupt()])
def test_ctrl_c_keeps_the_complete_repeats(
    tmp_path: Path, third_repeat_ends: dict[str, Any], how: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    third_repeat_ends["how"] = how
    down = tmp_path / "down"
    arms = (Arm("a", "true", f"echo a >> {down}"), Arm("b", "true", f"echo b >> {down}"))
    out = tmp_path / "out"
    assert compare_arms(scenario_of(*arms), CompareOptions(out=out, repeats=5, quiet=True)) == 130
    assert sorted(down.read_text().split()) in (["a", "a", "b", "b", "b"], ["a", "a", "a", "b", "b", "b"])
    data = json.loads((out / "comparison.json").read_text())
    assert (data["repeats"], data["exit_code"], len(data["runs"])) == (2, 130, 4)
    note = "interrupted in repeat 3 of 5: only complete repeats are judged"
    assert note in data["notes"]
    assert note in capsys.readouterr().out
    for form in ("comparison.md", "comparison.html", "junit.xml"):
        assert note in (out / form).read_text()
    assert (out / "b-3").is_dir()  # what was measured of the third is kept


def test_an_error_keeps_the_complete_repeats_and_is_raised(
    tmp_path: Path, third_repeat_ends: dict[str, Any]
) -> None:
    third_repeat_ends["how"] = RunError("the disk is full")
    options = CompareOptions(out=tmp_path / "out", repeats=5, quiet=True)
    with pytest.raises(RunError, match="disk is full"):
        compare_arms(scenario_of(Arm("a"), Arm("b")), options)
    notes = json.loads((tmp_path / "out" / "comparison.json").read_text())["notes"]
    assert notes[0] == "broken off in repeat 3 of 5: only complete repeats are judged"


def test_ctrl_c_before_any_repeat_is_complete(
    tmp_path: Path, third_repeat_ends: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    third_repeat_ends |= {"how": "status", "repeat": 1}
    with pytest.raises(KeyboardInterrupt):
        compare_arms(scenario_of(Arm("a"), Arm("b")), CompareOptions(out=tmp_path / "out", selftest=False))
    assert f"what was measured is in {tmp_path / 'out'}" in "".join(capsys.readouterr().out.split("\n"))
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_ctrl_c_in_a_teardown_tears_down_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[str] = []

    def hook(command: str | None, *_: Any) -> None:
        hooks.append(str(command))
        if hooks == ["up", "down"]:
            raise KeyboardInterrupt

    monkeypatch.setattr(arms_module, "run_hook", hook)
    monkeypatch.setattr(runner, "execute", lambda s, o: write_run(o.out, Fleet(requests=20)))
    with pytest.raises(KeyboardInterrupt):
        compare_arms(
            scenario_of(Arm("a", "up", "down"), Arm("b")), CompareOptions(out=tmp_path / "out", quiet=True)
        )
    assert hooks == ["up", "down", "down"]


# --- until they are told apart -------------------------------------------------------------------


@pytest.fixture
def policy_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that take no time under the policy that the arm is named by; `same-...` ones are alike."""

    def execute(scenario: Scenario, options: runner.RunOptions) -> Path:
        assert options.out is not None
        policy = str(options.arm).split(".")[0]
        noise = random.Random(f"{options.arm} {options.repeat}").uniform(0.02, 0.05)
        return write_run(options.out, Fleet(requests=300, policy=policy, noise=noise))

    monkeypatch.setattr(runner, "execute", execute)


@pytest.mark.usefixtures("policy_runs")
def test_until_told_apart_stops_early_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = CompareOptions(out=out, repeats=8, until="told-apart", selftest=False)
    assert compare_arms(scenario_of(Arm("prefix"), Arm("one")), options) == 0
    data = json.loads((out / "comparison.json").read_text())
    at = data["repeats"]
    assert 3 <= at < 8
    assert data["stopped"] == {
        "repeats": at, "most": 8, "alpha": pytest.approx(alpha_of(at, 8)), "why": "told apart",
    }  # fmt: skip
    assert data["verdicts"]["prefix"] in {"beats", "trades with"}
    words = f"stopped after {at} of at most 8 repeats: the arms are told apart"
    printed = capsys.readouterr().out
    assert words in printed
    assert f"look after {at} of at most 8 repeats: prefix " in printed
    assert "at most about" in printed
    for form in ("comparison.md", "comparison.html", "junit.xml"):
        assert words in (out / form).read_text()


@pytest.mark.usefixtures("policy_runs")
def test_until_told_apart_is_bounded(tmp_path: Path) -> None:
    options = CompareOptions(out=tmp_path / "out", repeats=4, until="told-apart", quiet=True)
    assert compare_arms(scenario_of(Arm("random.1"), Arm("random.2")), options) == 0
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert data["stopped"]["why"] == "no more repeats"
    assert "stopped after 4 of at most 4 repeats: not told apart by then" in data["notes"]
    assert data["stopped"]["alpha"] == pytest.approx(0.05 * (16 - 9) / 16)


def test_until_ends_where_nothing_can_be_judged(tmp_path: Path, fake_runs: list[str]) -> None:
    options = CompareOptions(out=tmp_path / "out", repeats=9, until="told-apart", quiet=True)
    compare_arms(scenario_of(Arm("a"), Arm("b")), options)  # runs of 120 requests
    assert len(fake_runs) == 6
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert data["stopped"]["why"] == "not judged"


# --- the baseline --------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_runs")
@pytest.mark.parametrize(("asked", "base", "noted"), [(None, "c", True), ("a", "a", False)])
def test_the_baseline_is_named_in_every_form(
    tmp_path: Path, asked: str | None, base: str, noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    options = CompareOptions(out=tmp_path / "out", repeats=1, baseline=asked, selftest=False)
    compare_arms(scenario_of(Arm("a"), Arm("b"), Arm("c")), options)
    forms = [(tmp_path / "out" / f"comparison.{kind}").read_text() for kind in ("json", "md", "html")]
    forms += [(tmp_path / "out" / "junit.xml").read_text(), capsys.readouterr().out]
    for text in forms:
        assert (f"the baseline is {base} (the last arm; --baseline ARM names another)" in text) == noted
    for text in forms[1:]:
        assert f"b against {base}" in text
    assert json.loads(forms[0])["baseline"] == base


def test_a_failing_teardown_does_not_hide_why_the_setup_failed(tmp_path: Path) -> None:
    arms = (Arm("a", "echo no such pool; exit 1", "echo nothing runs; exit 1"), Arm("b"))
    with pytest.raises(RunError, match="no such pool"):
        compare_arms(scenario_of(*arms), CompareOptions(repeats=1, quiet=True, out=tmp_path / "out"))


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
        (("a", "b"), CompareOptions(repeats=2, until="told-apart"), "from 3 repeats on"),
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
    assert "after is not judged against before, for a verdict needs 3 repeats, not 1: TTFT p90 -" in out
    assert "fewer than 3 repeats" in out
    assert (tmp_path / "diff" / "comparison.html").is_file()
    assert main(["diff", str(a), str(a)]) == 0
    assert "before (B) is not judged against before (A)" in capsys.readouterr().out
    other = write_run(tmp_path / "other", Fleet(requests=300, seed=9))
    main(["diff", str(a), str(other)])
    assert "different plans" in capsys.readouterr().out


def test_values_stay_finite_in_the_files(root: Path, data: ArmsReport) -> None:
    text = (root / "comparison.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert all(math.isfinite(d.effect) for d in data.differences["prefix-aware"])
