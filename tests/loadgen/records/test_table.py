"""Records as columns: the same records, in the same order, without a record for each."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.records.records import Attempt, Odd, Record, RecordsHeader, write_records
from loadgen.records.table import BATCH, PICKED_HEADER, READ_HEADERS, Records, read_records

moment = st.none() | st.floats(0, 1e6, allow_nan=False)
count = st.none() | st.integers(0, 1 << 40)
text = st.none() | st.sampled_from(["", "a", "b", "pod-10"])
a_record = st.builds(
    Record,
    id=st.text("abc", min_size=1, max_size=3),
    cls=st.sampled_from("xy"),
    stage=st.integers(0, 3),
    intended=st.sampled_from([0.0, 0.5, 1.0]),
    start=moment, connected=moment, sent=moment, first_byte=moment, opening=moment,
    first_token=moment, first_content=moment, last_token=moment, end=moment,
    outcome=st.sampled_from(["ok", "missed", "reset"]),
    status=count, prompt_tokens=count, cached_tokens=count, output_tokens=count, max_tokens=count, turn=count,
    error=text, adapter=text, pod=text, port=text, namespace=text, group=text, session=text,
    model=st.sampled_from(["", "m"]),
    headers=st.dictionaries(st.sampled_from(sorted(READ_HEADERS)), st.text(max_size=2), max_size=2),
    worker=st.integers(0, 9), attempt=st.integers(1, 3),
    attempts=st.lists(st.builds(Attempt, start=st.floats(0, 1)), max_size=2),
    chunk_times=st.none() | st.lists(st.floats(0, 1e6), max_size=3),
    reused=st.booleans(), resent=st.booleans(),
    odd=st.none() | st.builds(Odd, uncounted=st.booleans(), unread=st.integers(0, 2)),
    bytes_in=st.integers(0, 1 << 50), bytes_out=st.integers(0, 1 << 50),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(a_record, max_size=8))
def test_records_are_what_they_were(records: list[Record]) -> None:
    table = Records.of(records)
    assert len(table) == len(records)
    assert list(table) == records
    assert [table[index] for index in range(len(records))] == records
    assert list(table[::-1]) == records[::-1]
    assert Records.of(table) is table


def test_every_field_has_a_column() -> None:
    """A field that is added to Record comes back, or this fails."""
    filled: dict[str, object] = {"headers": {PICKED_HEADER: "h"}, "attempts": [Attempt(start=1.0)]}
    samples: dict[type, object] = {str: "s", int: 7, float: 1.5, bool: True, Odd: Odd(whole=True)}
    for field in msgspec.structs.fields(Record):
        kind = next((k for k in samples if k is field.type or k in getattr(field.type, "__args__", ())), None)
        filled.setdefault(field.name, samples[kind] if kind else [0.5, 1.5])
    whole = msgspec.convert({"id": "x", "class": "c", "intended": 0.5}, Record)
    for name, value in filled.items():
        setattr(whole, name, value)
    assert list(Records.of([whole])) == [whole]


def test_more_than_a_batch_from_a_file_in_order(tmp_path: Path) -> None:
    rng = random.Random(3)
    records = [
        Record(id=f"r{n}", cls="c", intended=rng.randrange(50) / 10, chunk_times=[float(n)] * (n % 3),
               attempts=[Attempt(start=float(n))] * (n % 1000 == 1),
               headers={PICKED_HEADER: f"h{n}"} if n > BATCH + 10 else {})
        for n in range(BATCH + 500)
    ]  # fmt: skip
    write_records(tmp_path / "records.jsonl", RecordsHeader(), records)
    found = read_records(tmp_path)
    assert list(found) == sorted(records, key=lambda record: (record.intended, record.id))
    assert found.ids == [record.id for record in found]


def test_columns_of_some_rows() -> None:
    records = [
        Record(
            id=str(n), cls="c", intended=float(n), status=200 if n % 2 else None, pod="ab"[n % 2], port="80"
        )
        for n in range(6)
    ]
    part = Records.of(records).take(np.array([5, 0, 3]))
    assert part.ids == ["5", "0", "3"]
    assert part.numbers("intended").tolist() == [5.0, 0.0, 3.0]
    assert np.isnan(part.numbers("status")).tolist() == [False, True, False]
    assert part.labels("pod").tolist() == ["b", "a", "b"]
    assert part.among("pod", ("b", "c")).tolist() == [True, False, True]
    assert part.distinct("pod") == {"a", "b"}
    assert part.take(np.array([True, False, True])).distinct("pod") == {"b"}
    assert part.pairs("pod", "port") == {("a", "80"): 1, ("b", "80"): 2}
    assert part.labels(PICKED_HEADER).tolist() == [None] * 3


def test_no_records_have_no_columns_amiss() -> None:
    none = Records.of([])
    assert (len(none), list(none), none.ids, none.distinct("pod"), none.pairs("pod", "port")) == (
        0, [], [], set(), {},
    )  # fmt: skip
    with pytest.raises(KeyError):
        none.labels("x-no-such-header")


def test_a_record_costs_a_few_hundred_bytes(tmp_path: Path) -> None:
    """As objects the same records are eight times as much: a report of a million has to fit into 1 GB."""
    count = 5000
    write_records(
        tmp_path / "records.jsonl",
        RecordsHeader(),
        (
            Record(id=f"chat-{n:07d}", cls="chat", intended=n / 100, outcome="ok", pod=f"p{n % 9}",
                   session=f"s{n // 4}", headers={"date": f"day {n}"},
                   chunk_times=[n + k / 100 for k in range(16)])
            for n in range(count)
        ),
    )  # fmt: skip
    tracemalloc.start()
    table = read_records(tmp_path)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == count
    assert held / count < 600
    assert most / count < 2600  # a batch at a time is objects
