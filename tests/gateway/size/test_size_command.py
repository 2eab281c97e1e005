"""`simfleet size` as a whole, on traces small enough for seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gateway.size.command import run

H100 = "llama-3.1-8b/h100"


def trace(folder: Path, *, rows: int = 120, every: float = 0.02, prompt: int = 3000) -> Path:
    file = folder / "trace.jsonl"
    lines = [{"timestamp": i * every * 1000, "input_length": prompt, "output_length": 8} for i in range(rows)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_the_answer_holds_and_one_less_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("size.json", "size.html", "values.yaml")]
    code = run(
        [
            *(
                "--trace",
                str(trace(tmp_path)),
                "--profile",
                H100,
                "--slo",
                "ttft.p95=700ms",
                "--price",
                f"{H100}=2/h",
            ),
            *(
                "--max-replicas",
                "12",
                "--json",
                str(files[0]),
                "--html",
                str(files[1]),
                "--values",
                str(files[2]),
            ),
        ]
    )
    assert code == 0
    found = json.loads(files[0].read_text())
    answer = found["answers"][0]["replicas"]
    tried = {row["replicas"]: row["holds"] for row in found["tried"]}
    assert answer > 1
    assert tried[answer]
    assert not tried[answer - 1]
    assert yaml.safe_load(files[2].read_text())["simulator"]["replicaCount"] == answer
    assert "<svg" in files[1].read_text()
    assert f"{answer - 1} fails" in capsys.readouterr().out


def test_the_autoscaler_is_tried_against_the_fixed_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = trace(tmp_path, rows=200, every=0.4, prompt=500)
    flags = ("--slo", "ttft.p95=60s", "--autoscale", "1:4", "--pod-start", "5s", "--target-waiting", "1")
    assert run(["--trace", str(file), "--profile", H100, *flags, "--max-replicas", "4"]) == 0
    assert "autoscaled 1 to 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give one of --trace FILE and --scenario NAME"),
        (("--trace", "x"), "at least one --slo"),
        (("--trace", "/nowhere", "--profile", H100, "--slo", "ttft.p95=1s"), "cannot be read"),
    ],
)
def test_what_cannot_be_asked(
    flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(flags) == 2
    assert message in capsys.readouterr().err
