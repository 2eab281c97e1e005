"""Cards and what their fields say: names, units, roles, values; a figure is told in one place."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import numpy as np
import pytest

from loadgen.judge.figures import Figures
from loadgen.judge.report import Report
from loadgen.numbers.figure import Card, Figure, as_json, finite, named
from loadgen.numbers.stats import PERCENTILES, Summary, percentile_key, summarize
from loadgen.records.frame import LATENCIES
from loadgen.score.scorecard import Scorecard


class Inner(Card):
    share: Annotated[float | None, Figure("a part of the whole", "share", "higher", "part", "judged", 0.01)]
    plain: int = 0


class Outer(Card):
    inner: Annotated[Inner | None, Figure("the inner one")]
    flat: Annotated[Inner, Figure("its figures without its name", name="")]
    times: Annotated[
        Summary | None, Figure("how long", "time", "lower", "T", {"p90": "judged", "mean": "shown"})
    ]
    by_pod: Annotated[dict[str, float], Figure("of one pod", "rate", name="pod")]
    untold: dict[str, int] = msgspec.field(default_factory=dict)


def outer(inner: Inner | None = None, times: Summary | None = None) -> Outer:
    return Outer(inner=inner, flat=Inner(share=0.5), times=times, by_pod={"a": 1.0})


def test_names_follow_the_fields() -> None:
    statistics = ["count", "mean", "stddev", "min", *map(percentile_key, PERCENTILES), "max"]
    assert list(named(Outer)) == ["inner.share", "share", *(f"times.{s}" for s in statistics), "pod"]


def test_what_a_field_says_is_what_is_named() -> None:
    known = named(Outer)
    share = known["inner.share"]
    assert (share.unit, share.label, share.role, share.figure.matters) == ("share", "part", "judged", 0.01)
    assert (share.meaning, share.figure.better, share.keyed) == ("a part of the whole", "higher", False)
    p90, count = known["times.p90"], known["times.count"]
    assert (p90.unit, p90.label, p90.role, p90.rank) == ("time", "T p90", "judged", 0)
    assert (p90.meaning, p90.figure.better) == ("how long: percentile 90", "lower")
    assert (known["times.mean"].role, known["times.mean"].rank) == ("shown", 1)
    assert (count.unit, count.role, count.figure.better) == ("number", None, None)
    assert (known["pod"].unit, known["pod"].keyed) == ("rate", True)


def test_values_are_reached_by_the_way_of_the_fields() -> None:
    known = named(Outer)
    full = outer(Inner(share=0.25), summarize([1.0, 3.0], intervals=False))
    found = [known[path].of(full) for path in ("inner.share", "share", "times.mean", "pod")]
    assert found == [0.25, 0.5, 2.0, {"a": 1.0}]
    bare = outer()
    assert [known[path].of(bare) for path in ("inner.share", "times.mean")] == [None, None]
    assert known["share"].of(None) is None


def test_a_new_field_is_all_that_a_new_figure_needs() -> None:
    """The one place: a field more in a card, and every list of figures has it."""

    class Later(Scorecard):
        patience: Annotated[float, Figure("until anybody left", "time", "higher", "patience", "shown")]

    added = named(Later).keys() - named(Scorecard).keys()
    assert added == {"patience"}
    found = named(Later)["patience"]
    assert (found.unit, found.role, found.label) == ("time", "shown", "patience")


@pytest.mark.parametrize("kind", [Figures, Scorecard, Report])
def test_every_figure_says_what_it_is(kind: type[Card]) -> None:
    for path, figure in named(kind).items():
        assert figure.meaning, path
        assert not figure.meaning.endswith("."), path
        if figure.role is not None:
            assert figure.figure.better is not None, path
            assert figure.label.strip(), path


def test_a_report_has_the_figures_of_its_parts() -> None:
    assert named(Report).keys() == named(Figures).keys() | named(Scorecard).keys()
    latencies = [path.removesuffix(".mean") for path in named(Figures) if path.endswith(".mean")]
    assert latencies == [*LATENCIES, "lateness"]


def test_values_that_json_has_not_become_none() -> None:
    card = outer(Inner(share=math.nan), summarize([1.0, 2.0]))
    assert card.times is not None
    card.times.max = math.inf
    card.times.ci["p50"] = (-math.inf, 2.0)
    card.by_pod = {"a": np.float64(0.5), "b": math.inf}
    card.untold = {"n": np.int64(3)}  # type: ignore[dict-item]
    finite(card)
    assert card.inner is not None
    assert (card.inner.share, card.times.max, card.times.ci["p50"]) == (None, None, (None, 2.0))
    assert card.by_pod == {"a": 0.5, "b": None}
    assert [type(value) for value in (card.by_pod["a"], card.untold["n"])] == [float, int]


def test_a_card_is_written_and_read_back() -> None:
    card = outer(Inner(share=None), summarize([1.0, 2.0, 4.0]))
    text = as_json(card)
    assert text.endswith("}\n")
    assert msgspec.json.decode(text, type=Outer) == card


@pytest.mark.parametrize(
    ("change", "message"),
    [({"times": {}}, "missing required field `count`"), ({"extra": 1}, "unknown field `extra`")],
)
def test_fields_of_another_form_are_errors(change: dict[str, object], message: str) -> None:
    content = msgspec.to_builtins(outer()) | change
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(content, Outer)
