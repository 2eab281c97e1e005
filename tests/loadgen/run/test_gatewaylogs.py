"""The logs of gateways and pickers, copied while a run lasts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loadgen.records.rundir import ACCESS, DECISIONS
from loadgen.run import gatewaylogs
from loadgen.run.fleetlist import Fleet
from loadgen.run.gatewaylogs import GatewayLogs

MINE = '{"client_id":"run/r-%d"}\n'


def add(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_only_lines_of_this_run_that_were_written_since(tmp_path: Path) -> None:
    log, into = tmp_path / "log", tmp_path / "into"
    log.write_text(MINE % 0)
    logs = GatewayLogs("run")
    logs.follow(str(log), into)
    assert into.read_text() == ""
    add(log, MINE % 1 + '{"client_id":"other/r-1"}\n' + (MINE % 2)[:5])
    logs.read()
    assert into.read_text() == MINE % 1
    add(log, (MINE % 2)[5:])
    logs.read()
    logs.close()
    assert into.read_text() == MINE % 1 + MINE % 2


def test_a_log_that_turns_over_is_followed(tmp_path: Path) -> None:
    log, into = tmp_path / "log", tmp_path / "into"
    log.write_text("")
    logs = GatewayLogs("run")
    logs.follow(str(log), into)
    add(log, MINE % 1)
    log.rename(tmp_path / "log.1")
    add(tmp_path / "log.1", MINE % 2)
    logs.read()
    add(log, MINE % 3)
    logs.read()
    logs.read()
    log.unlink()
    logs.read()
    logs.close()
    assert into.read_text() == "".join(MINE % i for i in (1, 2, 3))


def test_a_log_that_comes_later_is_read_whole_and_one_that_never_comes_leaves_nothing(tmp_path: Path) -> None:
    logs = GatewayLogs("run")
    logs.follow(str(tmp_path / "late"), tmp_path / "into")
    logs.follow(str(tmp_path / "never"), tmp_path / "nothing")
    logs.read()
    add(tmp_path / "late", MINE % 1)
    logs.read()
    logs.close()
    assert (tmp_path / "into").read_text() == MINE % 1
    assert not (tmp_path / "nothing").exists()


def test_a_copy_has_a_limit_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatewaylogs, "MOST_BYTES", 30)
    logs = GatewayLogs("run")
    (tmp_path / "log").touch()
    logs.follow(str(tmp_path / "log"), tmp_path / "into")
    for number in range(4):
        add(tmp_path / "log", MINE % number)
        logs.read()
    logs.close()
    assert (tmp_path / "into").read_text() == MINE % 0 + MINE % 1
    assert "the rest is left out" in logs.notes[0]


def test_what_a_fleet_writes_and_what_the_user_names_instead(tmp_path: Path) -> None:
    fleet = Fleet([], decision_logs=(str(tmp_path / "d"),), access_logs=(str(tmp_path / "a"),))
    for path in ("a", "d", "own"):
        (tmp_path / path).touch()
    run = tmp_path / "run"
    run.mkdir()
    logs = GatewayLogs("run")
    assert logs.find(fleet, None, run) == (str(tmp_path / "d"),)
    assert logs.find(None, None, run) == ()
    assert logs.find(fleet, str(tmp_path / "own"), run) == (str(tmp_path / "own"),)
    assert {path.name for path in run.iterdir()} == {ACCESS, DECISIONS}
    logs.close()


def test_a_log_is_never_copied_into_itself(tmp_path: Path) -> None:
    log = tmp_path / DECISIONS
    log.touch()
    logs = GatewayLogs("run")
    logs.follow(str(log), tmp_path / "x" / ".." / DECISIONS)
    add(log, MINE % 1)
    logs.read()
    logs.close()
    assert log.read_text() == MINE % 1


def test_the_last_lines_are_waited_for(tmp_path: Path) -> None:
    log, into = tmp_path / "log", tmp_path / "into"
    log.touch()
    logs = GatewayLogs("run")
    logs.follow(str(log), into)

    async def main() -> None:
        waiting = asyncio.create_task(logs.settled(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        add(log, MINE % 1)
        await waiting

    asyncio.run(main())
    logs.close()
    assert into.read_text() == MINE % 1
