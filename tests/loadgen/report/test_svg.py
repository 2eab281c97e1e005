"""Pictures by hand: scales and their ticks, what ticks say, and marks to the byte."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loadgen.report.svg import (
    Canvas,
    Scale,
    legend,
    linear_ticks,
    log_ticks,
    number,
    percent,
    seconds,
)

NAN = math.nan
ends = st.floats(-1e6, 1e6, allow_subnormal=False)


def canvas(width: float = 600) -> Canvas:
    return Canvas(width, 100, "a <title>")


@pytest.mark.parametrize(
    ("scale", "value", "place"),
    [
        (Scale(0, 10, 100, 200), 5, 150),
        (Scale(0, 10, 100, 200), 0, 100),
        (Scale(0, 10, 100, 200), -3, 100),  # outside is at the edge
        (Scale(0, 10, 100, 200), 30, 200),
        (Scale(0, 10, 200, 100), 2.5, 175),  # y grows downwards
        (Scale(7, 7, 100, 200), 7, 150),  # one value stands in the middle
        (Scale(1, 100, 0, 200, log=True), 10, 100),
        (Scale(1, 100, 0, 200, log=True), 0, 0),
        (Scale(1e-3, 1e3, 0, 60, log=True), 1e-2, 10),
    ],
)
def test_places(scale: Scale, value: float, place: float) -> None:
    assert scale(value) == pytest.approx(place)


@given(low=ends, high=ends, a=ends, b=ends)
def test_a_scale_keeps_order_and_stays_inside(low: float, high: float, a: float, b: float) -> None:
    assume(low < high)
    scale = Scale(low, high, 10, 90)
    first, second = scale(min(a, b)), scale(max(a, b))
    assert 10 <= first <= second <= 90


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (3, 17, 5, [5, 10, 15]),
        (-5, 5, 2, [-5, 0, 5]),
        (0, 1200, 9, [0, 200, 400, 600, 800, 1000, 1200]),
        (4, 4, 5, [4]),
        (5, 4, 5, [5]),
        (0.1, 0.3, 2, [0.1, 0.2, 0.3]),
    ],
)
def test_linear_ticks(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert linear_ticks(low, high, most) == pytest.approx(ticks)


@given(low=ends, width=st.floats(1e-3, 1e6), most=st.integers(1, 12))
def test_linear_ticks_are_round_evenly_spaced_and_few(low: float, width: float, most: int) -> None:
    ticks = linear_ticks(low, low + width, most)
    assert len(ticks) <= most + 1
    for tick in ticks:
        assert low - 1e-6 * width <= tick <= low + width * (1 + 1e-6)
    if len(ticks) > 1:
        step = ticks[1] - ticks[0]
        lead = float(f"{step:.6e}".split("e")[0])
        assert min(abs(lead - round_) for round_ in (1, 2, 5, 10)) < 1e-2 + 1e-9 * abs(low) / step


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (1, 1000, 12, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
        (1, 1000, 8, [1, 3, 10, 30, 100, 300, 1000]),
        (1, 1000, 5, [1, 10, 100, 1000]),
        (1, 1e6, 3, [1, 1e3, 1e6]),
        (1, 5, 5, [1, 2, 3, 4, 5]),  # within one power plain round values
        (0.5, 3, 3, [1, 2, 3]),
    ],
)
def test_log_ticks(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert log_ticks(low, high, most) == pytest.approx(ticks)
    assert Scale(low, high, 0, 1, log=True).ticks(most) == pytest.approx(ticks)


@given(low=st.floats(1e-6, 1e3), factor=st.floats(8, 1e9), most=st.integers(3, 12))
def test_log_ticks_are_inside_rising_and_few(low: float, factor: float, most: int) -> None:
    ticks = log_ticks(low, low * factor, most)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= most
    assert all(low * 0.998 <= tick <= low * factor * 1.002 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (5, "5"),
        (0.25, "0.25"),
        (1200, "1200"),
        (9999, "9999"),
        (12_000, "12k"),
        (250_000, "250k"),
        (999_960, "1000k"),
        (3e6, "3M"),
        (-12_500, "-12.5k"),
        (2.5e9, "2.5G"),
        (5e12, "5000G"),
    ],
)
def test_numbers_on_an_axis(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.02, "20 ms"),
        (0.0002, "200 us"),
        (1, "1 s"),
        (1.5, "1.5 s"),
        (999, "999 s"),
        (1000, "1000 s"),
        (1200, "1200 s"),
        (-1800, "-1800 s"),
        (86_400, "86400 s"),
    ],
)
def test_times_on_an_axis(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 %"), (0.5, "50 %"), (0.001, "0.1 %"), (1, "100 %"), (12.5, "1250 %")]
)
def test_shares_on_an_axis(value: float, text: str) -> None:
    assert percent(value) == text


@given(st.floats(1, 1e8))
def test_no_axis_has_exponents(value: float) -> None:
    assert not [text for text in (number(value), seconds(value), percent(value)) if "e" in text]


@pytest.mark.parametrize(
    ("points", "step", "path"),
    [
        ([(0, 1), (2, 3), (4, 5)], False, "M0.0 1.0L2.0 3.0L4.0 5.0"),
        ([(0, 1), (2, 3), (4, 5)], True, "M0.0 1.0L2.0 1.0L2.0 3.0L4.0 3.0L4.0 5.0"),
        ([(0, 1), (1, NAN), (2, 3), (4, 5)], False, "M0.0 1.0M2.0 3.0L4.0 5.0"),
        ([(0, 1), (1, NAN), (2, 3)], True, "M0.0 1.0M2.0 3.0"),
        ([(0, NAN), (2, 3)], False, "M2.0 3.0"),
    ],
)
def test_a_path_breaks_at_gaps(points: list[tuple[float, float]], step: bool, path: str) -> None:
    picture = canvas()
    picture.path(points, "p", step=step)
    assert picture.parts == [f'<path d="{path}" class="p"></path>']


@pytest.mark.parametrize("points", [[], [(1.0, NAN)]])
def test_a_path_without_points_is_none(points: list[tuple[float, float]]) -> None:
    picture = canvas()
    picture.path(points, "p")
    assert picture.parts == []


def test_a_band_goes_there_and_back_and_splits_at_gaps() -> None:
    picture = canvas()
    picture.band([0, 1, 2, 3, 4, 5], [1, 1, NAN, 1, 1, 1], [2, 3, 2, NAN, 2, 4], "b")
    assert picture.parts == [
        '<path d="M0.0 2.0L1.0 3.0L1.0 1.0L0.0 1.0Z" class="b"/>',
        '<path d="M4.0 2.0L5.0 4.0L5.0 1.0L4.0 1.0Z" class="b"/>',
    ]


def test_a_band_of_single_points_is_none() -> None:
    picture = canvas()
    picture.band([0, 1, 2], [1, NAN, 1], [2, 2, 2], "b")
    assert picture.parts == []


def test_marks() -> None:
    picture = canvas()
    picture.rect(1, 2, -3, 4, "r")
    picture.rect(1, 2, 3, 4, "r", hint="a & b", opacity=0.5)
    picture.dot(1.25, 2, "d", radius=2.5, hint="<3")
    picture.text(1, 2, "<&>", anchor="end")
    picture.line(0, 1, 2, 3, "l")
    assert picture.parts == [
        '<rect x="1.0" y="2.0" width="0.0" height="4.0" class="r"/>',
        '<rect x="1.0" y="2.0" width="3.0" height="4.0" class="r" fill-opacity="0.50">'
        "<title>a &amp; b</title></rect>",
        '<circle cx="1.2" cy="2.0" r="2.5" class="d"><title>&lt;3</title></circle>',
        '<text x="1.0" y="2.0" class="tick" text-anchor="end">&lt;&amp;&gt;</text>',
        '<line x1="0.0" y1="1.0" x2="2.0" y2="3.0" class="l"/>',
    ]


def test_labels_of_an_axis_do_not_run_into_each_other() -> None:
    for width in (300, 600, 1200):
        picture = canvas(width)
        picture.x_axis(picture.x_scale(0, 1234567), lambda value: f"{value:.0f} requests")
        places = [
            (float(mark.attrib["x"]), len(mark.text or ""))
            for mark in ET.fromstring(picture.svg()).iter()
            if mark.tag.endswith("text")
        ]
        assert places
        for (left, a), (right, b) in itertools.pairwise(places):
            assert right - left >= 3.6 * (a + b)
        assert all(x + 3.6 * size <= width for x, size in places)


def test_events_outside_the_picture_are_not_drawn_and_close_ones_are_named_once() -> None:
    picture = canvas()
    scale = picture.x_scale(0, 100)
    picture.events(scale, [(-1, "before"), (10, "first"), (10.5, "next"), (99, "at the end"), (101, "after")])
    root = ET.fromstring(picture.svg())
    hints = [mark.text for mark in root.iter() if mark.tag.endswith("title")]
    assert hints == ["10.0 s: first", "10.5 s: next", "99.0 s: at the end"]
    names = [(mark.text, mark.attrib["text-anchor"]) for mark in root.iter() if mark.tag.endswith("text")]
    assert names == [("first", "start"), ("at the end", "end")]


def test_long_names_of_events_are_cut_in_narrow_pictures() -> None:
    shown = {}
    for width in (300, 600):
        picture = canvas(width)
        picture.events(picture.x_scale(0, 100), [(1, "kill pod sim-0 of pool a")])
        root = ET.fromstring(picture.svg())
        shown[width] = [mark.text for mark in root.iter() if mark.tag.endswith("text")]
    assert shown == {300: ["kill pod sim-…"], 600: ["kill pod sim-0 of pool a"]}


def test_a_picture_is_xml_with_its_title_for_those_who_hear_it() -> None:
    picture = canvas(600)
    picture.y_axis(picture.y_scale(0, 10), number)
    root = ET.fromstring(picture.svg())
    assert root.attrib["aria-label"] == "a <title>"
    assert root.attrib["viewBox"] == "0 0 600 100"
    labels = [mark.text for mark in root.iter() if mark.tag.endswith("text")]
    assert labels == ["0", "2", "4", "6", "8", "10"]
    heights = [float(mark.attrib["y"]) for mark in root.iter() if mark.tag.endswith("text")]
    assert heights == sorted(heights, reverse=True)
    assert picture.plot == (52, 12, 586, 76)


def test_a_legend_is_html() -> None:
    assert legend([("a", "x < y"), ("b", "z")]) == (
        '<div class="legend"><span class="key"><i class="a"></i>x &lt; y</span>'
        '<span class="key"><i class="b"></i>z</span></div>'
    )
