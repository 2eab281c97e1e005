"""Which page belongs to which pod: each kind of word alone, which of two wins, and what stays uncertain."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.records.podnames import SERVED_HEADERS, all_names, by_pod, names_of
from loadgen.records.records import Record
from loadgen.records.series import PodSeries
from loadgen.records.table import Records

GATEWAY = "http://gateway:80"


def page(name: str, address: str = "", *, pod: str | None = None, labels: Sequence[str] = ()) -> PodSeries:
    return PodSeries(name, address=address or name, pod=pod, labels=frozenset(labels))


def answer(pod: str | None, *, port: str | None = None, served: str | None = None, header: int = 0) -> Record:
    headers = {SERVED_HEADERS[header]: served} if served else {}
    return Record(id="r", cls="c", intended=0.0, outcome="ok", pod=pod, port=port, headers=headers)


def called(pages: Sequence[PodSeries], records: Sequence[Record], target: str = GATEWAY) -> dict[str, str]:
    return names_of({each.name: each for each in pages}, Records.of(records), target)


@pytest.mark.parametrize(
    "pages",
    [
        [page("sim-0", "h:1")],
        [page("h:1", pod="sim-0")],
        [page("h:1", labels=["sim-0", "no-such-pod"])],
    ],
)
def test_the_words_of_a_page(pages: list[PodSeries]) -> None:
    records = [answer("sim-0"), answer("sim-1")]
    assert called(pages, records) == {pages[0].name: "sim-0"}


@pytest.mark.parametrize("header", range(len(SERVED_HEADERS)))
def test_the_word_of_a_gateway(header: int) -> None:
    records = [answer("sim-0", served="h:1", header=header), answer("sim-1", served="h:2", header=header)]
    assert called([page("h:1"), page("h:2"), page("h:3")], records) == {"h:1": "sim-0", "h:2": "sim-1"}


def test_an_address_that_two_pods_answered_from_is_nobodys() -> None:
    records = [answer("sim-0", served="h:1"), answer("sim-1", served="h:1")]
    assert called([page("h:1")], records) == {}


def test_the_only_pod_is_the_target() -> None:
    one = [answer("sim-0"), answer("sim-0"), answer(None)]
    assert called([page("h:1")], one, "http://h:1/prefix") == {"h:1": "sim-0"}
    assert called([page("h:2")], one, "http://h:1") == {}
    assert called([page("h:1")], [*one, answer("sim-1")], "http://h:1") == {}  # a gateway after all


def test_a_port_that_only_one_page_and_one_pod_have() -> None:
    records = [answer("sim-0", port="1"), answer("sim-1", port="2"), answer("sim-2", port="3")]
    assert called([page("h:1"), page("h:2")], records) == {"h:1": "sim-0", "h:2": "sim-1"}
    assert called([page("h:1"), page("g:1")], records) == {}  # two pages of that port
    assert called([page("h:1")], [*records, answer("sim-3", port="1")]) == {}  # two pods of it
    assert called([page("h:1")], [*records, answer("sim-0", port="9")]) == {}  # a pod of two ports


def test_pods_without_a_port_are_not_matched_by_their_lack_of_one() -> None:
    assert called([page("name")], [answer("sim-0"), answer("sim-1", port="1")]) == {}


def test_a_page_that_is_found_leaves_its_pod_to_no_other() -> None:
    records = [answer("sim-0", port="1"), answer("sim-1", port="2")]
    assert called([page("sim-0", "h:9"), page("h:1")], records) == {"sim-0": "sim-0"}


def test_its_own_word_goes_before_labels_and_labels_before_the_gateway() -> None:
    records = [answer("sim-0", served="h:1"), answer("sim-1", served="h:2"), answer("sim-2")]
    own = page("h:1", pod="sim-2", labels=["sim-1"])
    labelled = page("h:1", labels=["sim-1"])
    unclear = page("h:1", labels=["sim-1", "sim-2"])
    assert [called([each], records)["h:1"] for each in (own, labelled, unclear)] == [
        "sim-2",
        "sim-1",
        "sim-0",
    ]


def test_a_pod_that_never_answered_is_called_as_its_page_says() -> None:
    assert called([page("h:1", pod="sim-7")], [answer("sim-0"), answer("sim-1")]) == {"h:1": "sim-7"}


def test_series_come_under_the_names_of_their_pods_and_ranks_as_one() -> None:
    pages = [page("h:1", pod="sim-0"), page("h:2", pod="sim-0"), page("h:3")]
    for n, each in enumerate(pages, 1):
        each.add(1.0, {"running": float(n), "kv": n / 10}, frozenset(), 0.0)
    found = by_pod(
        {each.name: each for each in pages}, Records.of([answer("sim-0"), answer("sim-1")]), GATEWAY
    )
    assert {name: (s.name, s.columns) for name, s in found.items()} == {
        "sim-0": ("sim-0", {"running": [3.0], "kv": [0.2]}),  # counts add up, the fullest cache counts
        "h:3": ("h:3", {"running": [3.0], "kv": [0.3]}),
    }


@pytest.mark.parametrize(
    ("pages", "answered", "names"),
    [
        ([], {"a"}, {"a"}),
        ([page("h:1"), page("h:2")], set(), {"h:1", "h:2"}),
        ([page("h:1"), page("h:2")], {"a", "b", "c"}, {"a", "b", "c"}),  # two name spaces
        ([page("a", "h:1"), page("b", "h:2")], {"a"}, {"a", "b"}),
        ([page("a", "h:1"), page("h:2")], {"a"}, {"a", "h:2"}),  # all that answered are found: another
        ([page("a", "h:1"), page("h:2")], {"a", "b"}, {"a", "b"}),  # h:2 may be b
        ([page("a", "h:1"), page("c", "h:3"), page("h:2")], {"a", "b"}, {"a", "b", "c"}),
    ],
)
def test_every_pod_counts_once(pages: list[PodSeries], answered: set[str], names: set[str]) -> None:
    assert all_names({each.name: each for each in pages}, answered) == names


names = st.sampled_from(["sim-0", "sim-1", "sim-2"])
pages = st.lists(
    st.builds(
        page,
        st.sampled_from(["h:1", "h:2", "h:3", "sim-0", "sim-1"]),
        pod=st.none() | names,
        labels=st.lists(names, max_size=2),
    ),
    unique_by=lambda each: each.name,
)
records = st.lists(
    st.builds(
        answer,
        st.none() | names,
        port=st.none() | st.sampled_from("123"),
        served=st.none() | st.sampled_from(["h:1", "h:2"]),
    ),
    max_size=6,
)


@given(pages=pages, records=records)
def test_no_page_is_lost_and_every_pod_that_answered_counts(
    pages: list[PodSeries], records: list[Record]
) -> None:
    there = {each.name: each for each in pages}
    table = Records.of(records)
    found = names_of(there, table, GATEWAY)
    assert found.keys() <= there.keys()
    series = by_pod(there, table, GATEWAY)
    assert set(series) == {found.get(name, name) for name in there}
    answered = {record.pod for record in records if record.pod is not None}
    assert answered <= all_names(series, answered) <= answered | series.keys()
    assert found == names_of(dict(reversed(there.items())), Records.of(reversed(records)), GATEWAY)
