"""Numbers exactly as prometheus_client and client_golang print them, families, and one histogram."""

from __future__ import annotations

import math
from random import Random

import pytest
from prometheus_client.utils import floatToGoString

from kit.prometheus import (
    Buckets,
    Counter,
    Gauge,
    Histogram,
    Registry,
    escape,
    go_number,
    head,
    python_number,
)


@pytest.mark.parametrize(
    "value", [0, 1, 4095, 4096, 0.5, 1e6, 999999, 1234567.5, 1e15, 1e16, 1e22, 1e-9, math.inf, -math.inf]
)
def test_as_prometheus_client(value: float) -> None:
    assert python_number(value) == floatToGoString(value)


def test_as_prometheus_client_at_random() -> None:
    rng = Random(1)
    for _ in range(20_000):
        value = rng.choice(
            (rng.random() * 10 ** rng.randint(-8, 20), rng.randint(0, 10 ** rng.randint(1, 12)))
        )
        assert python_number(value) == floatToGoString(value)
    assert python_number(math.nan) == "NaN"


def test_go_numbers_and_labels() -> None:
    numbers = {0: "0", 3: "3", 0.125: "0.125", 1.5e9: "1.5e+09", 999999: "999999", 1048576: "1.048576e+06"}
    numbers |= {-2: "-2", -1e6: "-1e+06", 1e-9: "1e-09", math.inf: "+Inf", -math.inf: "-Inf"}
    assert {value: go_number(value) for value in numbers} == numbers
    assert go_number(math.nan) == "NaN"
    assert escape('a\\b"c\nd') == 'a\\\\b\\"c\\nd'


def test_the_lines_over_a_family() -> None:
    assert (
        head("a_total", "What it counts.", "counter")
        == "# HELP a_total What it counts.\n# TYPE a_total counter\n"
    )


def test_buckets_keep_counts_and_sum() -> None:
    buckets = Buckets((0.5, 1.0))
    for value in (0.5, 0.75, 1.0, 9.0):
        buckets.observe(value)
    assert (buckets.counts, buckets.total, buckets.count) == ([1, 2, 1], 11.25, 4)
    assert list(buckets.series()) == [(0.5, 1), (1.0, 3), (math.inf, 4)]
    bare = Buckets()
    bare.observe(2.0)
    assert (bare.counts, list(bare.series())) == ([1], [(math.inf, 1)])


def test_a_page() -> None:
    registry = Registry({"depth": "also_depth"})
    counter = registry.add(Counter("hits_total", "Hits.", ("path", "who")))
    gauge = registry.add(Gauge("depth", "Depth."))
    registry.add(Gauge("untouched", "Left out."))
    seen = registry.add(Gauge("seen", "Seen.", ("pod",), lambda: [(("a",), 2.0), (("b",), 0.5)]))
    histogram = registry.add(Histogram("size", "Sizes.", ("model",), (1, 2**20)))
    plain = registry.add(Histogram("plain", "Plain.", (), (0.5,)))
    counter.inc("/a", 'x"y')
    counter.inc("/a", 'x"y', by=1_000_000)
    gauge.set(-1.5)
    for size in (1, 2, 2**21):
        histogram.observe(size, "m")
    plain.observe(0.25)
    assert seen.values == {}
    assert (histogram.count("m"), histogram.count("other")) == (3, 0)
    assert registry.render() == (
        "# HELP hits_total Hits.\n# TYPE hits_total counter\n"
        'hits_total{path="/a",who="x\\"y"} 1.000001e+06\n'
        "# HELP depth Depth.\n# TYPE depth gauge\ndepth -1.5\n"
        "# HELP also_depth Depth.\n# TYPE also_depth gauge\nalso_depth -1.5\n"
        '# HELP seen Seen.\n# TYPE seen gauge\nseen{pod="a"} 2\nseen{pod="b"} 0.5\n'
        "# HELP size Sizes.\n# TYPE size histogram\n"
        'size_bucket{model="m",le="1"} 1\nsize_bucket{model="m",le="1.048576e+06"} 2\n'
        'size_bucket{model="m",le="+Inf"} 3\nsize_sum{model="m"} 2.097155e+06\nsize_count{model="m"} 3\n'
        "# HELP plain Plain.\n# TYPE plain histogram\n"
        'plain_bucket{le="0.5"} 1\nplain_bucket{le="+Inf"} 1\nplain_sum 0.25\nplain_count 1\n'
    )
    assert Registry().render() == "\n"


def test_a_label_for_each_name() -> None:
    counter = Counter("c", "C.", ("a", "b"))
    counter.inc("only one")
    with pytest.raises(ValueError, match="shorter"):
        list(counter.lines("c"))
