"""The path of an arm in a hook: one word for the shell wherever it stands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from loadgen.compare.hooks import arms_of_files, with_arm
from loadgen.errors import ScenarioError

PATHS = [
    "/a b/c.yaml",
    "/a'b.yaml",
    '/a"b.yaml',
    "/a$(touch hit)`touch hit`.yaml",
    "/a;touch hit;.yaml",
    "/a\\b\\.yaml",
    "/a\n#b&|<>*?[x]~!{arm}.yaml",
    "/$HOME/${HOME}'\"\\$'x'.yaml",
]
HOOKS = {
    "printf %s {arm}": "{}",
    "printf %s '{arm}'": "{}",
    'printf %s "{arm}"': "{}",
    "printf %s --file={arm}": "--file={}",
    "printf %s --file='x{arm}'y": "--file=x{}y",
    'printf %s "$(printf %s {arm})"': "{}",
    'printf %s "$(printf %s "{arm}")"': "{}",
    "printf %s \"$( (true); printf %s '{arm}')\"": "{}",
    'printf %s "it\'s {arm}"': "it's {}",
    "printf %s '\\'{arm}": "\\{}",
    'printf %s \\"{arm}': '"{}',
    'printf %s "\\"{arm}"': '"{}',
    "(printf %s {arm})": "{}",
    'printf %s "$((1+1)){arm}"': "2{}",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_path_is_one_word_wherever_it_stands(tmp_path: Path, hook: str, path: str) -> None:
    command = with_arm(hook, Path(path), "--setup")
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == HOOKS[hook].format(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("echo `ls {arm}`", "a backtick"),
        ('echo "`ls {arm}`"', "a backtick"),
        ("cat <<E\n{arm}\nE", "a here-document"),
        ("echo $'{arm}'", r"\$'...'"),
        ('echo "${X:-{arm}}"', r"\${...}"),
        ("echo {arm} # it's", "a comment"),
        ("true;# it's\necho {arm}", "a comment"),
        ("case x in x) echo {arm};; esac", "a case"),
    ],
)
def test_what_is_not_read_is_refused_for_a_path_that_needs_quotes(hook: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=f"^command line: --setup: .*{words} where the path needs quotes"):
        with_arm(hook, Path("/a b"), "--setup")
    assert with_arm(hook, Path("/a-b"), "--setup") == hook.replace("{arm}", "/a-b")


def test_a_hook_without_an_arm_is_left_as_it_is() -> None:
    assert with_arm("echo `x` # {arms}", Path("/a b"), "--setup") == "echo `x` # {arms}"


def test_arms_of_files_with_spaces(tmp_path: Path) -> None:
    file = tmp_path / "my arm.yaml"
    file.write_text("a: 1\n")
    (arm,) = arms_of_files([file], None, "rm -f {arm}", None)
    fleet = '-f "$LOADGEN_FLEET"'
    assert arm.setup == f"simfleet up --detach --name loadgen-compare {fleet} --epp-config '{file}'"
    assert arm.teardown == f"rm -f '{file}'"
