"""In virtual time: `simfleet simulate` and `simfleet size`, with what they found as objects."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from simfleet.errors import CommandError
from simfleet.load import Result, Scenario, flatten, framed, read_result, written_scenario
from simfleet.process import LOADGEN, SIMFLEET, call, flags, last_words

# Exit codes that leave an answer: found; nothing that was tried keeps the limits.
_ANSWERS = (0, 1)


@dataclass(frozen=True)
class Simulation:
    """One or several runs. path: where they are kept; data: what `--json` gives, one a run."""

    path: Path
    data: list[dict[str, Any]]

    def rows(self) -> list[dict[str, Any]]:
        """A flat dictionary for each run: pandas.DataFrame(simulation.rows())."""
        return [_row(run) for run in self.data]

    @cached_property
    def results(self) -> list[Result]:
        """The runs as `run` gives them, report and records; CommandError where one cannot be reported."""
        found = []
        for one in self.data:
            place = Path(one["directory"])
            ended = call(LOADGEN, "loadgen", ["report", str(place)], good=(0, 1, 2))
            found.append(read_result(place, ended.code))
        return found

    def _repr_html_(self) -> str:
        return "".join(result._repr_html_() for result in self.results)


@dataclass(frozen=True)
class Sizing:
    """What a load needs. data: what `--json` gives."""

    path: Path
    data: dict[str, Any]

    @property
    def answers(self) -> list[dict[str, Any]]:
        """For each profile and picker the least `replicas` that keep the limits, None where none did."""
        answers: list[dict[str, Any]] = self.data["answers"]
        return answers

    def rows(self) -> list[dict[str, Any]]:
        """A flat dictionary for everything that was tried: pandas.DataFrame(sizing.rows())."""
        return [_row(tried) for tried in self.data["tried"]]

    def _repr_html_(self) -> str:
        """The knee as a picture, inside a notebook."""
        return framed(self.path / "size.html")


def simulate(
    scenario: Scenario = None,
    *,
    manifests: str | Path | None = None,
    out: str | Path | None = None,
    timeout: float | None = None,
    **how: object,
) -> Simulation:
    """`simfleet simulate`. scenario: a packaged name, a file, or a mapping; none with `trace=` or `plan=`.

    Keyword arguments are flags: `replicas=4`, `seeds=3`, `epp_config=["a.yaml", "b.yaml"]`. Raises
    CommandError where it could not be made, TimeoutError after `timeout` seconds.
    """
    path = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="simfleet-simulate-"))
    command = ["simulate", *_asked(scenario, manifests, path), *flags(how), "--quiet"]
    data = _json([*command, "-o", str(path / "run")], path / "simulate.json", (0,), timeout)
    return Simulation(path, data if isinstance(data, list) else [data])


def size(
    scenario: Scenario = None,
    *,
    slo: Iterable[str],
    manifests: str | Path | None = None,
    out: str | Path | None = None,
    timeout: float | None = None,
    **how: object,
) -> Sizing:
    """`simfleet size`: the least replicas that keep `slo`, such as ["ttft.p95=500ms"]. Else as `simulate`."""
    path = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="simfleet-size-"))
    command = ["size", *_asked(scenario, manifests, path), *flags({"slo": list(slo), **how})]
    command += ["--html", str(path / "size.html")]
    return Sizing(path, _json(command, path / "size.json", _ANSWERS, timeout))


def _asked(scenario: Scenario, manifests: str | Path | None, path: Path) -> list[str]:
    given = written_scenario(scenario, path)
    words = ["--scenario", *given] if given else []
    return words + (["-f", str(manifests)] if manifests is not None else [])


def _json(command: list[str], file: Path, good: tuple[int, ...], timeout: float | None) -> Any:
    """What the command wrote to `file`; an exit code without it is an error of the command."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ended = call(SIMFLEET, "simfleet", [*command, "--json", str(file)], good=good, timeout=timeout)
    if not file.is_file():
        raise CommandError(["simfleet", *command], ended.code, last_words(ended.err, ended.out))
    return json.loads(file.read_text(encoding="utf-8"))


def _row(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, float] = {}
    flatten({key: value for key, value in data.items() if isinstance(value, dict)}, "", found)
    return {key: value for key, value in data.items() if not isinstance(value, dict | list)} | found
