"""Pages of metrics line by line: labels of any text, exemplars, what is left out, states."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.records.pod_metrics import (
    COLUMNS,
    KEPT_PREFIXES,
    POD_LABELS,
    named_pods,
    parse_samples,
    pod_state,
    split_series,
)

texts = st.text(st.characters(exclude_characters="\n", codec="utf-8"))
names = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def written(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}={quoted(text)}" for name, text in labels.items()) + "}"


@given(st.dictionaries(names, texts, max_size=4), st.floats(allow_nan=False, width=32))
def test_labels_of_any_text_are_part_of_the_series(labels: dict[str, str], value: float) -> None:
    series = "vllm:x" + written(labels)
    assert parse_samples(f"{series} {value!r}") == {series: value}
    assert parse_samples(f"{series} {value!r} 1700000000000\n") == {series: value}
    name, found = split_series(series)
    assert name == "vllm:x"
    assert {key: quoted(text) for key, text in labels.items()} == {k: f'"{v}"' for k, v in found.items()}


@given(st.dictionaries(names, texts, max_size=3), st.dictionaries(names, texts, min_size=1, max_size=2))
def test_an_exemplar_is_no_part_of_the_series(labels: dict[str, str], exemplar: dict[str, str]) -> None:
    series = "vllm:x_total" + written(labels)
    assert parse_samples(f"{series} 2 # {written(exemplar)} 1.5 1700000000.25") == {series: 2.0}


@pytest.mark.parametrize(
    ("line", "samples"),
    [
        ("vllm:x 2 # {a=\"b\"} 1", {"vllm:x": 2.0}),
        ('vllm:x{a="b # {c"} 2', {'vllm:x{a="b # {c"}': 2.0}),
        ('vllm:x{a="}"} 2 # {a="} 7"} 1', {'vllm:x{a="}"}': 2.0}),
        ("vllm:x # {a=\"b\"} 1", {}),
        ("vllm:x", {}),
        ("vllm:x{", {}),
        ("vllm:x two", {}),
        ("# TYPE vllm:x counter", {}),
        (" vllm:x 1", {}),
        ("other:x 1", {}),
        ("vllm:x_bucket{le=\"1\"} 1", {}),
        ("vllm:x_created 1.7e9", {}),
        ("vllm:x_bucket_limit 1", {"vllm:x_bucket_limit": 1.0}),
        ("", {}),
    ],
)  # fmt: skip
def test_lines_of_all_kinds(line: str, samples: dict[str, float]) -> None:
    assert parse_samples(f"{line}\nvllm:last 1\n") == {**samples, "vllm:last": 1.0}


@given(st.text())
def test_no_page_is_an_error(page: str) -> None:
    for name in parse_samples("vllm:" + page):
        split_series(name)
    assert all(name.startswith(KEPT_PREFIXES) for name in parse_samples(page))


@given(
    st.dictionaries(st.sampled_from(sorted(COLUMNS)), st.lists(st.integers(0, 1000), min_size=1, max_size=3))
)
def test_ranks_add_up_whatever_their_order(ranks: dict[str, list[int]]) -> None:
    samples = [
        (f'{name}{{engine="{rank}"}}', float(value))
        for name, values in ranks.items()
        for rank, value in enumerate(values)
    ]
    state = pod_state(dict(samples))
    assert state == pod_state(dict(reversed(samples)))
    for column in {COLUMNS[name] for name in ranks}:
        values = [value for name, each in ranks.items() if COLUMNS[name] == column for value in each]
        assert state.values[column] == (max(values) if column == "kv" else sum(values))


def test_the_newest_word_on_adapters_counts() -> None:
    def info(running: str, stamp: float, most: str = "4") -> tuple[str, float]:
        labels = {"max_lora": most, "running_lora_adapters": running, "waiting_lora_adapters": ""}
        return "vllm:lora_requests_info" + written(labels), stamp

    for samples in ([info("a", 2.0), info("b,c", 3.0)], [info("b,c", 3.0), info("a", 2.0)]):
        state = pod_state(dict(samples))
        assert (state.running_adapters, state.max_lora) == (frozenset("bc"), 4)
    assert pod_state(dict([info(" , ", 1.0, "none")])).running_adapters == frozenset()
    assert pod_state(dict([info("a", 1.0, "none")])).max_lora is None


@pytest.mark.parametrize("label", POD_LABELS)
def test_pods_that_labels_name(label: str) -> None:
    samples = {f'vllm:x{{{label}="sim-{n}"}}': 1.0 for n in (1, 2, 2)}
    assert named_pods({**samples, 'vllm:y{port="1"}': 1.0, f'vllm:z{{{label}=""}}': 1.0}) == {
        "sim-1",
        "sim-2",
    }


def test_a_pod_in_a_name_is_no_label() -> None:
    assert named_pods({"vllm:pods_total": 1.0, 'vllm:x{podium="third"}': 2.0}) == frozenset()


def test_values_that_are_no_number_of_anything() -> None:
    state = pod_state({"vllm:num_requests_waiting": math.nan, "vllm:unknown": 1.0})
    assert math.isnan(state.values["waiting"])
    assert state.values.keys() == {"waiting"}
