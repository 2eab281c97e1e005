"""Scales, axes and every kind of picture on ordinary and awkward data: well-formed, inside its box, small."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from loadgen.compare import arm_plots
from loadgen.compare.arm_plots import Effect
from loadgen.judge.paired import METRICS
from loadgen.records.records import Record, RecordsHeader, write_records
from loadgen.report import pictures, plots
from loadgen.report.html import html
from loadgen.report.plots import Line
from loadgen.report.svg import Canvas, Scale, linear_ticks, log_ticks, number, seconds
from loadgen.report.verdict import finish, judged_report
from tests.loadgen.synthetic import Fleet, write_run

EDGES = [0.0, 1.0, 2.0, 3.0]
NAN = math.nan


def quantiles(*values: float) -> dict[str, list[float]]:
    return {name: list(values) for name in ("p50", "p90", "p99")}


PICTURES: dict[str, Callable[[int], str]] = {
    "cdf": lambda w: plots.cdf(w, "t", [("a", [0.01, 0.02, 0.5], "s0"), ("one", [0.1], "s1")]),
    "cdf of equals": lambda w: plots.cdf(w, "t", [("a", [0.0, 0.0, 0.0], "s0")]),
    "lines": lambda w: plots.lines(
        w, "t", [Line("a", [0, 1, 2], [1, NAN, 3], "s0")], events=[(1, "x & y"), (9, "z")]
    ),
    "flat lines": lambda w: plots.lines(w, "t", [Line("a", [0.0], [0.0], "s0")]),
    "log lines": lambda w: plots.lines(w, "t", [Line("a", [0, 1], [0.001, 10], "s0")], log=True),
    "bands": lambda w: plots.bands(w, "t", [0.5, 1.5, 2.5], quantiles(0.1, NAN, 0.3), events=[], cls="s0"),
    "no bands": lambda w: plots.bands(w, "t", [0.5], quantiles(NAN), events=[], cls="s0"),
    "stack": lambda w: plots.stack(
        w, "t", EDGES, [Line("ok", [], [1, 0, 2], "s0"), Line("bad", [], [0, 0, 1], "bad")]
    ),
    "empty stack": lambda w: plots.stack(w, "t", EDGES, []),
    "heat": lambda w: plots.heat(
        w, "t", ["pod-1", "a-very-long-pod-name-with-a-hash-5qh56"], EDGES, [[0, 1, NAN], [2, 2, 2]]
    ),
    "large heat": lambda w: plots.heat(
        w, "t", [f"p{i}" for i in range(600)], EDGES, [[0, 1, NAN]] * 600, top=1.0
    ),
    "matrix": lambda w: plots.matrix(w, "t", ["a<b", "b"], ["p1", "p2"], [[1, 9], [0, 0]]),
    "large matrix": lambda w: plots.matrix(
        w, "t", [f"a{i}" for i in range(40)], [f"pod-{i}" for i in range(40)], [[1] * 40] * 40
    ),
    "bars": lambda w: plots.bars(w, "t", [("a", 0.4, "s0"), ("b", 0.0, "s0")], mark=0.5),
    "no bars": lambda w: plots.bars(w, "t", []),
    "columns": lambda w: plots.columns(w, "t", [0.1, 0.5, 0.2], number, mark=0.3, cls="s0"),
    "forest": lambda w: arm_plots.forest(
        w,
        "t",
        [Effect("TTFT p90", -0.4, -0.5, -0.3, "good", "-40 %"), Effect("E2E", 17, 16, 18, "bad", "x 18")],
    ),
    "strips": lambda w: arm_plots.strips(
        w, "t", [("a", [0.1, 0.2], "s0"), ("b", [0.1], "s1"), ("c", [], "s2")]
    ),
}


@pytest.mark.parametrize("width", [346, 520, 1080])
@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_well_formed_and_inside_its_box(name: str, width: int) -> None:
    root = ET.fromstring(PICTURES[name](width))
    _, _, box_width, box_height = map(float, root.attrib["viewBox"].split())
    assert box_width == width
    assert "nan" not in ET.tostring(root, encoding="unicode").lower().replace("nanmean", "")
    for element in root.iter():
        for attribute in ("x", "x1", "x2", "cx"):
            if attribute in element.attrib:
                assert -1 <= float(element.attrib[attribute]) <= box_width + 1, ET.tostring(element)
        for attribute in ("y", "y1", "y2", "cy"):
            if attribute in element.attrib:
                assert -1 <= float(element.attrib[attribute]) <= box_height + 1, ET.tostring(element)


@pytest.mark.parametrize("width", [346, 1080])
def test_no_label_of_a_forest_is_clipped(width: int) -> None:
    """Every label of every metric that a comparison knows, with the longest words an effect has."""
    effects = [Effect(m.label, -0.1, -0.2, 0.1, "none", "-12.3 points [-14.5, -10.1]") for m in METRICS]
    for element in ET.fromstring(arm_plots.forest(width, "t", effects)).iter():
        if "text-anchor" in element.attrib and element.text:
            x, room = float(element.attrib["x"]), 6.7 * len(element.text)
            start = {"end": x - room, "middle": x - room / 2, "start": x}[element.attrib["text-anchor"]]
            assert start >= 0, element.text
            assert start + room <= width, element.text


def test_a_thousand_pods_make_a_small_picture() -> None:
    values = [[float((r * i) % 7) for i in range(60)] for r in range(1000)]
    text = plots.heat(1080, "t", [f"pod-{i}" for i in range(1000)], [float(i) for i in range(61)], values)
    assert len(text) < 2_200_000
    assert text.count("<path") <= plots.SHADES + 1


def test_scales_clip_and_reverse() -> None:
    assert Scale(0, 10, 100, 200)(5) == 150
    assert Scale(0, 10, 200, 100)(2) == 180
    assert Scale(0, 10, 0, 1)(99) == 1
    assert Scale(1, 100, 0, 2, log=True)(10) == pytest.approx(1)
    assert Scale(3, 3, 0, 2)(3) == 1


def test_ticks_are_round_and_few() -> None:
    assert linear_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert linear_ticks(2, 2, 5) == [2]
    assert log_ticks(0.001, 1, 9) == pytest.approx([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1])
    assert log_ticks(0.02, 0.1, 5) == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert len(log_ticks(1e-6, 1e6, 5)) <= 6


def test_labels_of_an_axis_do_not_touch() -> None:
    canvas = Canvas(346, 100, "t")
    canvas.x_axis(canvas.x_scale(0.02, 0.2, log=True), seconds)
    labels = re.findall(r'<text x="([0-9.]+)"[^>]*>([^<]+)<', canvas.svg())
    spans = [(float(x) - 3.6 * len(text), float(x) + 3.6 * len(text)) for x, text in labels]
    assert len(spans) >= 2
    assert all(a[1] < b[0] for a, b in pairwise(spans))


def test_tick_words() -> None:
    assert [number(v) for v in (0, 0.25, 9_999, 12_000, 3e6, 2e9)] == ["0", "0.25", "9999", "12k", "3M", "2G"]
    assert [seconds(v) for v in (0, 0.02, 1.5)] == ["0", "20 ms", "1.5 s"]


# --- pages of awkward runs -----------------------------------------------------------------------


def page_of(path: Path, records: list[Record]) -> str:
    path.mkdir()
    write_records(path / "records.jsonl", RecordsHeader(t0=1.8e9), records)
    return html(judged_report(path))


def test_pages_of_hardly_anything(tmp_path: Path) -> None:
    one = Record(id="a", cls="c", intended=0.0, start=0.0, end=0.5, outcome="ok", status=200)
    assert "E2E" in page_of(tmp_path / "one whole answer", [one])
    lost = Record(id="a", cls="c", intended=0.0, outcome="missed")
    assert "not to be trusted" in page_of(tmp_path / "one missed", [lost])
    refused = Record(
        id="a", cls="c", intended=0.0, start=0.0, end=0.1, outcome="connect_error", error="refused <all>"
    )
    assert "refused &lt;all&gt;" in page_of(tmp_path / "one refused", [refused])
    assert "0 requests" in page_of(tmp_path / "none", [])


@pytest.mark.slow
def test_in_a_browser_nothing_is_wider_than_the_screen(tmp_path: Path) -> None:
    """Needs chromium; asks it for the width of the page's content at a phone's width."""
    import shutil
    import subprocess

    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on the PATH")
    path = write_run(tmp_path / "r", Fleet(requests=300, adapters=("sql", "legal"), classes=("chat", "code")))
    finish(path)
    probe = tmp_path / "probe.html"
    probe.write_text(
        f'<iframe id=f src="file://{path}/report.html" style="width:390px;height:900px"></iframe><script>'
        "f.onload=()=>{const d=f.contentDocument.documentElement;"
        "document.title=d.scrollWidth+'/'+d.clientWidth;"
        "document.body.append(document.title)}</script>"
    )
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    )
    flags += (
        " --disable-component-update --disable-sync --allow-file-access-from-files --virtual-time-budget=4000"
    )
    command = [
        browser,
        *flags.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"file://{probe}",
    ]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>(\d+)/(\d+)</title>", out)
    assert found is not None, out[:500]
    assert int(found[1]) <= int(found[2])


def test_a_fleet_that_grows_is_drawn() -> None:
    """Where its number of pods only falls, as by a death, the gauges show it."""
    edges = [0.0, 1.0, 2.0, 3.0, 4.0]
    grown = {"a": [None, 0.0, 1.0, 0.0], "b": [None, None, 2.0, None]}
    picture = pictures._replicas(grown, edges, [])
    assert picture is not None
    assert (picture.title, "<svg" in picture.draw(400)) == ("Pods", True)
    assert pictures._replicas({"a": [0.0, 0.0, None, None], "b": [0.0, None, None, None]}, edges, []) is None
    assert pictures._replicas({}, edges, []) is None
