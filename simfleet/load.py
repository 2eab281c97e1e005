"""Load and verdicts: `loadgen run` and `loadgen compare`, with what they found as objects."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from simfleet.errors import CommandError
from simfleet.process import LOADGEN, call, flags, last_words

if TYPE_CHECKING:
    from loadgen.judge.report import Report

# Exit codes of loadgen that leave a result: good, an expectation failed, not to be trusted.
_RESULTS = (0, 1, 2)
_FRAME = '<iframe srcdoc="{page}" style="width:100%;height:32em;border:0"></iframe>'
Scenario = str | Path | Mapping[str, Any] | None


@dataclass(frozen=True)
class Result:
    """One run. path: its directory; report: report.json as a type (times in seconds, shares 0 to 1)."""

    path: Path
    report: Report
    exit_code: int

    @property
    def ok(self) -> bool:
        """Every expectation held, and the run is to be trusted."""
        return self.exit_code == 0

    @property
    def failures(self) -> list[str]:
        """Expectations that failed, with what was seen instead."""
        return [f"{e.text}: {e.reason}" for e in self.report.expectations if e.status != "passed"]

    def figures(self) -> dict[str, float]:
        """All figures by the names of `--expect`: {"ttft.p99": 0.21, ...}; a row of a DataFrame."""
        found: dict[str, float] = {}
        flatten(msgspec.to_builtins(self.report.latency), "", found)
        for name in ("outcomes", "throughput", "goodput", "spread", "herding", "prefix"):
            card = getattr(self.report, name, None)
            if card is not None:
                flatten(msgspec.to_builtins(card), name, found)
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        """Every request as a dictionary: pandas.DataFrame(result.records())."""
        for file in sorted(self.path.glob("records*.jsonl")):
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    if "records" not in row:
                        yield row

    def _repr_html_(self) -> str:
        """The report, inside a notebook."""
        return framed(self.path / "report.html")


@dataclass(frozen=True)
class Comparison:
    """Several arms. data: comparison.json; sentences: each arm against the baseline."""

    path: Path
    data: dict[str, Any]
    exit_code: int
    sentences: tuple[str, ...] = field(default=())

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each arm and metric: pandas.DataFrame(comparison.rows())."""
        return [{"arm": arm, **row} for arm, rows in self.data["differences"].items() for row in rows]

    def _repr_html_(self) -> str:
        """The page of the comparison, inside a notebook."""
        return framed(self.path / "comparison.html")


def run(
    scenario: Scenario = None,
    *,
    target: str | None = None,
    out: str | Path | None = None,
    expect: Sequence[str] = (),
    timeout: float | None = None,
    **load: object,
) -> Result:
    """`loadgen run`. scenario: a packaged name, a file, or a mapping as its YAML; none where flags spell it.

    Keyword arguments are flags: `rate=20`, `duration="10s"`, `model="m"`, `name=stack.name`. Raises
    CommandError where the run could not be made, TimeoutError after `timeout` seconds.
    """
    path = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="simfleet-run-"))
    command = [
        "run",
        *written_scenario(scenario, path),
        "--quiet",
        "-o",
        str(path / "run" if out is None else path),
    ]
    if target is not None:
        command += ["--target", target]
    command += flags({"expect": list(expect), **load})
    code, place = _loadgen(command, path / "run" if out is None else path, "report.json", timeout)
    return read_result(place, code)


def read_result(place: Path, code: int) -> Result:
    """The run in a directory that has a report; `code` is that of the command which made it."""
    from loadgen.judge.report import read_report  # noqa: PLC0415  numpy, for those who send load

    return Result(place, read_report(place / "report.json"), code)


def compare(
    scenario: Scenario = None,
    *,
    out: str | Path | None = None,
    timeout: float | None = None,
    **how: object,
) -> Comparison:
    """`loadgen compare`: the same plans under several policies; keyword arguments are its flags.

    `arms=[...]` names files of pickers, `repeats=5`, `until="told-apart"`. Raises as `run` does.
    """
    path = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="simfleet-compare-"))
    place = path / "compare" if out is None else path
    command = ["compare", *written_scenario(scenario, path), "--quiet", "-o", str(place), *flags(how)]
    code, place = _loadgen(command, place, "comparison.json", timeout)
    data = json.loads((place / "comparison.json").read_text(encoding="utf-8"))
    return Comparison(place, data, code, tuple(data.get("sentences", ())))


def written_scenario(scenario: Scenario, path: Path) -> list[str]:
    """A scenario as a command takes it; a mapping is written below `path`."""
    if scenario is None:
        return []
    if isinstance(scenario, Mapping):
        path.mkdir(parents=True, exist_ok=True)
        file = path / "scenario-given.yaml"  # JSON is YAML
        file.write_text(json.dumps(scenario), encoding="utf-8")
        return [str(file)]
    return [str(scenario)]


def _loadgen(command: list[str], place: Path, result: str, timeout: float | None) -> tuple[int, Path]:
    """Exit code and directory; an exit code without a result is an error of the command."""
    ended = call(LOADGEN, "loadgen", command, good=_RESULTS, timeout=timeout)
    if not (place / result).is_file():
        raise CommandError(["loadgen", *command], ended.code, last_words(ended.err, ended.out))
    return ended.code, place


def flatten(value: Any, name: str, found: dict[str, float]) -> None:
    """Every number of nested mappings into `found`, named by its path with dots."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        found[name] = float(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            flatten(inner, f"{name}.{key}" if name else key, found)


def framed(page: Path) -> str:
    """A page for a notebook."""
    if not page.is_file():
        return f"<p>{escape(str(page))} is not there</p>"
    return _FRAME.format(page=escape(page.read_text(encoding="utf-8")))
