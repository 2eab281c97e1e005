"""The reader of scripts against bash: what it finds is what bash passes to a stand-in of the server."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.containers import servers
from gateway.containers.expand.values import Unknown
from gateway.containers.shell.run import Start, World
from gateway.containers.shell.search import Search
from gateway.errors import ScriptError
from tests.gateway.containers.bash import Bash, Started
from tests.gateway.containers.scripts import ENV, NAMES, Composer, Script

COUNT = 500
NEVER = ("no server command found", "division by zero", "is not arithmetic")  # reasons why bash starts none


def read(script: str, env: Mapping[str, str]) -> Start:
    search = Search(World(servers.is_server, hostname="pod-12"), lambda start: servers.server(start.words))
    start = search.take(["bash", "-c", script], env)
    servers.server(start.words)  # an error where an argument is not known
    return start


def difference(start: Start, real: Started) -> str:
    """What the reader says otherwise than bash; variables that it calls unknown say nothing."""
    words = (posixpath.basename(str(start.words[0])), *start.words[1:])
    if words != real.words:
        return f"{words} is read, bash passes {real.words}"
    mine = {n: start.env.get(n) for n in NAMES}
    theirs = {n: real.env.get(n) for n in NAMES}
    wrong = [n for n in NAMES if mine[n] != theirs[n] and not isinstance(mine[n], Unknown)]
    return "".join(f"{n} is {mine[n]!r}, in bash {theirs[n]!r}; " for n in wrong)


def verdict(script: Script, env: Mapping[str, str], real: Started | None, *, fails: bool) -> str:
    """What is wrong with the reading of one script; empty where nothing is."""
    try:
        start = read(script.text, env)
    except ScriptError as error:
        if real is None and any(words in str(error) for words in NEVER):
            return ""
        return "" if any(words in str(error) for words in script.unknown) else f"refused: {error}"
    if real is None:  # a program that failed kept bash from it
        return "" if fails else "a server is read where bash starts none"
    return difference(start, real)


@pytest.mark.parametrize("part", range(4))
def test_composed_scripts_are_read_as_bash_runs_them(tmp_path: Path, part: int) -> None:
    """Odd seeds with programs that fail, every fifth with parts that nobody can know."""
    bashes = []
    for status in (0, 1):
        (tmp_path / str(status)).mkdir()
        bashes.append(Bash(tmp_path / str(status), status))
    wrong = []
    for seed in range(part * COUNT // 4, (part + 1) * COUNT // 4):
        bash = bashes[seed % 2]
        script = Composer(seed, unknowns=seed % 5 == 0).script()
        env = {**ENV, "D": str(bash.files)}
        real = bash.run(["-c", script.text], ENV)
        if problem := verdict(script, env, real, fails=bool(seed % 2)):
            wrong.append(f"seed {seed}: {problem}\n{script.text}")
    assert not wrong, "\n\n".join(wrong[:5])


def test_a_wrong_reading_is_seen(tmp_path: Path) -> None:
    """The comparison itself: another argument and another variable are told apart."""
    bash = Bash(tmp_path)
    real = bash.run(["-c", "A=1 vllm serve x"], ENV)
    assert real is not None
    assert difference(read("A=1 vllm serve x", ENV), real) == ""
    assert "bash passes" in difference(read("A=1 vllm serve y", ENV), real)
    assert difference(read("A=2 vllm serve x", ENV), real) == "A is '2', in bash '1'; "
    assert bash.run(["-c", "echo vllm serve x"], ENV) is None
