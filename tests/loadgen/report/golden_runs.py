"""Runs kept with what was reported of them: figures and forms must stay what they were.

golden/NAME.tar.gz holds the files of a real run of `loadgen run` (records, plan, scrapes, events, meta,
decisions of the picker) and, under expected/, its report in every form. The run of `synthetic` is made
anew from its seed; only its report is kept.

everything  three pods behind gateway and picker: prefixes, adapters, sessions, stages, a killed pod
plain       one server that names no pod, streamed and whole answers
failed      a server that refuses, sheds and hangs up; nothing is ok
synthetic   sheds, connection errors, a kill, expectations that hold
comparison  two policies of synthetic runs, two repeats each

`python -m tests.loadgen.report.golden_runs` writes the expected files anew, where a figure is meant to
change; the difference belongs into the commit's message.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from loadgen.compare.data import ArmRun, read_arm_run
from loadgen.compare.files import write_comparison
from loadgen.compare.run import judged
from loadgen.report.files import FORMS, write_all
from loadgen.report.verdict import judged_report
from tests.loadgen.synthetic import Fleet, write_run

FOLDER = Path(__file__).parent / "golden"
REAL = ("everything", "plain", "failed")
SYNTHETIC = Fleet(
    adapters=("sql", "legal"),
    classes=("chat", "code"),
    kill=(2, 2.0),
    requests=240,
    shed_above=6,
    expect=["outcomes.ok > 50%", "prefix.reached > 80%", "recovery.seconds < 10s", "lora.reached < 1%"],
)
COMPARISON = ("comparison.json", "comparison.md", "comparison.html", "junit.xml")


def unpacked(name: str, folder: Path) -> Path:
    """The run `name` in a directory of its own name under `folder`, with expected/ in it."""
    with tarfile.open(FOLDER / f"{name}.tar.gz") as archive:
        archive.extractall(folder / name, filter="data")
    if name == "synthetic":
        write_run(folder / name, SYNTHETIC)
    return folder / name


def reported(run: Path) -> Path:
    """Write every form of a run's report, with a fixed place and version in it; gives their directory."""
    out = run / "made"
    out.mkdir()
    report = judged_report(run)
    report.run.dir, report.run.version = f"runs/{run.name}", "0"
    for expectation in report.expectations:
        expectation.where = expectation.where and Path(expectation.where).name
    write_all(out, report, FORMS)
    return out


def compared(folder: Path) -> Path:
    """Write every form of a comparison of two policies; gives their directory."""
    arms: dict[str, list[ArmRun]] = {"prefix-aware": [], "round-robin": []}
    for repeat in (1, 2):
        for arm, policy in zip(arms, ("prefix", "round-robin"), strict=True):
            fleet = Fleet(requests=120, policy=policy, noise=0.05 * repeat, adapters=("sql", "legal"))
            arms[arm].append(read_arm_run(arm, repeat, write_run(folder / f"{arm}-{repeat}", fleet)))
    write_comparison(folder / "made", judged(None, arms, "round-robin"))
    return folder / "made"


def read(path: Path) -> Any:
    """A form's content: values of JSON and YAML, text of the rest."""
    text = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".json":
            return json.loads(text)
        case ".yaml":
            return yaml.safe_load(text)
    return text.splitlines()


def differences(made: Any, kept: Any, where: str = "") -> Iterator[str]:
    """Where two contents differ, key by key; floats may differ in the last digits."""
    if isinstance(made, dict) and isinstance(kept, dict):
        for key in made.keys() ^ kept.keys():
            yield f"{where}.{key} is only in what {'is made' if key in made else 'was kept'}"
        for key in made.keys() & kept.keys():
            yield from differences(made[key], kept[key], f"{where}.{key}")
    elif isinstance(made, list) and isinstance(kept, list) and len(made) == len(kept):
        for index, (a, b) in enumerate(zip(made, kept, strict=True)):
            yield from differences(a, b, f"{where}[{index}]")
    elif isinstance(made, float) and isinstance(kept, float):
        if not math.isclose(made, kept, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{where}: {made} was {kept}"
    elif type(made) is not type(kept) or made != kept:
        yield f"{where}: {made!r} was {kept!r}"


def _pack(name: str, folder: Path) -> None:
    """The same files give the same bytes: no times, no owners."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                item = tarfile.TarInfo(str(path.relative_to(folder)))
                item.size = path.stat().st_size
                archive.addfile(item, io.BytesIO(path.read_bytes()))
    (FOLDER / f"{name}.tar.gz").write_bytes(gzip.compress(raw.getvalue(), 9, mtime=0))


def remake(sources: dict[str, Path]) -> None:
    """Write the archives: runs from `sources` where given, else as they are kept; reports from the code."""
    for name in (*REAL, "synthetic", "comparison"):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / name
            if name in sources:
                run.mkdir()
                for path in sources[name].iterdir():
                    if not path.name.startswith(("report.", "junit")):
                        (run / path.name).write_bytes(path.read_bytes())
            elif name in REAL:
                unpacked(name, Path(folder))
            elif name == "synthetic":
                write_run(run, SYNTHETIC)
            if name == "comparison":
                run.mkdir()
                made = compared(run)
            else:
                made = reported(run)
            kept = Path(folder) / "kept"
            kept.mkdir()
            if name in REAL:
                for path in run.iterdir():
                    if path.is_file():
                        (kept / path.name).write_bytes(path.read_bytes())
            (kept / "expected").mkdir()
            for path in made.iterdir():
                (kept / "expected" / path.name).write_bytes(path.read_bytes())
            _pack(name, kept)


if __name__ == "__main__":
    remake({})
