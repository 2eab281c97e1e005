"""The shell commands of a scenario, told before anything runs: it is a program of whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kit.console import complain
from loadgen.scenario.scenario import Arm, Scenario, Scrape


def commands_of(scenario: Scenario, arms: Sequence[Arm] = ()) -> Iterator[tuple[str, str]]:
    """(where it stands, command) of everything that a shell will run, secrets hidden."""
    yield from _of_scrape("scrape.fleet", scenario.scrape)
    for event in scenario.timeline:
        if event.run:
            yield f"event {event.name}", event.run
    for arm in arms:
        for name, hook in (("setup", arm.setup), ("teardown", arm.teardown)):
            if hook:
                yield f"{name} of {arm.name}", hook
        yield from _of_scrape(f"scrape.fleet of {arm.name}", arm.scrape)


def tell_commands(scenario: Scenario, typed: Sequence[str], arms: Sequence[Arm] = ()) -> None:
    """Print each on standard error, but what the user has typed (`typed`: the words of the command line)."""
    for where, command in commands_of(scenario, arms):
        if command not in typed and not any(word.endswith(f"={command}") for word in typed):
            complain(f"loadgen: {where} runs: {scenario.secrets.hide(command)}")


def _of_scrape(where: str, scrape: Scrape | None) -> Iterator[tuple[str, str]]:
    if scrape is not None and scrape.fleet is not None and not Path(scrape.fleet).is_file():
        yield where, scrape.fleet
